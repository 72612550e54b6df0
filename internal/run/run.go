// Package run is the domain without I/O: threads and runs, their states and
// what may follow each, references to issues, names, limits and costs.
package run

import (
	"crypto/rand"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Thread is one issue of one repository. It owns a sandbox, a branch, a pull
// request, a progress comment and a Claude session; names derive from it and
// its generation (from 1; --new begins the next).
type Thread struct {
	ID           string // NewID("t")
	RepositoryID int64  // GitHub's id: it survives renames
	Ref          Ref    // as last seen
	Generation   int

	SandboxID   string // "" until Daytona gave one
	Branch      string // "" until the issue's title was read
	PullRequest int    // 0 until there is one
	CommentID   int64  // the progress comment, 0 until there is one
	SessionID   string // Claude's session, a UUID
	CreatedAt   time.Time
}

// Run is one turn of a thread: the first request, or a follow-up.
type Run struct {
	ID        string // NewID("r")
	ThreadID  string
	Number    int // 1, 2, … within the thread
	State     State
	Options   Options
	Frozen    *Frozen  // set by Freezing
	Task      string   // sandboxd's task id; "" before Working
	LastEvent int64    // the last event of the task that was stored
	Result    *Result  // set when the task ended
	Commit    string   // set by Committing
	Outcome   *Outcome // set on the way to Reporting
	Cost      Cost
	CreatedAt time.Time
	StartedAt time.Time // when Freezing began; zero before
	EndedAt   time.Time // zero until final
}

// Options are what the user asked of one run, after settings and flags were
// merged.
type Options struct {
	Snapshot     string        `json:"snapshot,omitempty"`
	Model        string        `json:"model"`
	MaxTurns     int           `json:"max_turns"`
	MaxCostUSD   float64       `json:"max_cost_usd"` // 0: no limit
	Timeout      time.Duration `json:"timeout"`      // of the whole run, wall clock
	Base         string        `json:"base,omitempty"`
	Draft        bool          `json:"draft,omitempty"`
	NoDraft      bool          `json:"no_draft,omitempty"` // unfinished work becomes a patch file, not a draft
	DryRun       bool          `json:"dry_run,omitempty"`
	Keep         bool          `json:"keep,omitempty"`
	Instructions string        `json:"instructions,omitempty"`
	Local        string        `json:"local,omitempty"` // engine of the embedded Daytona; "" for the settings' Daytona
}

// Frozen is what the run works on, as it was when it was triggered: edits
// made later do not reach Claude.
type Frozen struct {
	Repository Repository `json:"repository"`
	Issue      Issue      `json:"issue"`
	WebURL     string     `json:"web_url"`               // what clone URLs begin with: https://github.com/
	Base       string     `json:"base"`                  // branch the pull request goes to
	BaseCommit string     `json:"base_commit"`           // commit Claude starts from: 40 hex digits
	BranchHead string     `json:"branch_head,omitempty"` // of the thread's branch; "" while there is none
	Unfinished bool       `json:"unfinished,omitempty"`  // what stands on the branch is a draft that broke off
	Actor      string     `json:"actor"`                 // who asked for the run
	Settings   []byte     `json:"settings,omitempty"`    // .github/dayclaude.yml, as it stands on the default branch
	At         time.Time  `json:"at"`
}

// Repository is what a run needs to know of one.
type Repository struct {
	ID            int64  `json:"id"`
	Owner         string `json:"owner"`
	Name          string `json:"name"`
	Private       bool   `json:"private"`
	DefaultBranch string `json:"default_branch"`
	CloneURL      string `json:"clone_url"` // https URL, no credential in it
	SizeKB        int64  `json:"size_kb"`   // GitHub's figure
}

// FullName is owner/name.
func (r Repository) FullName() string { return r.Owner + "/" + r.Name }

// Issue is an issue's text with its comments, oldest first, without ours.
type Issue struct {
	Number   int       `json:"number"`
	Title    string    `json:"title"`
	Body     string    `json:"body"`
	Author   string    `json:"author"`
	Labels   []string  `json:"labels,omitempty"`
	URL      string    `json:"url"`
	Comments []Comment `json:"comments,omitempty"`
}

// Comment is one comment of an issue.
type Comment struct {
	ID        int64     `json:"id"`
	Author    string    `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
}

// Result is what the sandbox said of its task, bounded and cleaned.
type Result struct {
	Answer    string  `json:"answer"` // Claude's final answer
	Turns     int     `json:"turns"`
	Check     *Check  `json:"check,omitempty"`
	SessionID string  `json:"session_id,omitempty"`
	Problem   Problem `json:"problem,omitzero"` // why the task did not end well
	// Notes are what Claude had to do without: submodules, Git LFS, space on the disk.
	Notes []string `json:"notes,omitempty"`
}

// Check is the repository's own check command, run after Claude.
type Check struct {
	Command  string        `json:"command"`
	ExitCode int           `json:"exit_code"`
	TimedOut bool          `json:"timed_out,omitempty"`
	Tail     string        `json:"tail"` // last lines of its output
	Duration time.Duration `json:"duration"`
}

// Problem is a failure as it is stored and told: kind, sentence, next step.
type Problem struct {
	Kind    fault.Kind `json:"kind,omitempty"`
	Message string     `json:"message,omitempty"`
	Hint    string     `json:"hint,omitempty"`
}

// IsZero reports whether there is no problem.
func (p Problem) IsZero() bool { return p == Problem{} }

// Err returns the problem as an error, nil if there is none.
func (p Problem) Err() error {
	if p.IsZero() {
		return nil
	}
	return &fault.Error{Kind: p.Kind, Message: p.Message, Hint: p.Hint}
}

// ProblemOf turns an error into what is stored and told of it.
func ProblemOf(err error) Problem {
	if err == nil {
		return Problem{}
	}
	return Problem{Kind: fault.KindOf(err), Message: err.Error(), Hint: fault.HintOf(err)}
}

// Outcome is how a run ended. It is stored before anything announces it.
type Outcome struct {
	State        State    `json:"state"` // the final state that follows Settling
	Problem      Problem  `json:"problem,omitzero"`
	Merge        *Merge   `json:"merge,omitempty"`
	Findings     []string `json:"findings,omitempty"` // what the gate refused, a line each
	FilesChanged int      `json:"files_changed"`
	Title        string   `json:"title,omitempty"` // of the pull request
	Body         string   `json:"body,omitempty"`  // Claude's words, cleaned
	PatchFile    string   `json:"patch_file,omitempty"`
	PullRequest  int      `json:"pull_request,omitempty"`
	URL          string   `json:"url,omitempty"` // of the pull request
}

// Cost is what a run used and what that comes to.
type Cost struct {
	USD              float64 `json:"usd"`           // tokens and sandbox together
	ModelUSD         float64 `json:"model_usd"`     // tokens alone
	InputTokens      int64   `json:"input_tokens"`  // all of them, cached or not
	OutputTokens     int64   `json:"output_tokens"` //
	CacheReadTokens  int64   `json:"cache_read_tokens,omitempty"`
	CacheWriteTokens int64   `json:"cache_write_tokens,omitempty"`
	SandboxSeconds   float64 `json:"sandbox_seconds"`
	// Reserved is for the model calls under way, beside USD. What they may have
	// come to when their process was killed counts as spent.
	Reserved Reservation `json:"reserved,omitzero"`
}

// Reservation is what model calls under way may come to.
type Reservation struct {
	USD          float64   `json:"usd"`            // at the worst
	StartUSD     float64   `json:"start_usd"`      // of that, what they may cost at once
	USDPerSecond float64   `json:"usd_per_second"` // and then, for as long as they write
	Since        time.Time `json:"since"`          // the first of them began
}

// By is what the calls may have come to by a time.
func (r Reservation) By(t time.Time) float64 {
	return min(r.USD, r.StartUSD+max(0, t.Sub(r.Since).Seconds())*r.USDPerSecond)
}

// Entry is one line of a run's log: what the engine did, or what the sandbox
// said, cleaned and redacted.
type Entry struct {
	Number int64     `json:"number"` // from 1 within the run
	Time   time.Time `json:"time"`
	State  State     `json:"state"`
	Phase  string    `json:"phase,omitempty"` // of the sandbox's task: clone, setup, claude, check
	Kind   EntryKind `json:"kind"`
	Text   string    `json:"text,omitempty"`
	Failed bool      `json:"failed,omitempty"` // Gave: the tool said error; Ended: not well
	Cost   *Cost     `json:"cost,omitempty"`   // so far, with Spent
}

// EntryKind is the kind of an Entry.
type EntryKind string

// The kinds of entries.
const (
	Began  EntryKind = "began"  // a state or a phase began; Text says what it does
	Notice EntryKind = "notice" // something the user should know
	Output EntryKind = "output" // of git, setup or check
	Said   EntryKind = "said"   // by Claude
	Called EntryKind = "called" // Claude used a tool
	Gave   EntryKind = "gave"   // what the tool gave
	Retry  EntryKind = "retry"  // Claude's API is tried again
	Spent  EntryKind = "spent"  // the cost so far
	Ended  EntryKind = "ended"  // the run ended; Text says how
)

// NewID makes an id: the prefix, an underscore and 50 random bits in
// Crockford's base 32.
func NewID(prefix string) string {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	id := make([]byte, 10)
	rand.Read(id) // never fails: crypto/rand
	for i, b := range id {
		id[i] = digits[b&31]
	}
	return prefix + "_" + string(id)
}
