package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// busy is a stack on which Claude writes a file and then runs a command that
// ends once the returned function was called.
func busy(t *testing.T) (s *e2e.Stack, ref string, release func()) {
	t.Helper()
	t.Parallel()
	const script = "steps: [{say: I write it first., write: {path: a.txt, content: a}}, {bash: cat a.txt}, {say: Add a}]\n" +
		"follow_ups: [[{write: {path: b.txt, content: b}}, {say: Add b}]]"
	s = e2e.New(t, e2e.Options{
		Engine: e2e.Process, Light: true, Scenario: "busy",
		Anthropic: anthropic.Options{Scenarios: fstest.MapFS{"busy.yaml": {Data: []byte(script)}}},
	})
	_, release = holdAfter(s, 2)
	t.Cleanup(release)
	return s, s.Add(small("small", nil), github.Issue{Title: "Add a"}), release
}

// holdAfter keeps the model's calls waiting, but the first few, until release
// is called.
func holdAfter(s *e2e.Stack, first int32) (waiting func() bool, release func()) {
	held := make(chan struct{})
	var calls atomic.Int32
	s.WrapModel(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) > first {
				select {
				case <-held:
				case <-r.Context().Done():
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	return func() bool { return calls.Load() > first }, sync.OnceFunc(func() { close(held) })
}

// working starts run-issue and waits until Claude has written its file.
func working(t *testing.T, s *e2e.Stack, ref string, args ...string) *e2e.Command {
	t.Helper()
	c := s.Start(append([]string{"run-issue", ref, "--verbose"}, args...)...)
	c.WaitFor("→ Bash ")
	return c
}

// TestWatch watches a run from other processes until it ends.
func TestWatch(t *testing.T) {
	s, ref, release := busy(t)
	driver := working(t, s, ref)

	second := wantExit(t, s.Run("run-issue", ref), 1)
	who := fmt.Sprintf("process %d on ", driver.PID())
	holds(t, "the second run-issue", second.Stderr, "dayclaude: "+ref+": "+who, " has worked on it since ",
		"hint: `dayclaude runs watch "+ref+"` shows it")
	if strings.Contains(second.Stderr, "Watch it?") {
		t.Error("it asks where nobody is")
	}
	second = wantExit(t, s.Run("run-issue", ref, "--json"), 1)
	holds(t, "its --json", second.Stderr, `"kind":"conflict"`)
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}

	show := wantExit(t, s.Run("runs", "show", ref), 0).Stdout
	holds(t, "runs show", show, "state      working", "driven by  "+who, "goes on, working", "dayclaude runs watch r_")
	watchers := []*e2e.Command{s.Start("runs", "watch"), s.Start("runs", "watch", ref), s.Start("runs", "watch", ref, "--json"), s.Start("runs", "logs", "-f", ref)}
	for _, w := range watchers[:2] {
		w.WaitFor("Claude is at work")
	}
	stopped := s.Start("runs", "watch", ref)
	stopped.WaitFor("Claude is at work")
	stopped.Signal(syscall.SIGINT)
	holds(t, "a watch that is stopped", wantExit(t, stopped.Wait(), 130).Stderr, "no longer watching; run r_")

	release()
	done := wantExit(t, driver.Wait(), 0)
	pull := s.Pull("demo/small")
	for _, w := range watchers[:2] {
		if r := wantExit(t, w.Wait(), 0); r.Stdout != done.Stdout {
			t.Errorf("watch prints %q, run-issue %q", r.Stdout, done.Stdout)
		}
	}
	if got := wantExit(t, watchers[2].Wait(), 0).JSON(); got["state"] != "done" {
		t.Errorf("watch --json: %v", got)
	}
	logs := wantExit(t, watchers[3].Wait(), 0).Stdout
	holds(t, "runs logs", logs, "turn 1\n", "    I write it first.\n    → Write a.txt\n", "    → Bash cat a.txt\n      ← a\n", "tokens in", "  done\n")
	if strings.Contains(logs, "\x1b") {
		t.Errorf("colours in a pipe:\n%q", logs)
	}
	if again := wantExit(t, s.Run("runs", "logs", ref), 0).Stdout; again != logs {
		t.Errorf("the log of a run that ended differs from the one that was followed:\n%s\n%s", again, logs)
	}
	// Long ago is no different.
	if r := wantExit(t, s.Run("runs", "watch", ref), 0); r.Stdout != done.Stdout {
		t.Errorf("watch of a run that ended prints %q", r.Stdout)
	}
	holds(t, "watching nothing", wantExit(t, s.Run("runs", "watch"), 1).Stderr, "no run is under way")
	holds(t, "runs show", wantExit(t, s.Run("runs", "show", ref), 0).Stdout, "pull request  "+strings.TrimSpace(done.Stdout), "kept in       "+s.StateDir(), "dayclaude runs logs r_")
	wantOneCommit(t, s, "demo/small", "main", pull.Head)
}

// TestWatchWhichOne lists the runs that it could watch.
func TestWatchWhichOne(t *testing.T) {
	s, ref, _ := busy(t)
	other := s.Add(small("other", nil), github.Issue{Title: "Add a"})
	working(t, s, ref)
	s.Start("run-issue", other)
	s.Eventually("both to be under way", func() bool { return strings.Count(s.Run("runs", "list").Stdout, "working") == 2 })
	holds(t, "watch", wantExit(t, s.Run("runs", "watch"), 2).Stderr, ref, other, "dayclaude: 2 runs have not ended", "hint: name one of them, such as `dayclaude runs watch r_")
	if r := wantExit(t, s.Run("runs", "watch", "--json"), 2); strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("more than an object: %s", r)
	}
}

// TestWatchOfARunThatWasKilled says that it was, and how to go on.
func TestWatchOfARunThatWasKilled(t *testing.T) {
	s, ref, release := busy(t)
	c := working(t, s, ref)
	watcher := s.Start("runs", "watch", ref)
	watcher.WaitFor("Claude is at work")
	c.Signal(syscall.SIGKILL)
	gone := fmt.Sprintf("%s: process %d on ", ref, c.PID())
	for _, r := range []*e2e.Result{watcher.Wait(), s.Run("runs", "watch", ref), s.Run("runs", "logs", "-f", ref)} {
		holds(t, "the watcher", wantExit(t, r, 1).Stderr, gone, " is gone; run r_", " was left while working",
			"hint: `dayclaude run-issue "+ref+"` goes on with it")
	}
	holds(t, "runs show", wantExit(t, s.Run("runs", "show", ref), 0).Stdout, "gone while working", "dayclaude run-issue "+ref)

	release()
	wantExit(t, s.Run("run-issue", ref), 0)
	show := wantExit(t, s.Run("runs", "show", ref), 0).Stdout
	holds(t, "runs show", show, "killed while working")
	for _, row := range []string{`(?m)^working +1 +\S+ +\S+`, `(?m)^working +2 +\S+ +\S+ +\$`, `(?m)^2 +\S+ +\S+ +done +process `} {
		if !regexp.MustCompile(row).MatchString(show) {
			t.Errorf("runs show lacks %s:\n%s", row, show)
		}
	}
	var v struct {
		State    run.State
		Steps    []struct{ Attempt int }
		Attempts []struct{ Ended string }
	}
	if err := json.Unmarshal([]byte(wantExit(t, s.Run("runs", "show", ref, "--json"), 0).Stdout), &v); err != nil {
		t.Fatal(err)
	}
	if v.State != run.Done || len(v.Attempts) != 2 || v.Attempts[0].Ended != "killed" || v.Attempts[1].Ended != "let_go" || v.Steps[len(v.Steps)-1].Attempt != 2 {
		t.Errorf("runs show --json: %+v", v)
	}
}

// TestCancel cancels a run that another process drives.
func TestCancel(t *testing.T) {
	s, ref, _ := busy(t)
	driver := working(t, s, ref)
	r := wantExit(t, s.Run("runs", "cancel", ref), 0)
	holds(t, "cancel", r.Stderr, "collecting the changes", "of "+ref+" is cancelled")
	holds(t, "run-issue", wantExit(t, driver.Wait(), 130).Stderr, "dayclaude: stopped by `dayclaude runs cancel`")
	pull := s.Pull("demo/small")
	if !pull.Draft {
		t.Errorf("what there was is no draft: %+v", pull)
	}
	holds(t, "the comment", s.Comment("demo/small", 1).Body, "Cancelled")
	again := wantExit(t, s.Run("runs", "cancel", ref), 1)
	holds(t, "cancelling it again", again.Stderr, " has ended already: cancelled", "hint: `dayclaude runs show r_")
}

// TestCancelNeedNotBeAwaited presses Ctrl-C while a run is being cancelled.
func TestCancelNeedNotBeAwaited(t *testing.T) {
	s, ref, _ := busy(t)
	held := make(chan struct{})
	free := sync.OnceFunc(func() { close(held) })
	defer free()
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/stop") {
				<-held
			}
			next.ServeHTTP(w, r)
		})
	})
	driver := working(t, s, ref)
	c := s.Start("runs", "cancel", ref)
	c.WaitFor("collecting the changes")
	c.Signal(syscall.SIGINT)
	holds(t, "cancel", wantExit(t, c.Wait(), 130).Stderr, "dayclaude: no longer waiting: run r_", " stays asked to end")
	free()
	wantExit(t, driver.Wait(), 130)
}

// TestCancelOfARunThatWasKilled drives the way out itself.
func TestCancelOfARunThatWasKilled(t *testing.T) {
	s, ref, _ := busy(t)
	c := working(t, s, ref)
	c.Signal(syscall.SIGKILL)
	c.Wait()
	r := wantExit(t, s.Run("runs", "cancel", ref, "--json"), 0)
	if got := r.JSON(); got["state"] != "cancelled" {
		t.Errorf("cancel --json: %v", got)
	}
	if pull := s.Pull("demo/small"); !pull.Draft {
		t.Errorf("what there was is no draft: %+v", pull)
	}
	for name, sandbox := range s.Sandboxes() {
		if sandbox.State == "started" {
			t.Errorf("sandbox %s is left running", name)
		}
	}
	if comments := commentsOf(t, s, ref); len(comments) != 1 || !strings.Contains(comments[0].Body, "Cancelled") {
		t.Errorf("comments: %+v", comments)
	}
}

// TestRetry runs an issue again with what was asked for the first time.
func TestRetry(t *testing.T) {
	s, ref, release := busy(t)
	release()
	first := wantExit(t, s.Run("run-issue", ref, "--max-turns", "1", "--json"), 5).JSON()
	id, _ := first["run_id"].(string)
	// The same limit is reached again: it is the run's, not the setting's.
	s.Env["DAYCLAUDE_MAX_TURNS"] = "50"
	again := wantExit(t, s.Run("runs", "retry", strings.TrimPrefix(id, "r_"), "--json"), 5).JSON()
	if again["run_id"] == first["run_id"] || again["issue"] != first["issue"] {
		t.Errorf("retry: %v", again)
	}
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}
	s.Pull("demo/small") // one of both runs
}

// TestRetryTakesUpWhatWasKilled goes on with the same run.
func TestRetryTakesUpWhatWasKilled(t *testing.T) {
	s, ref, release := busy(t)
	c := working(t, s, ref)
	c.Signal(syscall.SIGKILL)
	c.Wait()
	release()
	r := wantExit(t, s.Run("runs", "retry", ref), 0)
	holds(t, "retry", r.Stderr, "going on with run r_")
	if list := wantExit(t, s.Run("runs", "list"), 0).Stdout; strings.Count(list, ref) != 1 {
		t.Errorf("runs:\n%s", list)
	}
}

// TestRetryRightAfterCancel goes on from the work of a run that was cancelled,
// after it had been killed once.
func TestRetryRightAfterCancel(t *testing.T) {
	s, ref, release := busy(t)
	first := working(t, s, ref)
	first.Signal(syscall.SIGKILL)
	first.Wait()
	second := s.Start("run-issue", ref)
	second.WaitFor("going on with run r_")
	wantExit(t, s.Run("runs", "cancel", ref), 0)
	wantExit(t, second.Wait(), 130)
	release()
	wantExit(t, s.Run("runs", "retry", ref), 0)
	if pull := s.Pull("demo/small"); pull.Draft {
		t.Errorf("what was finished is still a draft: %+v", pull)
	}
}

// TestTakesUpALocalRun goes on with a run where it began, on this machine,
// though nobody says so again.
func TestTakesUpALocalRun(t *testing.T) {
	testenv.Docker(t)
	s := onProcess(t, e2e.Options{Scenario: "leftovers"})
	for _, name := range []string{"DAYTONA_API_KEY", "DAYTONA_API_URL"} {
		delete(s.Env, name)
	}
	waiting, release := holdAfter(s, 1)
	defer release()
	name := "local-" + strings.ToLower(rand.Text()[:8])
	t.Cleanup(func() { removeLocal(t, "dayclaude-demo-"+name+"-1") })
	ref := s.Add(small(name, nil), github.Issue{Title: "Here"})
	c := s.Start("run-issue", ref, "--local")
	s.Eventually("Claude to be at work", waiting)
	c.Signal(syscall.SIGKILL)
	c.Wait()
	release()

	r := wantExit(t, s.Run("run-issue", ref), 0)
	holds(t, "the progress", r.Stderr, "going on with run r_")
	// And so does a run like it.
	wantExit(t, s.Run("runs", "retry", ref), 3)
	if elsewhere := s.Sandboxes(); len(elsewhere) != 0 {
		t.Errorf("sandboxes at Daytona: %v", elsewhere)
	}
	s.Pull("demo/" + name)
}
