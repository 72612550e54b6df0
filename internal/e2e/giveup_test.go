package e2e_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// A run that was killed is given up when --new asks for another: it ends, its
// comment says so, and its sandbox stops.
func TestNewGivesUpWhatWasKilled(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	model := s.WatchModel()
	ref := s.Shop(github.Issue{})
	release := model.Hold()
	defer release()
	c := s.Start("run-issue", ref)
	s.Eventually("the first call of the model", model.Waiting)
	c.Signal(syscall.SIGKILL)
	c.Wait()
	release()
	r := wantExit(t, s.Run("run-issue", ref, "--new"), 0)
	holds(t, "the progress", r.Stderr, "it is ended here: given up for a new run")

	list := wantExit(t, s.Run("runs", "list"), 0).Stdout
	if !strings.Contains(list, "cancelled") || !strings.Contains(list, "done") || strings.Contains(list, "working") {
		t.Errorf("runs:\n%s", list)
	}
	comments, err := s.GitHub.Comments("demo/shop", 42)
	if err != nil || len(comments) != 2 {
		t.Fatalf("comments: %+v, %v; want one of each generation", comments, err)
	}
	holds(t, "the first comment", comments[0].Body, "Cancelled", "given up for a new run")
	holds(t, "the second comment", comments[1].Body, "**Opened #")
	for name, sandbox := range s.Sandboxes() {
		if sandbox.State == "started" {
			t.Errorf("sandbox %s is left running", name)
		}
	}
	if pulls, err := s.GitHub.Pulls("demo/shop"); err != nil || len(pulls) != 1 {
		t.Errorf("pull requests: %+v, %v", pulls, err)
	}
}
