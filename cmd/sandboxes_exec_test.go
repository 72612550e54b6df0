package cmd_test

import (
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// TestExecInATerminal types, resizes, interrupts and leaves, on a real terminal.
func TestExecInATerminal(t *testing.T) {
	t.Parallel()
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := e2e.New(t, e2e.Options{Engine: engine, Bare: true})
			s.WithDaytona(func(c *daytona.Client) {
				if _, err := c.Create(t.Context(), daytona.CreateSandbox{Name: "playground", Labels: map[string]string{"a": "b"}, Snapshot: e2e.Snapshot}); err != nil {
					t.Fatal(err)
				}
			})
			const program = `stty size; stty size >size
trap 'echo interrupted' INT
printf 'name? '; read name; echo "hello $name"
until [ "$(stty size)" = "20 70" ]; do sleep 0.1; done; echo resized
until read line; do :; done
printf '\033[31mred\033[m %s\n' "$TERM"; exit 7`
			term := newTerminal(t, s, 90, 25, "sandboxes", "exec", "playground", "--all", "--confirm", "playground", "-t", "--", "sh", "-c", program)
			until := func(text string) {
				t.Helper()
				s.Eventually(text+" on the screen", func() bool { return strings.Contains(term.screen(), text) })
			}
			until("name?")
			term.tmux("send-keys", "ann", "Enter")
			until("hello ann\n")
			term.tmux("resize-window", "-x", "70", "-y", "20")
			until("resized")
			term.tmux("send-keys", "C-c")
			until("interrupted")
			term.tmux("send-keys", "Enter")
			code, screen := term.wait(s)
			const want = "25 90\nname? ann\nhello ann\nresized\n^Cinterrupted\n\nred tmux-256color\n"
			if code != "7" || screen != want {
				t.Errorf("exit code %s, the screen shows %q, want %q", code, screen, want)
			}
			// The terminal echoes again, line by line.
			term.tmux("send-keys", "echoed", "Enter")
			until("echoed\nechoed\n")
		})
	}
}

// TestExecCleansForATerminal shows what a program writes without what would
// steer the terminal.
func TestExecCleansForATerminal(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Bare: true})
	s.WithDaytona(func(c *daytona.Client) {
		if _, err := c.Create(t.Context(), daytona.CreateSandbox{Name: "playground", Labels: map[string]string{"a": "b"}, Snapshot: e2e.Snapshot}); err != nil {
			t.Fatal(err)
		}
	})
	term := newTerminal(t, s, 90, 25, "sandboxes", "exec", "playground", "--all", "--confirm", "playground", "--", "printf", `one\n\033[2J\033]0;title\007two\rthree\n`)
	if code, screen := term.wait(s); code != "0" || screen != "one\n[2J]0;titletwo\nthree\n" {
		t.Errorf("exit code %s, the screen shows %q", code, screen)
	}
}
