package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

const killed = 128 + int(syscall.SIGKILL)

// ear hears the calls of the model.
type ear struct {
	first func() // is called before the first is answered; may be nil

	mu      sync.Mutex
	calls   int // that were answered
	prompts int // of the conversation that had the most
}

func (e *ear) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e.mu.Lock()
		e.calls++
		first := e.calls == 1 && e.first != nil
		e.prompts = max(e.prompts, prompts(body))
		e.mu.Unlock()
		if first {
			e.first()
		}
		next.ServeHTTP(w, r)
	})
}

// prompts counts what Claude was told in a call's conversation: the texts of
// the user's that stand for themselves.
func prompts(body []byte) (n int) {
	var call struct {
		Messages []struct {
			Role    string
			Content []struct{ Type string }
		}
	}
	if json.Unmarshal(body, &call) != nil {
		return 0
	}
	for _, m := range call.Messages {
		if m.Role == "user" && len(m.Content) > 0 && m.Content[0].Type == "text" {
			n++
		}
	}
	return n
}

func (e *ear) heard() (calls, prompts int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls, e.prompts
}

// way is how a run can go, and what has to be there in the end, however often
// it was killed on the way.
type way struct {
	states  []run.State // in which it is killed
	script  string      // the model's
	theirs  string      // what others push to README.md while Claude works, if anything
	args    []string
	exit    int
	calls   int  // of the model
	prompts int  // that Claude is given
	pull    bool // a pull request, with a branch of one commit
	draft   bool
	comment string // part of it
}

// ways lead, between them, through every state that has a step.
var ways = map[string]way{
	"done": {
		states: run.Active,
		script: "steps: [{write: {path: a.txt, content: a}}, {bash: cat a.txt, expect: a}, {say: Add a}]",
		calls:  3, prompts: 1, pull: true, comment: "**Opened #",
	},
	"parked": {
		states: []run.State{run.Working, run.Parked},
		script: "steps: [{write: {path: a.txt, content: a}}, {fail: 429, resets_in: 3h, times: 1, say: wait}]\n" +
			"follow_ups: [[{say: Add a}]]",
		calls: 3, prompts: 2, pull: true, comment: "**Opened #",
	},
	"merged": {
		states: []run.State{run.Merging},
		script: "steps: [{bash: echo mine > README.md}, {say: Mine}]\n" +
			"follow_ups: [[{bash: echo both > README.md}, {say: Both}]]",
		theirs: "theirs\n",
		calls:  4, prompts: 2, pull: true, comment: "**Opened #",
	},
	"unchanged": {
		states: []run.State{run.Harvesting, run.Reporting},
		script: "steps: [{say: Nothing has to change}]",
		exit:   3, calls: 1, prompts: 1, comment: "Nothing has to change",
	},
	"limited": {
		states: []run.State{run.Working, run.Harvesting, run.Gating, run.Committing, run.Publishing, run.Reporting},
		script: "steps: [{write: {path: a.txt, content: a}}, {bash: date >> a.txt, repeat: true}]",
		args:   []string{"--max-turns", "2"},
		exit:   5, calls: 2, prompts: 1, pull: true, draft: true, comment: "turns",
	},
	"refused": {
		states: []run.State{run.Gating, run.Settling},
		script: "steps: [{write: {path: .github/workflows/a.yml, content: a}}, {say: Add a}]",
		exit:   6, calls: 2, prompts: 1, comment: "**Not published.**",
	},
}

// TestKilledAtEachMoment kills the command line in every state that the
// transition table has a step for: before the step, after it and before that
// is stored, and after it is stored. Started anew it goes on; in the end there
// is one of everything. A state that no way leads through fails the test.
func TestKilledAtEachMoment(t *testing.T) {
	t.Parallel()
	led := map[run.State]bool{}
	for name, w := range ways {
		for _, state := range w.states {
			led[state] = true
			for _, m := range []engine.Moment{engine.Before, engine.After, engine.Stored} {
				doom := e2e.Doom{State: state, Moment: m}
				t.Run(name+"/"+doom.String(), func(t *testing.T) {
					t.Parallel()
					w.survive(t, doom)
				})
			}
		}
	}
	for _, state := range append([]run.State{run.Parked}, run.Active...) {
		if !led[state] {
			t.Errorf("no way leads through %s: add one to ways", state)
		}
	}
}

// survive takes a run along the way, kills it once and holds what is left
// against what has to be there.
func (w way) survive(t *testing.T, doom e2e.Doom) {
	s, hears := w.stack(t, e2e.Options{Engine: e2e.Process, Light: true})
	ref := s.Add(small("small", nil), github.Issue{Title: "Kill me"})
	s.Doom(doom)
	w.untilKilled(t, s, ref)
	s.Doom(e2e.Doom{})
	if doom != (e2e.Doom{State: run.Settling, Moment: engine.Stored}) { // nothing is left to be done
		w.untilDone(t, s, ref)
	}
	w.wantOneOfEach(t, s)
	if calls, prompts := hears.heard(); calls != w.calls || prompts != w.prompts {
		t.Errorf("%d calls of the model with %d prompts, want %d and %d", calls, prompts, w.calls, w.prompts)
	}
}

// stack is a stack whose model follows the way's script.
func (w way) stack(t *testing.T, o e2e.Options) (*e2e.Stack, *ear) {
	t.Helper()
	const token = "sk-ant-oat01-killed-run"
	o.Scenario = "way"
	o.Anthropic = anthropic.Options{OAuth: secret.New(token), Scenarios: fstest.MapFS{"way.yaml": {Data: []byte(w.script)}}}
	s, hears := e2e.New(t, o), &ear{}
	if w.theirs != "" {
		hears.first = func() {
			if _, err := s.GitHub.Commit(t.Context(), "demo/small", "main", "Somebody else's", fstest.MapFS{"README.md": {Data: []byte(w.theirs)}}); err != nil {
				t.Error(err)
			}
		}
	}
	delete(s.Env, "ANTHROPIC_API_KEY")
	s.Env["CLAUDE_CODE_OAUTH_TOKEN"] = token
	s.WrapModel(hears.around)
	return s, hears
}

func (w way) start(s *e2e.Stack, ref string) *e2e.Command {
	return s.Start(append([]string{"run-issue", ref}, w.args...)...)
}

// untilKilled runs the command until it dies, which it must.
func (w way) untilKilled(t *testing.T, s *e2e.Stack, ref string) {
	t.Helper()
	for range 3 { // a run that waits takes up the next time
		r := w.start(s, ref).Wait()
		if r.Exit == killed {
			return
		} else if r.Exit != 8 {
			t.Fatalf("it was not killed: %s", r)
		}
	}
	t.Fatal("it was never killed")
}

// untilDone runs the command until it ends the way it has to.
func (w way) untilDone(t *testing.T, s *e2e.Stack, ref string) {
	t.Helper()
	for range 3 {
		r := w.start(s, ref).Wait()
		if r.Exit == w.exit {
			return
		} else if r.Exit != 8 {
			t.Fatalf("want exit code %d: %s", w.exit, r)
		}
	}
	t.Fatal("it waits for ever")
}

// wantOneOfEach holds what the services have.
func (w way) wantOneOfEach(t *testing.T, s *e2e.Stack) {
	t.Helper()
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}
	comment := s.Comment("demo/small", 1)
	holds(t, "the comment", comment.Body, w.comment)
	if list := wantExit(t, s.Run("runs", "list"), 0).Stdout; strings.Count(list, "demo/small#1") != 1 {
		t.Errorf("runs:\n%s", list)
	}
	if broken := s.Anthropic.Broken(); broken != nil {
		t.Errorf("Claude met what the script does not expect: %q", broken)
	}
	if !w.pull {
		s.NoPull("demo/small", "main")
		return
	}
	pull := s.Pull("demo/small")
	if branches := s.Branches("demo/small"); len(branches) != 2 || pull.Draft != w.draft {
		t.Errorf("branches %v, pull request %+v", branches, pull)
	}
	wantOneCommit(t, s, "demo/small", "main", pull.Head)
}

// reaper kills the command line at its own writes: at the first of each kind,
// right before it takes effect or right after, when nobody has told the command
// yet.
type reaper struct {
	before bool

	mu    sync.Mutex
	kinds []string
	shoot func() // kills the command line and returns when it is dead
}

// kind is what requests that differ in names and numbers only have in common.
func kind(q *http.Request) string {
	segments := strings.Split(q.URL.Path, "/")
	for i, segment := range segments {
		if strings.ContainsAny(segment, "0123456789") && segment != "v1" && segment != "v3" {
			segments[i] = "*"
		}
	}
	return q.Method + " " + strings.Join(segments, "/")
}

func (r *reaper) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !r.strikes(kind(q)) {
			next.ServeHTTP(w, q)
			return
		}
		if !r.before {
			next.ServeHTTP(httptest.NewRecorder(), q)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.shoot()
		panic(http.ErrAbortHandler) // there is nobody to answer
	})
}

// strikes reports whether a request is the first of its kind.
func (r *reaper) strikes(kind string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(kind, "GET ") || strings.HasPrefix(kind, "HEAD ") || slices.Contains(r.kinds, kind) {
		return false
	}
	r.kinds = append(r.kinds, kind)
	return true
}

// written are kinds of writes that the way "done" cannot do without: a reaper
// that has not met them saw nothing.
var written = []string{
	"POST /api/v3/repos/demo/small/issues/*/comments", "POST /api/v3/repos/demo/small/git/trees",
	"POST /api/v3/repos/demo/small/git/commits", "POST /api/v3/repos/demo/small/git/refs", "POST /api/v3/repos/demo/small/pulls",
	"PATCH /api/v3/repos/demo/small/issues/comments/*", "POST /demo/small.git/git-upload-pack",
	"POST /api/sandbox", "POST /toolbox/*/files/bulk-upload", "POST /*/v1/tasks", "POST /api/sandbox/*/stop", "POST /v1/messages",
}

// TestKilledAtEachWrite kills the command line at every kind of write to
// GitHub, to Daytona and what is behind it, and to the model: there is not one
// that may be done twice or not at all.
func TestKilledAtEachWrite(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*reaper{"before": {before: true}, "after": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ways["done"]
			s, _ := w.stack(t, e2e.Options{Engine: e2e.Process, Light: true, GitHub: github.Options{Wrap: r.around}})
			s.FrontDaytona(r.around)
			s.WrapModel(r.around)
			ref := s.Add(small("small", nil), github.Issue{Title: "Kill me"})
			for kills := 0; ; kills++ {
				ready := make(chan *e2e.Command, 1)
				r.mu.Lock()
				r.shoot = func() {
					c := <-ready
					ready <- c
					c.Signal(syscall.SIGKILL)
					c.Wait()
				}
				r.mu.Unlock()
				c := w.start(s, ref)
				ready <- c
				got := c.Wait()
				if got.Exit == w.exit {
					holds(t, "the progress", got.Stderr, "going on with run r_")
					break
				}
				if got.Exit != killed || kills > 60 {
					t.Fatalf("after %d kills, at %q: %s", kills, r.kinds, got)
				}
			}
			for _, kind := range written {
				if !slices.Contains(r.kinds, kind) {
					t.Errorf("never killed at %s, only at %q", kind, r.kinds)
				}
			}
			w.wantOneOfEach(t, s)
		})
	}
}

// TestKilledWithTheRealParts kills the command line once in every state, on
// Docker and with the real Claude Code: between a step and its being stored.
func TestKilledWithTheRealParts(t *testing.T) {
	t.Parallel()
	w := ways["done"]
	s, hears := w.stack(t, e2e.Options{Engine: e2e.Docker})
	ref := s.Add(small("small", nil), github.Issue{Title: "Kill me"})
	for _, state := range w.states {
		s.Doom(e2e.Doom{State: state, Moment: engine.After})
		w.untilKilled(t, s, ref)
	}
	s.Doom(e2e.Doom{})
	w.untilDone(t, s, ref)
	w.wantOneOfEach(t, s)
	if calls, prompts := hears.heard(); calls != w.calls || prompts != w.prompts {
		t.Errorf("%d calls of the model with %d prompts, want %d and %d", calls, prompts, w.calls, w.prompts)
	}
}
