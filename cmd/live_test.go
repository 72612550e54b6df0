package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// terminal is a real terminal, tmux's, in which the command line runs.
type terminal struct {
	t      *testing.T
	socket string
	env    []string
}

// newTerminal runs the command line in a terminal of the given size. Its exit
// code is the last line.
func newTerminal(t *testing.T, s *e2e.Stack, width, height int, args ...string) *terminal {
	t.Helper()
	testenv.Command(t, "tmux")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tmux-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, socket: filepath.Join(dir, "s"), env: append(s.Environ(), "LANG=C.UTF-8", "SHELL=/bin/sh", "TERM=xterm-256color")}
	t.Cleanup(func() {
		_, _ = term.run("kill-server") // it has ended if the test failed early
		os.RemoveAll(dir)
	})
	line := "trap : INT; " + quoted(append([]string{self}, args...)) + `; echo "exit code $?"; exec cat`
	term.tmux("new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), line)
	return term
}

func quoted(words []string) string {
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

func (term *terminal) run(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-S", term.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = term.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := term.run(args...)
	if err != nil {
		term.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// screen is what the terminal shows, scrolled-off lines first.
func (term *terminal) screen() string {
	term.t.Helper()
	return strings.TrimRight(term.tmux("capture-pane", "-p", "-S", "-"), "\n") + "\n"
}

var exitCode = regexp.MustCompile(`(?m)^exit code (\d+)$`)

// wait waits until the command has ended and returns its exit code and the
// screen that it left.
func (term *terminal) wait(s *e2e.Stack) (code, screen string) {
	term.t.Helper()
	s.Eventually("the command to end", func() bool {
		screen = term.screen()
		at := exitCode.FindStringSubmatchIndex(screen)
		if at != nil {
			code, screen = screen[at[2]:at[3]], screen[:at[0]]
		}
		return at != nil
	})
	return code, screen
}

// TestLiveView runs a whole run-issue on terminals of several sizes.
func TestLiveView(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]struct{ width, height int }{
		"usual": {100, 30}, "narrow": {40, 30}, "low": {80, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := e2e.New(t, e2e.Options{Engine: e2e.Process})
			model := s.WatchModel()
			release := model.Hold()
			defer release()
			term := newTerminal(t, s, size.width, size.height, "run-issue", s.Shop(github.Issue{}))
			s.Eventually("the first call of the model", model.Waiting)
			var during string
			s.Eventually("Claude at work on the screen", func() bool {
				during = term.screen()
				return strings.Contains(during, "• Claude is at work")
			})
			wellFormed(t, during, size.width)
			release()
			code, after := term.wait(s)
			t.Logf("during:\n%s\nafter:\n%s", during, after)
			if code != "0" || !strings.Contains(after, "/demo/shop/pull/43\n") {
				t.Fatalf("exit code %s:\n%s", code, after)
			}
			wellFormed(t, after, size.width)
			if strings.Contains(after, "•") {
				t.Errorf("a step is still under way:\n%s", after)
			}
		})
	}
}

// TestLiveViewInterrupted presses Ctrl-C in the middle.
func TestLiveViewInterrupted(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process})
	model := s.WatchModel()
	release := model.Hold()
	defer release()
	term := newTerminal(t, s, 80, 24, "run-issue", s.Shop(github.Issue{}))
	s.Eventually("the first call of the model", model.Waiting)
	term.tmux("send-keys", "C-c")
	code, after := term.wait(s)
	t.Logf("after:\n%s", after)
	if code != "130" {
		t.Errorf("exit code %s", code)
	}
	wellFormed(t, after, 80)
	for _, want := range []string{"Ctrl-C again", "\ndayclaude: stopped by hand\n"} {
		if !strings.Contains(after, want) {
			t.Errorf("the screen lacks %q", want)
		}
	}
}

var step = regexp.MustCompile(`(?m)^  [✓•✗!] (.*)$`)

// wellFormed holds that no frame was left over: each step stands there once,
// under one title.
func wellFormed(t *testing.T, screen string, width int) {
	t.Helper()
	if n := strings.Count("\n"+screen, "\ndemo/shop#42\n"); n != 1 {
		t.Errorf("%d titles:\n%s", n, screen)
	}
	seen := map[string]bool{}
	for _, m := range step.FindAllStringSubmatch(screen, -1) {
		if seen[m[1]] {
			t.Errorf("%q stands there twice:\n%s", m[1], screen)
		}
		seen[m[1]] = true
	}
	if len(seen) < 3 {
		t.Errorf("%d steps:\n%s", len(seen), screen)
	}
	for line := range strings.Lines(screen) {
		if w := ansi.StringWidth(strings.TrimRight(line, "\n")); w > width {
			t.Errorf("%d cells wide: %q", w, line)
		}
	}
}
