package sandboxd_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

func TestTask(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	task := s.task("echo fixed >README.md; git commit -qam mine; env >$HOME/claude.env")
	task.Setup = []string{"echo setting up; env >$HOME/setup.env", "sleep 1000 & echo $! >$HOME/daemon"}
	task.Check = "echo checked; touch dropping; exit 3"
	task.Env = map[string]string{"GREETING": "hi there"}
	events, ended := s.do(task)

	if ended.Failure != nil || ended.Claude == nil || ended.Claude.Ending != claude.Answered || ended.Claude.Answer != "did it" {
		t.Errorf("ended %+v, failure %+v", ended, ended.Failure)
	}
	if ended.Check == nil || ended.Check.ExitCode != 3 || ended.Check.Tail != "checked\n" {
		t.Errorf("check %+v", ended.Check)
	}
	if ended.Base != s.base || ended.Phase != api.PhaseEnded || ended.Events != int64(len(events)) {
		t.Errorf("ended %+v after %d events", ended, len(events))
	}
	var started []api.Phase
	for _, e := range events {
		if e.Started {
			started = append(started, e.Phase)
		}
	}
	if want := []api.Phase{api.PhaseClone, api.PhaseSetup, api.PhaseClaude, api.PhaseCheck}; !slices.Equal(started, want) {
		t.Errorf("phases %v, want %v", started, want)
	}
	if out := output(events); !strings.Contains(out, "setting up\n") || !strings.Contains(out, "checked\n") {
		t.Errorf("output %q", out)
	}
	// Claude's own commit counts, the check's dropping does not.
	if _, lines := s.changes("t1"); !slices.Equal(lines, []string{`100644 README.md "fixed\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if again, _ := s.follow("t1", 2); len(again) != len(events)-2 || again[0].Number != 3 {
		t.Errorf("after 2 came %+v", again)
	}

	for name, wanted := range map[string]bool{"setup.env": false, "claude.env": true} {
		env := s.read(name)
		if strings.Contains(env, "SECRET_OF_OURS") || !strings.Contains(env, "GREETING=hi there\n") {
			t.Errorf("%s: %s", name, env)
		}
		if got := strings.Contains(env, "ANTHROPIC_BASE_URL=http://127.0.0.1:"); got != wanted {
			t.Errorf("%s has ANTHROPIC_BASE_URL: %t", name, got)
		}
	}
	if pid := strings.TrimSpace(s.read("daemon")); alive(pid) {
		t.Errorf("process %s outlived the task", pid)
	}
	for _, file := range []string{"config", "FETCH_HEAD"} {
		data, _ := os.ReadFile(filepath.Join(s.home, "work/shop/.git", file))
		if strings.Contains(string(data), "127.0.0.1") || strings.Contains(string(data), "dayclaude@") {
			t.Errorf(".git/%s: %s", file, data)
		}
	}
	if url := s.git(filepath.Join(s.home, "work/shop"), "config", "remote.origin.url"); url != task.Repository.URL {
		t.Errorf("origin is %s", url)
	}
	var transcript strings.Builder
	if err := s.Transcript(t.Context(), "t1", &transcript, 100); err != nil || transcript.String() != "{\"prompt\":true}\n" {
		t.Errorf("transcript %q, %v", transcript.String(), err)
	}
	if err := s.Transcript(t.Context(), "t1", &transcript, 5); fault.KindOf(err) != fault.Sandbox {
		t.Errorf("a transcript past its bound: %v", err)
	}
}

// alive reports whether a process exists and is no zombie.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestSameTask(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	task := s.task("touch $HOME/began; sleep 1000")
	if _, err := s.CreateTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if status, err := s.CreateTask(t.Context(), task); err != nil || status.ID != task.ID {
		t.Errorf("the same task again: %+v, %v", status, err)
	}
	changed := task
	changed.Check = "true"
	if _, err := s.CreateTask(t.Context(), changed); fault.KindOf(err) != fault.Conflict {
		t.Errorf("the same id for another task: %v", err)
	}
	changed.ID = "t2"
	if _, err := s.CreateTask(t.Context(), changed); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a second task: %v", err)
	}
	s.appears("began")
	if _, err := s.Cancel(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	_, ended := s.follow(task.ID, 0)
	if !ended.Cancelled || ended.Failure == nil || ended.Failure.Kind != "cancelled" || ended.Claude.Ending != claude.Cancelled {
		t.Errorf("ended %+v, failure %+v, Claude %+v", ended, ended.Failure, ended.Claude)
	}
	if status, err := s.Cancel(t.Context(), task.ID); err != nil || status.Phase != api.PhaseEnded {
		t.Errorf("cancelled again: %+v, %v", status, err)
	}
	if got := strings.Count(s.read("calls"), "\n"); got != 1 {
		t.Errorf("Claude was started %d times", got)
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*sandbox, *api.Task)
		phase   api.Phase
		kind    string
		message string
	}{
		"setup fails": {
			func(_ *sandbox, task *api.Task) { task.Setup = []string{"echo it is broken >&2; exit 4"} },
			api.PhaseSetup, "setup_failed", "exit code 4: it is broken",
		},
		"setup hangs": {
			func(_ *sandbox, task *api.Task) {
				task.Setup, task.Bounds.SetupTimeout = []string{"trap '' INT; sleep 1000; true"}, 50*time.Millisecond
			},
			api.PhaseSetup, "setup_timeout", "longer than 50ms",
		},
		"no such commit": {
			func(_ *sandbox, task *api.Task) { task.Repository.Commit = strings.Repeat("ab", 20) },
			api.PhaseClone, "clone_failed", "git fetch",
		},
		"no Claude": {
			func(s *sandbox, _ *api.Task) { _ = os.Remove(filepath.Join(s.home, "bin/claude")) },
			api.PhaseClaude, "claude_missing", "no claude",
		},
		"git destroyed": {
			func(_ *sandbox, task *api.Task) { task.Claude.Prompt = "rm -rf .git" },
			api.PhaseClaude, "changeset_failed", ".git is damaged",
		},
		"git replaced": {
			func(_ *sandbox, task *api.Task) {
				task.Claude.Prompt = "rm -rf .git; git init -q; git add -A; git commit -qm x"
			},
			api.PhaseClaude, "changeset_failed", ".git is damaged",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			task := s.task("echo x >x")
			test.change(s, &task)
			s.serve(func(c *sandboxd.Config) { c.Environ[0] = "PATH=" + s.home + "/bin:/usr/bin:/bin" })
			s.open()
			_, ended := s.do(task)
			f := ended.Failure
			if f == nil || f.Phase != test.phase || f.Kind != test.kind || !strings.Contains(f.Message, test.message) {
				t.Errorf("failure %+v", f)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	var late atomic.Bool
	s.serve(func(c *sandboxd.Config) {
		c.Now = func() time.Time {
			if late.Load() { // a laptop that slept
				return time.Now().Add(2 * time.Hour)
			}
			return time.Now()
		}
	})
	s.open()
	task := s.task("echo half >README.md; touch $HOME/began; sleep 1000")
	if _, err := s.CreateTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	s.appears("began")
	late.Store(true)
	_, ended := s.follow(task.ID, 0)
	if ended.Failure == nil || ended.Failure.Kind != "deadline" || ended.Cancelled {
		t.Errorf("ended %+v, failure %+v", ended, ended.Failure)
	}
	if _, lines := s.changes(task.ID); !slices.Equal(lines, []string{`100644 README.md "half\n"`}) {
		t.Errorf("changes %q", lines)
	}
}

// A task goes on after sandboxd was stopped or killed at any point: Claude is
// resumed, and nothing is done twice that counts.
func TestRestart(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			kill := s.startProcess()
			closeTunnel := s.open()
			task := s.task(`echo again >>log.txt; setsid sleep 1000 & echo $! >>$HOME/daemons
				touch $HOME/began; [ -e $HOME/go ] || sleep 1000`)
			task.Setup = []string{"echo once >>$HOME/setup", "sleep 1000 & echo $! >$HOME/database"}
			if _, err := s.CreateTask(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			s.appears("began")
			var before []api.Event
			enough := errors.New("enough")
			if err := s.Events(t.Context(), task.ID, 0, func(e api.Event) error {
				if before = append(before, e); e.Claude != nil {
					return enough
				}
				return nil
			}); !errors.Is(err, enough) {
				t.Fatal(err)
			}
			kill(signal)
			closeTunnel()
			s.write("go", "", 0o600)

			s.startProcess()
			s.open()
			events, ended := s.follow(task.ID, before[len(before)-1].Number)
			if ended.Failure != nil || ended.Claude == nil || ended.Claude.Ending != claude.Answered {
				t.Errorf("ended %+v, failure %+v", ended, ended.Failure)
			}
			if events[0].Number != before[len(before)-1].Number+1 {
				t.Errorf("event %d after %d", events[0].Number, before[len(before)-1].Number)
			}
			if calls := s.read("calls"); calls != "--session-id\n--resume\n" {
				t.Errorf("Claude was called with %q", calls)
			}
			if !strings.HasPrefix(s.read("prompt"), "You were interrupted") {
				t.Errorf("prompt %q", s.read("prompt"))
			}
			if s.read("setup") != "once\n" {
				t.Error("setup was repeated")
			}
			for _, pid := range strings.Fields(s.read("daemons") + s.read("database")) {
				if alive(pid) {
					t.Errorf("process %s is left over", pid)
				}
			}
			if set, lines := s.changes(task.ID); len(set.Changes) != 1 || lines[0] != `100644 log.txt "again\nagain\n"` {
				t.Errorf("changes %q", lines)
			}
		})
	}
}

// startProcess starts sandboxd as a process of its own on a free port.
func (s *sandbox) startProcess() (kill func(syscall.Signal)) {
	s.t.Helper()
	address := freeAddress(s.t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(s.environ(), asServer+"="+address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := false
	kill = func(signal syscall.Signal) {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Signal(signal)
		if err := cmd.Wait(); err != nil && signal == syscall.SIGTERM {
			s.t.Errorf("sandboxd: %v", err)
		}
	}
	s.t.Cleanup(func() { kill(syscall.SIGTERM) })
	s.connect(address)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		if _, err := s.Health(ctx); err == nil {
			return kill
		} else if ctx.Err() != nil {
			s.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFollowUp(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	s.do(s.task(`echo mine >README.md; echo new >new.txt; mkdir -p deps; echo kept >deps/cache.log; chmod 500 .; chmod 700 .
		git config core.hooksPath /nowhere; touch .git/index.lock; git config core.bare true`))
	next := s.task("test ! -e new.txt && cat README.md deps/cache.log >result.txt")
	next.ID = "t2"
	_, ended := s.do(next)
	if ended.Failure != nil {
		t.Fatalf("failure %+v", ended.Failure)
	}
	if _, lines := s.changes("t2"); !slices.Equal(lines, []string{`100644 result.txt "hello\nkept\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if set, _ := s.changes("t1"); len(set.Changes) != 2 {
		t.Errorf("the first task's changes are now %+v", set.Changes)
	}
	if calls := s.read("calls"); calls != "--session-id\n--resume\n" {
		t.Errorf("Claude was called with %q", calls)
	}
	if strings.Contains(s.read("prompt"), "interrupted") {
		t.Error("a follow-up is told that it was interrupted")
	}

	// What waited goes on with what it left.
	kept := s.task("echo more >>result.txt")
	kept.ID, kept.Repository.Keep = "t2-2", true
	if _, ended := s.do(kept); ended.Failure != nil {
		t.Errorf("a clone that is kept: %+v", ended.Failure)
	}
	if _, lines := s.changes("t2-2"); !slices.Equal(lines, []string{`100644 result.txt "hello\nkept\nmore\n"`}) {
		t.Errorf("changes %q", lines)
	}

	third := s.task("true")
	third.ID = "t3"
	if err := os.RemoveAll(filepath.Join(s.home, "work/shop/.git/objects")); err != nil {
		t.Fatal(err)
	}
	if _, ended := s.do(third); ended.Failure != nil {
		t.Errorf("a damaged clone was not made anew: %+v", ended.Failure)
	}
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	shop := t.TempDir()
	s.git(shop, "clone", "-q", filepath.Join(s.origin, "shop.git"), ".")
	modules := "[submodule \"lib\"]\n\tpath = lib\n\turl = git@github.example:shop.git\n" +
		"[submodule \"secret\"]\n\tpath = secret\n\turl = ../secret.git\n"
	if err := os.WriteFile(filepath.Join(shop, ".gitmodules"), []byte(modules), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"lib", "secret"} {
		s.git(shop, "update-index", "--add", "--cacheinfo", "160000,"+s.base+","+path)
	}
	s.git(shop, "add", ".gitmodules")
	s.git(shop, "commit", "-q", "-m", "submodules")
	s.git(shop, "push", "-q", "origin", "HEAD")
	s.base = s.git(shop, "rev-parse", "HEAD")
	s.serve()
	s.open()
	events, ended := s.do(s.task("cp lib/README.md copy"))
	if ended.Failure != nil || !strings.Contains(output(events), "submodule secret is missing") || strings.Contains(output(events), "submodule lib") {
		t.Errorf("failure %+v, output %s", ended.Failure, output(events))
	}
	if _, lines := s.changes("t1"); !slices.Equal(lines, []string{`100644 copy "hello\n"`}) {
		t.Errorf("changes %q", lines)
	}
}
