package claude

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script is an invocation of a program that stands for a Claude Code that
// behaves as the pinned one cannot be made to.
func script(t *testing.T, body string) Invocation {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "claude")
	if err := os.WriteFile(path, []byte("#!/bin/bash\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return Invocation{
		Path: path, Dir: dir, Home: t.TempDir(), Env: []string{"PATH=" + os.Getenv("PATH")},
		Prompt: "hello", Model: "m", SessionID: "s", BaseURL: "http://127.0.0.1:1",
	}
}

func TestOddProcesses(t *testing.T) {
	say := func(line string) string { return fmt.Sprintf("cat <<'E'\n%s\nE\n", strings.TrimSpace(line)) }
	begun := say(initLine)
	answered := begun + say(`{"type":"result","subtype":"success","result":"done"}`)
	for name, test := range map[string]struct {
		script string
		want   Result // Ending, Answer, Message, ExitCode
	}{
		"says nothing":             {"exit 0", Result{Ending: NoResult}},
		"no result":                {begun, Result{Ending: NoResult}},
		"no result, with a reason": {begun + "echo out of memory >&2; exit 3", Result{Ending: NoResult, ExitCode: 3, Message: "out of memory"}},
		"refuses its flags":        {"echo bad flag >&2; exit 1", Result{Ending: NotStarted, ExitCode: 1, Message: "bad flag"}},
		"dies at once":             {"kill -9 $$", Result{Ending: Killed, ExitCode: 137, Message: "signal: killed"}},
		"dies by its handler":      {begun + "exit 143", Result{Ending: Killed, ExitCode: 143, Message: "exit status 143"}},
		"dies after its answer":    {answered + "kill -9 $$", Result{Ending: Answered, Answer: "done", ExitCode: 137}},
		"fails after its answer":   {answered + "exit 1", Result{Ending: Answered, Answer: "done", ExitCode: 1}},
		"leaves its output open":   {answered + "sleep 600 </dev/null & setsid sleep 600 </dev/null & exit 0", Result{Ending: Answered, Answer: "done"}},
		"answers without a session": {
			say(`{"type":"result","subtype":"error_during_execution","errors":["no such session"]}`) + "exit 1",
			Result{Ending: NotStarted, ExitCode: 1, Message: "no such session"},
		},
		"complains at length": {
			"head -c 100000 /dev/zero | tr '\\0' x >&2; printf end >&2; exit 1",
			Result{Ending: NotStarted, ExitCode: 1, Message: strings.Repeat("x", maxMessage-3) + "end"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inv := script(t, test.script)
			inv.Prompt = strings.Repeat("a prompt that nobody reads", 10000)
			got := Run(t.Context(), inv, func(Event) {})
			got = Result{Ending: got.Ending, Answer: got.Answer, Message: got.Message, ExitCode: got.ExitCode}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("result %+v\nwant   %+v", got, test.want)
			}
			if left := members(t); len(left) > 0 {
				t.Errorf("processes are left: %+v", left)
			}
		})
	}
}

// members are all processes that any family of ours could hold.
func members(t *testing.T) []proc {
	t.Helper()
	self, err := readProc(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return family{session: self.session}.members()
}

// TestStop holds that a process which takes no hint is killed, with what it
// started, and that a child of ours which is none of Claude's is not.
func TestStop(t *testing.T) {
	inv := script(t, `trap 'echo >> hints' INT TERM
		(env -i PATH="$PATH" setsid bash -c 'trap "" INT TERM; sleep 600' &)
		touch ready; while :; do sleep 0.01; done`)
	bystander := exec.CommandContext(t.Context(), "sleep", "600")
	bystander.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := start(inv)
	if err != nil {
		t.Fatal(err)
	}
	p.grace = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(inv.Dir, "ready")); err == nil && len(members(t)) >= 3 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	r := p.wait(ctx, &stream{yield: func(Event) {}})
	if r.Ending != Cancelled || r.ExitCode != 137 {
		t.Errorf("result: %+v", r)
	}
	if hints, err := os.ReadFile(filepath.Join(inv.Dir, "hints")); err != nil || len(hints) != 2 {
		t.Errorf("it took %d hints, want 2 (%v)", len(hints), err)
	}
	if left := members(t); len(left) > 0 {
		t.Errorf("processes are left: %+v", left)
	}
	if other, err := readProc(bystander.Process.Pid); err != nil || other.zombie {
		t.Errorf("the bystander: %+v, %v", other, err)
	}
	_ = bystander.Process.Kill()
	_ = bystander.Wait()
}

// TestCleanHome plants what an earlier turn could, links that lead elsewhere
// among it, and holds that only sessions stay.
func TestCleanHome(t *testing.T) {
	outside := t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	session := TranscriptPath(home, "/work/shop", "s")
	for _, path := range []string{
		session, filepath.Join(home, ".claude.json"), filepath.Join(home, "notes"), filepath.Join(home, ".claude/settings.json"),
		filepath.Join(home, ".claude/plugins/x/hooks.json"), filepath.Join(home, ".claude/CLAUDE.md"),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(home, ".claude/skills")); err != nil {
		t.Fatal(err)
	}
	if err := cleanHome(home); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, pattern := range []string{"*", ".claude/*"} {
		found, _ := filepath.Glob(filepath.Join(home, pattern))
		left = append(left, found...)
	}
	want := []string{filepath.Join(home, ".claude"), filepath.Join(home, "notes"), filepath.Join(home, ".claude/projects")}
	if !slices.Equal(left, want) || !HasTranscript(home, "/work/shop", "s") {
		t.Errorf("left: %v, want %v", left, want)
	}

	linked := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(linked, ".claude")); err != nil {
		t.Fatal(err)
	}
	if err := cleanHome(linked); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(linked, ".claude")); !os.IsNotExist(err) {
		t.Errorf("the link is still there: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("what lies outside: %v", err)
	}
}
