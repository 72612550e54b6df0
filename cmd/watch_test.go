package cmd_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// underWay is a stack on which a run waits for the model until release is
// called.
func underWay(t *testing.T) (s *e2e.Stack, ref string, driver *e2e.Command, release func()) {
	t.Helper()
	t.Parallel()
	s = e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true})
	model := s.WatchModel()
	release = model.Hold()
	t.Cleanup(release)
	ref = s.Shop(github.Issue{})
	driver = s.Start("run-issue", ref)
	s.Eventually("the first call of the model", model.Waiting)
	return s, ref, driver, release
}

// TestSecondRunIssueWatches answers a second run-issue's question.
func TestSecondRunIssueWatches(t *testing.T) {
	s, ref, driver, release := underWay(t)
	ask := func(keys ...string) *terminal {
		term := newTerminal(t, s, 80, 24, "run-issue", ref)
		s.Eventually("the question", func() bool { return strings.Contains(term.screen(), "Watch it? [Y/n]") })
		if who := fmt.Sprintf("dayclaude: %s: process %d on ", ref, driver.PID()); !strings.Contains(term.screen(), who) {
			t.Errorf("the screen lacks %q:\n%s", who, term.screen())
		}
		term.tmux(append([]string{"send-keys"}, keys...)...)
		return term
	}
	if code, after := ask("n", "Enter").wait(s); code != "1" || strings.Contains(after, "Claude is at work") {
		t.Errorf("exit code %s:\n%s", code, after)
	}
	if code, after := ask("C-c").wait(s); code != "1" {
		t.Errorf("exit code %s:\n%s", code, after)
	}
	yes := ask("Enter")
	s.Eventually("the live view", func() bool { return strings.Contains(yes.screen(), "• Claude is at work") })
	release()
	code, after := yes.wait(s)
	t.Logf("after:\n%s", after)
	if code != "0" || !strings.Contains(after, "/demo/shop/pull/43\n") {
		t.Errorf("exit code %s:\n%s", code, after)
	}
	wellFormed(t, after, 80)
	if r := driver.Wait(); r.Exit != 0 {
		t.Errorf("the run: %s", r)
	}
}

// TestWatchOnATerminal watches a run whose process is killed.
func TestWatchOnATerminal(t *testing.T) {
	s, ref, driver, _ := underWay(t)
	term := newTerminal(t, s, 50, 24, "runs", "watch")
	s.Eventually("the live view", func() bool { return strings.Contains(term.screen(), "• Claude is at work") })
	wellFormed(t, term.screen(), 50)
	driver.Signal(syscall.SIGKILL)
	code, after := term.wait(s)
	t.Logf("after:\n%s", after)
	if code != "1" || !strings.Contains(strings.ReplaceAll(after, "\n", ""), "`dayclaude run-issue "+ref+"` goes on with it") {
		t.Errorf("exit code %s:\n%s", code, after)
	}
}

// TestCancelOnATerminal cancels a run and shows how that goes.
func TestCancelOnATerminal(t *testing.T) {
	s, ref, driver, _ := underWay(t)
	term := newTerminal(t, s, 80, 24, "runs", "cancel", ref)
	code, after := term.wait(s)
	t.Logf("after:\n%s", after)
	if code != "0" || !strings.Contains(after, "of demo/shop#42 is cancelled") {
		t.Errorf("exit code %s:\n%s", code, after)
	}
	if r := driver.Wait(); r.Exit != 130 {
		t.Errorf("the run: %s", r)
	}
}

// TestInterruptedTwice leaves at once, and says where everything is found.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true})
	model := s.WatchModel()
	release := model.Hold()
	defer release()
	ref := s.Shop(github.Issue{})
	// The way out waits for Daytona, which never answers.
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/stop") {
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	term := newTerminal(t, s, 120, 24, "run-issue", ref)
	s.Eventually("the first call of the model", model.Waiting)
	term.tmux("send-keys", "C-c")
	s.Eventually("the notice", func() bool { return strings.Contains(term.screen(), "Ctrl-C again leaves at once") })
	term.tmux("send-keys", "C-c")
	code, after := term.wait(s)
	t.Logf("after:\n%s", after)
	for _, want := range []string{"dayclaude: left at once: ", "`dayclaude runs list`", "`dayclaude run-issue demo/shop#42`"} {
		if !strings.Contains(after, want) {
			t.Errorf("the screen lacks %q:\n%s", want, after)
		}
	}
	if code != "130" {
		t.Errorf("exit code %s", code)
	}
}
