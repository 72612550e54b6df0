package cmd_test

import (
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// TestSandboxesOnATerminal lists sandboxes on terminals of several widths, and
// asks on one before it deletes.
func TestSandboxesOnATerminal(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true})
	ref := s.Shop(github.Issue{})
	if r := s.Run("run-issue", ref); r.Exit != 0 {
		t.Fatal(r)
	}
	s.Eventually("its sandbox to stop", func() bool {
		for _, sandbox := range s.Sandboxes() {
			if sandbox.State != daytona.Stopped {
				return false
			}
		}
		return true
	})
	show := func(width int, args ...string) string {
		t.Helper()
		term := newTerminal(t, s, width, 50, args...)
		code, screen := term.wait(s)
		if code != "0" {
			t.Errorf("%d columns: exit code %s\n%s", width, code, screen)
		}
		for line := range strings.Lines(term.tmux("capture-pane", "-p", "-J", "-S", "-")) {
			line = strings.TrimSpace(line)
			if last := line[strings.LastIndexByte(line, ' ')+1:]; len(line) > width && len(last) < 20 {
				t.Errorf("%d columns: the terminal breaks %q", width, line)
			}
		}
		return screen
	}
	for width, want := range map[int]string{
		160: "NAME STATE ISSUE RUN AGE ACTIVE SIZE COST NEXT",
		100: "NAME STATE ISSUE RUN AGE ACTIVE COST NEXT",
		70:  "NAME STATE ISSUE COST NEXT",
		50:  "NAME STATE NEXT",
		40:  "dayclaude-1002-42-1",
	} {
		screen := show(width, "sandboxes", "list")
		head, _, _ := strings.Cut(screen, "\n")
		if got := strings.Join(strings.Fields(head), " "); got != want {
			t.Errorf("%d columns: it begins with %q\n%s", width, got, screen)
		}
	}
	holdsAll(t, show(40, "sandboxes", "list"), "\n  state stopped · issue demo/shop#42\n", " · next archived in 24 h\n")
	holdsAll(t, show(40, "sandboxes", "show", ref), "\nstate      stopped\n", "\nRUN           STATE  COST\n",
		"next:  dayclaude sandboxes start\n       dayclaude-1002-42-1 (starts it)\n")

	asked := func(answer string) (code, screen string) {
		t.Helper()
		term := newTerminal(t, s, 100, 30, "sandboxes", "delete", ref)
		s.Eventually("the question", func() bool { return strings.Contains(term.screen(), "[y/N]") })
		term.tmux("send-keys", answer, "Enter")
		return term.wait(s)
	}
	code, screen := asked("n")
	if code != "130" || len(s.Sandboxes()) != 1 {
		t.Errorf("no: exit code %s\n%s", code, screen)
	}
	holdsAll(t, screen, "the work of run r_", " of demo/shop#42 is in http://", "was left as it is")
	if code, screen = asked("y"); code != "0" || len(s.Sandboxes()) != 0 {
		t.Errorf("yes: exit code %s\n%s", code, screen)
	}
	holdsAll(t, screen, "✓ deleting sandbox dayclaude-1002-42-1", "dayclaude-1002-42-1 is deleted")
}

// TestSandboxShell enters a sandbox by ssh on a terminal, where Ctrl-C is the
// shell's.
func TestSandboxShell(t *testing.T) {
	t.Parallel()
	testenv.Command(t, "ssh")
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true})
	ref := s.Shop(github.Issue{})
	if r := s.Run("run-issue", ref, "--keep"); r.Exit != 0 {
		t.Fatal(r)
	}
	term := newTerminal(t, s, 100, 30, "sandboxes", "ssh", ref)
	waitFor := func(text string) {
		t.Helper()
		s.Eventually("the screen to show "+text, func() bool { return strings.Contains(term.screen(), text) })
	}
	// The one that sleeps says it: the shell itself would wait for a child that
	// Ctrl-C came too early for.
	term.tmux("send-keys", "echo size $(stty size); sh -c \"echo re''ady; exec sleep 600\"", "Enter")
	waitFor("\nready\n")
	term.tmux("send-keys", "C-c")
	term.tmux("send-keys", "echo st''ill here; exit 3", "Enter")
	code, screen := term.wait(s)
	if code != "0" { // as of v0.190 Daytona does not tell what a shell on a terminal ended with
		t.Errorf("exit code %s", code)
	}
	holdsAll(t, screen, "\nsize 30 100\n", "\nstill here\n")
}

func holdsAll(t *testing.T, screen string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(screen, part) {
			t.Errorf("the screen lacks %q:\n%s", part, screen)
		}
	}
}
