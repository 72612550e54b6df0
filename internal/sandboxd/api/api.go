// Package api is the wire between the host and sandboxd: the JSON types of
// its routes and the names of its files. Server and client share it, and it
// links nothing but the standard library.
//
// Without a token: GET / and GET /container (Info), GET /healthz (Health),
// GET /error (a 500, for probes). With "Authorization: Bearer TOKEN", where
// TOKEN is the one whose hash the host's claim file holds:
//
//	POST /v1/tasks                   Task → Status; the same id twice is the same task
//	GET  /v1/tasks/{id}              → Status
//	GET  /v1/tasks/{id}/events       → server-sent Events, ?after=N resumes after number N
//	POST /v1/tasks/{id}/cancel       → Status
//	GET  /v1/tasks/{id}/changeset    → changeset.Set, against the task's base commit
//	GET  /v1/tasks/{id}/transcript   → Claude's session, JSON lines
//	GET  /v1/tunnel                  → WebSocket; yamux over it, streams opened by sandboxd
//
// Every error is an Error with its HTTP status.
package api

import (
	"fmt"
	"time"

	"github.com/dayclaude/dayclaude/internal/claude"
)

// Protocol is the version of this wire. A host replaces a sandboxd that
// speaks another one.
const Protocol = 2

// Port is where sandboxd listens in a sandbox, unless SANDBOXD_ADDR says
// otherwise.
const Port = 8080

// Paths below the sandbox user's home directory.
const (
	StateDir  = ".sandboxd"            // everything sandboxd keeps
	ClaimFile = ".sandboxd/claim.json" // written by the host: who may give orders
	WorkDir   = "work"                 // repositories are cloned to work/<name>
)

// Claim is the claim file: the host writes it before its first request, and
// again whenever it takes a new token. sandboxd reads it for each request.
type Claim struct {
	TokenSHA256 string `json:"token_sha256"` // hex
}

// Health is the answer of GET /healthz: cheap, and enough to start a run.
type Health struct {
	OK       bool            `json:"ok"`
	Protocol int             `json:"protocol"`
	Version  string          `json:"version"` // of dayclaude
	Instance string          `json:"instance"`
	PID      int             `json:"pid"`
	Tools    map[string]bool `json:"tools"` // bash, claude, git: found on PATH?
}

// Info is the answer of GET / and GET /container: Health and the versions
// that the tools print.
type Info struct {
	Health
	Status    string            `json:"status"` // "healthy"
	StartedAt time.Time         `json:"started_at"`
	Versions  map[string]string `json:"versions"` // tool → version, "" where absent
}

// Error is the body of every answer that is not a success.
type Error struct {
	Message string `json:"error"`
	Kind    string `json:"kind"` // usage, unauthorized, not_found, conflict, disk_full, internal
}

// Task is what the host wants done, once: clone, setup, Claude, check. With
// Merge it is merge in place of clone; setup, Claude and check follow only if
// that met conflicts.
type Task struct {
	ID         string            `json:"id"` // chosen by the host: [a-z0-9_-]{1,64}
	Repository Repository        `json:"repository"`
	Merge      *Merge            `json:"merge,omitempty"`
	Setup      []string          `json:"setup,omitempty"` // shell commands, run in the repository in order
	Check      string            `json:"check,omitempty"` // shell command, run after Claude
	Env        map[string]string `json:"env,omitempty"`   // plain values for setup, Claude's tools and check
	Claude     Claude            `json:"claude"`
	Deadline   time.Time         `json:"deadline"` // by the host's wall clock: the task is cancelled then
	Bounds     Bounds            `json:"bounds"`
	// Sent is what the host's wall clock shows: the sandbox's may be hours off.
	// Tasks that differ in nothing else are the same.
	Sent time.Time `json:"sent"`
}

// Merge says what of an earlier task is to be merged: what leads from Ancestor
// to the changes that it left goes onto Repository.Commit.
type Merge struct {
	Task     string `json:"task"`     // in the same sandbox; it has ended
	Ancestor string `json:"ancestor"` // 40 hex digits
	Branch   string `json:"branch"`   // that stands at Repository.Commit: a name for Claude
}

// Labels are what follows the first and the last marker of a conflict in a
// file.
func (m *Merge) Labels(onto string) (first, last string) {
	return fmt.Sprintf("%s (%.10s)", m.Branch, onto), fmt.Sprintf("your changes since %.10s", m.Ancestor)
}

// MaxPaths bounds the paths that Status.Conflicts names.
const MaxPaths = 50

// Repository says what to clone. Git reaches it through sandboxd's loopback
// and the tunnel; origin stays URL.
type Repository struct {
	URL    string `json:"url"`    // https://github.com/owner/name.git: becomes origin
	WebURL string `json:"weburl"` // https://github.com/: what is rewritten to loopback
	Name   string `json:"name"`   // directory below WorkDir
	Commit string `json:"commit"` // 40 hex digits: where Claude starts
	Branch string `json:"branch"` // local branch name that stands on Commit
	// Filter is passed to git clone --filter ("blob:none"), Depth to --depth;
	// empty and 0 mean neither.
	Filter string `json:"filter,omitempty"`
	Depth  int    `json:"depth,omitempty"`
	// Keep leaves a clone as an earlier task on the same commit left it: this
	// one goes on with its work.
	Keep bool `json:"keep,omitempty"`
}

// Claude says how to start Claude Code.
type Claude struct {
	// Prompt goes to stdin. After a merge the paths in conflict follow it; none
	// leaves the conflicts unsolved.
	Prompt     string        `json:"prompt"`
	System     string        `json:"system"` // appended to Claude's own system prompt
	Model      string        `json:"model"`
	MaxTurns   int           `json:"max_turns"`
	SessionID  string        `json:"session_id"`      // a UUID; resumed if its transcript is there
	OAuth      bool          `json:"oauth,omitempty"` // the host lends a subscription: see claude.Invocation
	APITimeout time.Duration `json:"api_timeout"`     // of one model call
	MaxRetries int           `json:"max_retries"`     // of one model call
}

// Bounds limit what the task may return and how long its parts may take.
type Bounds struct {
	ChangesetBytes int64         `json:"changeset_bytes"` // content bytes altogether
	ChangesetFiles int           `json:"changeset_files"`
	SetupTimeout   time.Duration `json:"setup_timeout"` // each command
	CheckTimeout   time.Duration `json:"check_timeout"`
}

// Phase is the part of a task that is under way.
type Phase string

// The phases in their order.
const (
	PhaseClone  Phase = "clone"
	PhaseSetup  Phase = "setup"
	PhaseMerge  Phase = "merge"
	PhaseClaude Phase = "claude"
	PhaseCheck  Phase = "check"
	PhaseEnded  Phase = "ended"
)

// Status is what a task came to so far.
type Status struct {
	ID        string         `json:"id"`
	Phase     Phase          `json:"phase"`
	Cancelled bool           `json:"cancelled,omitempty"`
	StartedAt time.Time      `json:"started_at"`
	EndedAt   time.Time      `json:"ended_at,omitzero"`
	Events    int64          `json:"events"`            // number of the newest event
	Failure   *Failure       `json:"failure,omitempty"` // what broke, with the phase it broke in
	Claude    *claude.Result `json:"claude,omitempty"`  // once Claude ended
	Check     *Check         `json:"check,omitempty"`   // once the check ended
	Base      string         `json:"base,omitempty"`    // commit that was checked out
	// Conflicts are paths that the merge left to be solved, each at most 400
	// bytes long.
	Conflicts []string `json:"conflicts,omitempty"`
	// Notes are what Claude had to do without: submodules, Git LFS, space on the
	// disk. There are about 20 at most, of at most 1 KiB.
	Notes []string `json:"notes,omitempty"`
}

// Failure is why a task could not do a phase. A Claude that ran and ended
// badly is not one: that is in its Result.
type Failure struct {
	Phase   Phase  `json:"phase"`
	Kind    string `json:"kind"`    // clone_failed, merge_failed, setup_failed, setup_timeout, claude_missing, changeset_failed, disk_full, deadline, cancelled, internal
	Message string `json:"message"` // what was attempted and what it said, at most 4 KiB
}

// Check is the outcome of the check command.
type Check struct {
	ExitCode int           `json:"exit_code"` // -1 if it was killed
	TimedOut bool          `json:"timed_out,omitempty"`
	Tail     string        `json:"tail"` // the last lines of its output, at most 8 KiB
	Duration time.Duration `json:"duration"`
}

// Event is one thing that happened, numbered from 1 without gaps.
type Event struct {
	Number int64     `json:"number"`
	Time   time.Time `json:"time"`
	Phase  Phase     `json:"phase"`
	// Exactly one of these is set; Started alone marks a phase's beginning.
	Started bool          `json:"started,omitempty"`
	Output  string        `json:"output,omitempty"` // a piece of git's, setup's or check's output, at most 4 KiB
	Claude  *claude.Event `json:"claude,omitempty"`
	Ended   *Status       `json:"ended,omitempty"` // the last event of a task
}
