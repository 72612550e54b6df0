package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// enter makes a sandbox that is nobody's, and returns what names it on the
// command line.
func enter(t *testing.T, s *e2e.Stack) (name string, confirmed []string) {
	t.Helper()
	name = "playground"
	s.WithDaytona(func(c *daytona.Client) {
		if _, err := c.Create(t.Context(), daytona.CreateSandbox{Name: name, Labels: map[string]string{"a": "b"}, Snapshot: e2e.Snapshot}); err != nil {
			t.Fatal(err)
		}
	})
	return name, []string{"--all", "--confirm", name}
}

// viaShell runs a line of shell in which "$dayclaude" "$@" is the command line.
func viaShell(t *testing.T, s *e2e.Stack, line string, args []string) (exit int, stdout, stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", line, "sh"}, args...)...)
	cmd.Env = append(s.Environ(), "dayclaude="+self)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestExec passes streams and exit codes through.
func TestExec(t *testing.T) {
	onEngines(t, e2e.Options{Bare: true}, func(t *testing.T, s *e2e.Stack) {
		name, mine := enter(t, s)
		run := func(args ...string) []string {
			return append(append([]string{"sandboxes", "exec", name}, mine...), args...)
		}
		for _, tt := range []struct {
			args     []string
			exit     int
			out, err string
		}{
			{args: []string{"--", "sh", "-c", "echo out; echo err >&2; exit 3"}, exit: 3, out: "out\n", err: "err\n"},
			{args: []string{"-e", "A=it's", "-w", "/", "--", "sh", "-c", `printf '%s %s' "$A" "$PWD"`}, out: "it's /"},
			{args: []string{"--", "sh", "-c", "kill -TERM $$"}, exit: 143, err: "Terminated\n"},
			{args: []string{"--timeout", "200ms", "--", "sleep", "100"}, exit: 255, err: "dayclaude: the program did not end within 200ms\n"},
			{args: []string{"-w", "none", "--", "true"}, exit: 255, err: "none"},
			{args: []string{}, exit: 2, err: "nothing to run"},
			{args: []string{"-t", "--", "true"}, exit: 2, err: "-t needs a terminal"},
			{args: []string{"-e", "A", "--", "true"}, exit: 2, err: "NAME=VALUE"},
		} {
			r := wantExit(t, s.Run(run(tt.args...)...), tt.exit)
			if r.Stdout != tt.out || !strings.Contains(r.Stderr, tt.err) || tt.err == "" && r.Stderr != "" {
				t.Errorf("%q: %s", tt.args, r)
			}
		}
		if r := wantExit(t, s.Run("sandboxes", "exec", "nobody", "--", "true"), 255); !strings.HasPrefix(r.Stderr, "dayclaude: ") {
			t.Errorf("no sandbox: %s", r)
		}
		v := wantExit(t, s.Run(run("--json", "--", "sh", "-c", "echo a; echo b >&2; exit 4")...), 4).JSON()
		if v["exit_code"] != 4.0 || v["stdout"] != "a\n" || v["stderr"] != "b\n" || v["truncated"] != false || v["id"] == "" {
			t.Errorf("--json: %v", v)
		}

		for _, tt := range []struct {
			line, out string
			exit      int
		}{
			{`head -c 100000 /dev/zero | "$dayclaude" "$@" -- sh -c 'wc -c; exit 6'`, "100000", 6},
			{`echo x | "$dayclaude" "$@" -n -- cat`, "", 0},
			{`"$dayclaude" "$@" -- sh -c 'echo $$ >pid; while echo y; do :; done' | head -c 2`, "y", 0},
		} {
			if exit, out, errs := viaShell(t, s, tt.line, run()); exit != tt.exit || strings.TrimSpace(out) != tt.out || errs != "" {
				t.Errorf("%s: exit code %d, %q, %s", tt.line, exit, out, errs)
			}
		}
		programGone(t, s, run)

		c := s.Start(run("--", "sh", "-c", "echo $$ >pid; echo there >&2; exec sleep 1000")...)
		c.WaitFor("there")
		c.Signal(syscall.SIGINT)
		if r := wantExit(t, c.Wait(), 130); r.Stderr != "there\n" {
			t.Errorf("interrupted: %s", r)
		}
		programGone(t, s, run)
		if got := wantExit(t, s.Run(run("--", "ls", "-A")...), 0).Stdout; strings.Contains(got, "dayclaude-exec") {
			t.Errorf("left in the sandbox: %s", got)
		}

		c = s.Start(run("--", "sh", "-c", "echo there >&2; exec sleep 1000")...)
		c.WaitFor("there")
		wantExit(t, s.Run(append([]string{"sandboxes", "stop", name}, mine...)...), 0)
		holds(t, "one that is stopped meanwhile", wantExit(t, c.Wait(), 255).Stderr, "dayclaude: ", "hint: ")
		holds(t, "a stopped sandbox", wantExit(t, s.Run(run("--", "true")...), 255).Stderr, "is stopped", "hint: `dayclaude sandboxes start playground`")
	})
}

// programGone waits until the process in the file pid has ended.
func programGone(t *testing.T, s *e2e.Stack, run func(...string) []string) {
	t.Helper()
	s.Eventually("the program in the sandbox to end", func() bool {
		return s.Run(run("--", "sh", "-c", `kill -0 "$(cat pid)"`)...).Exit != 0
	})
}

// TestCp copies both ways and says what it did.
func TestCp(t *testing.T) {
	onEngines(t, e2e.Options{Bare: true}, func(t *testing.T, s *e2e.Stack) {
		name, mine := enter(t, s)
		cp := func(args ...string) []string { return append(append([]string{"sandbox", "cp"}, mine...), args...) }
		dir := filepath.Join(s.Dir, "a b")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x:y"), []byte("hello"), 0o751); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			args     []string
			exit     int
			out, err string
		}{
			{args: []string{dir, name + ":up"}, out: "copied 1 file, 5 B, to playground:up\n", err: "note: left out pipe: neither a file nor a folder\n"},
			{args: []string{name + ":up", "down"}, out: "copied 1 file, 5 B, to down\n"},
			{args: []string{name + ":up/x:y", "./a b/x:y"}, out: "copied 1 file, 5 B, to ./a b/x:y\n"},
			{args: []string{"./a b/x:y", name + ":up"}, out: "copied 1 file, 5 B, to playground:up/x:y\n"},
			{args: []string{name + ":a", name + ":b"}, exit: 2, err: "both"},
			{args: []string{"a", "b"}, exit: 2, err: "neither"},
			{args: []string{"a b"}, exit: 2, err: "takes SRC and DST"},
			{args: []string{"none", name + ":b"}, exit: 2, err: "no such file"},
			{args: []string{name + ":none", "b"}, exit: 1, err: "none"},
			{args: []string{"--max-size", "4", name + ":up/x:y", "b"}, exit: 1, err: "hint: --max-size"},
			{args: []string{"--max-size", "a", name + ":up", "b"}, exit: 2, err: "is no size"},
		} {
			r := wantExit(t, s.Run(cp(tt.args...)...), tt.exit)
			if r.Stdout != tt.out || !strings.Contains(r.Stderr, tt.err) || tt.err == "" && r.Stderr != "" {
				t.Errorf("%q: want %q: %s", tt.args, tt.out, r)
			}
		}
		info, err := os.Stat(filepath.Join(s.Dir, "down", "x:y"))
		if err != nil || info.Mode().Perm() != 0o751 {
			t.Errorf("came back as %v, %v", info, err)
		}
		for typed, want := range map[string]string{"play": "playground:\tstarted\n:2\n", "./": ":0\n", "playground:": ":0\n"} {
			if got := wantExit(t, s.Run("__complete", "sandboxes", "cp", "--all", typed), 0).Stdout; got != want {
				t.Errorf("%q is completed to %q, want %q", typed, got, want)
			}
		}
		v := wantExit(t, s.Run(cp("--json", dir, name+":again")...), 0).JSON()
		if out, _ := v["left_out"].([]any); v["files"] != 1.0 || v["bytes"] != 5.0 || len(out) != 1 || fmt.Sprint(out[0]) != "map[name:pipe why:neither a file nor a folder]" {
			t.Errorf("--json: %v", v)
		}
	})
}

// TestSandboxdLog is the log of a sandboxd that came with the image, or that a
// run put there.
func TestSandboxdLog(t *testing.T) {
	onEngines(t, e2e.Options{}, func(t *testing.T, s *e2e.Stack) {
		ref := s.Shop(github.Issue{})
		wantExit(t, s.Run("run-issue", ref), 0)
		holds(t, "a stopped sandbox", wantExit(t, s.Run("sandboxes", "logs", ref), 1).Stderr, "is stop", "hint: `dayclaude sandboxes start ")
		wantExit(t, s.Run("sandboxes", "start", ref), 0)
		s.Eventually("sandboxd's first words", func() bool {
			return strings.Contains(s.Run("sandboxes", "logs", ref).Stdout, "listening  address=")
		})
		follower := s.Start("sandboxes", "logs", "-f", "--json", ref)
		interrupted := s.Start("sandboxes", "logs", "-f", ref)
		s.Eventually("the followers to begin", func() bool { return follower.Stdout() != "" && interrupted.Stdout() != "" })
		interrupted.Signal(syscall.SIGINT)
		holds(t, "an interrupted one", wantExit(t, interrupted.Wait(), 0).Stdout, "listening  address=")
		wantExit(t, s.Run("sandboxes", "stop", ref), 0)
		r := wantExit(t, follower.Wait(), 0)
		holds(t, "the one that saw the end", r.Stdout, `"msg":"listening"`)
		holds(t, "the one that saw the end", r.Stderr, "sandbox dayclaude-1002-42-1 is stop")
	})
}

// TestNoSandboxdLog is a sandbox in which nothing of ours runs.
func TestNoSandboxdLog(t *testing.T) {
	s := onProcess(t, e2e.Options{Bare: true})
	name, mine := enter(t, s)
	r := wantExit(t, s.Run(append([]string{"sandboxes", "logs", name}, mine...)...), 1)
	holds(t, "logs", r.Stderr, "no sandboxd runs in sandbox playground")
}
