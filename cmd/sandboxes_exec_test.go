package cmd_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// playground makes a sandbox that is nobody's, and returns the flags with which
// it may be used.
func playground(t *testing.T, s *e2e.Stack) (confirmed []string) {
	t.Helper()
	s.WithDaytona(func(c *daytona.Client) {
		if _, err := c.Create(t.Context(), daytona.CreateSandbox{Name: "playground", Labels: map[string]string{"a": "b"}, Snapshot: e2e.Snapshot}); err != nil {
			t.Fatal(err)
		}
	})
	return []string{"--all", "--confirm", "playground"}
}

// TestExecInATerminal types, resizes, interrupts and leaves, on a real terminal.
func TestExecInATerminal(t *testing.T) {
	t.Parallel()
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := e2e.New(t, e2e.Options{Engine: engine, Bare: true})
			confirmed := playground(t, s)
			const program = `stty size; stty size >size
trap 'echo interrupted' INT
printf 'name? '; read name; echo "hello $name"
until [ "$(stty size)" = "20 70" ]; do sleep 0.1; done; echo resized
until read line; do :; done
printf '\033[31mred\033[m %s\n' "$TERM"; exit 7`
			term := newTerminal(t, s, 90, 25, append(append([]string{"sandboxes", "exec", "playground"}, confirmed...), "-t", "--", "sh", "-c", program)...)
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
	confirmed := playground(t, s)
	term := newTerminal(t, s, 90, 25, append(append([]string{"sandboxes", "exec", "playground"}, confirmed...), "--", "printf", `one\n\033[2J\033]0;title\007two\rthree\n`)...)
	if code, screen := term.wait(s); code != "0" || screen != "one\n[2J]0;titletwo\nthree\n" {
		t.Errorf("exit code %s, the screen shows %q", code, screen)
	}
}

// slow lets half of a download through and waits for its release.
type slow struct {
	http.ResponseWriter
	left    int
	release <-chan struct{}
}

func (s *slow) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *slow) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		<-s.release
	}
	return s.ResponseWriter.Write(p)
}

// TestCpShowsHowFarItIs draws a bar for what takes long, and takes it away.
func TestCpShowsHowFarItIs(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Bare: true})
	confirmed := playground(t, s)
	big := filepath.Join(s.Dir, "big")
	if err := os.WriteFile(big, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cp := func(from, to string) []string { return append([]string{"sandboxes", "cp", from, to}, confirmed...) }
	if r := s.Run(cp(big, "playground:big")...); r.Exit != 0 || r.Stderr != "" {
		t.Fatal(r)
	}
	release := make(chan struct{})
	s.FrontDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/files/download") {
				w = &slow{w, 4 << 20, release}
			}
			next.ServeHTTP(w, r)
		})
	})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	term := newTerminal(t, s, 60, 25, cp("playground:big", filepath.Join(s.Dir, "back"))...)
	bar := regexp.MustCompile(`^back  .*[1-9]\d?%  \d.* MiB of 8\.0 MiB`)
	s.Eventually("a bar", func() bool { return bar.MatchString(term.screen()) })
	let()
	code, screen := term.wait(s)
	if want := "copied 1 file, 8.0 MiB, to "; code != "0" || !strings.HasPrefix(screen, want) || strings.Contains(screen, "%") {
		t.Errorf("exit code %s, the screen shows %q", code, screen)
	}
}
