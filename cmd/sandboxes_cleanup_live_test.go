package cmd_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/run"
)

// TestCleanupOnATerminal asks before it deletes, and wants more than a yes for
// what is another's. Daytona's clock is an hour slow, for gc.
func TestCleanupOnATerminal(t *testing.T) {
	t.Parallel()
	o := e2e.Options{Engine: e2e.Process, Light: true}
	o.Daytona.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	s := e2e.New(t, o)
	ref := s.Shop(github.Issue{})
	if r := s.Run("run-issue", ref); r.Exit != 0 {
		t.Fatal(r)
	}
	s.WithDaytona(func(c *daytona.Client) {
		ours := s.Sandboxes()["dayclaude-1002-42-1"].Labels[run.LabelStore]
		for name, store := range map[string]string{"theirs": "another-store", "orphan": ours} {
			if _, err := c.Create(t.Context(), daytona.CreateSandbox{Name: name, Labels: map[string]string{run.LabelStore: store}}); err != nil {
				t.Fatal(err)
			}
		}
	})
	asked := func(width int, question, answer string, args ...string) (code, screen string) {
		t.Helper()
		term := newTerminal(t, s, width, 30, append([]string{"sandboxes", "cleanup"}, args...)...)
		s.Eventually("the question", func() bool { return strings.Contains(term.screen(), question) })
		term.tmux("send-keys", answer, "Enter")
		return term.wait(s)
	}
	const yesNo, typed = "delete them, with their files? [y/N]", "type their number"
	if code, screen := asked(100, yesNo, ""); code != "130" || len(s.Sandboxes()) != 3 {
		t.Errorf("no answer: exit code %s\n%s", code, screen)
	}
	code, screen := asked(100, yesNo, "n")
	if code != "130" || len(s.Sandboxes()) != 3 {
		t.Errorf("no: exit code %s\n%s", code, screen)
	}
	holdsAll(t, screen, "NAME                 STATE    UNUSED  ISSUE         WORK\ndayclaude-1002-42-1  stopped  ", "demo/shop#42  in pull request #43\n", "dayclaude: nothing was deleted")
	for answer, want := range map[string]string{"y": "2", "1": "2"} {
		if code, screen := asked(100, typed, answer, "--all", "--yes", "--state", "started"); code != want || len(s.Sandboxes()) != 3 {
			t.Errorf("%q: exit code %s\n%s", answer, code, screen)
		}
	}
	if code, screen = asked(100, typed, "2", "--all", "--state", "started"); code != "0" {
		t.Errorf("their number: exit code %s\n%s", code, screen)
	}
	s.Eventually("two to be destroyed", func() bool { return len(s.Sandboxes()) == 1 })

	term := newTerminal(t, s, 40, 30, "sandboxes", "gc")
	if code, screen = term.wait(s); code != "0" {
		t.Errorf("gc: exit code %s\n%s", code, screen)
	}
	holdsAll(t, screen, "nothing to do: 1 sandbox")
	code, screen = asked(40, yesNo, "yes")
	if code != "0" {
		t.Errorf("yes: exit code %s\n%s", code, screen)
	}
	s.Eventually("it to be destroyed", func() bool { return len(s.Sandboxes()) == 0 })
	holdsAll(t, screen, "dayclaude-1002-42-1  in pull request #43\n", "deleted: no run needs it\n")
}
