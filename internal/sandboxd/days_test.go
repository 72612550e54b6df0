package sandboxd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// smallDisk puts the sandbox's home on a disk of its own.
func (s *sandbox) smallDisk(size string) {
	s.t.Helper()
	saved := filepath.Join(s.t.TempDir(), "saved")
	if err := os.Rename(s.home, saved); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		s.t.Fatal(err)
	}
	testenv.Disk(s.t, s.home, size)
	if err := os.CopyFS(s.home, os.DirFS(saved)); err != nil {
		s.t.Fatal(err)
	}
}

// A disk that is full says so, wherever it is met, and takes neither the
// changes nor the task's end with it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	const fill = "head -c 100M /dev/zero >$HOME/filler"
	for name, test := range map[string]struct {
		size   string
		change func(*sandbox, *api.Task)
		phase  api.Phase
		says   string
		kept   []string
	}{
		"from the start": {
			"8M", func(*sandbox, *api.Task) {}, api.PhaseClone, "no space left", nil,
		},
		"the clone": {
			"24M", func(s *sandbox, task *api.Task) { task.Repository.Commit = s.push("head -c 30M /dev/urandom >large") },
			api.PhaseClone, "No space left on device", nil,
		},
		"setup": {
			"40M", func(_ *sandbox, task *api.Task) { task.Setup = []string{fill} },
			api.PhaseSetup, "No space left on device", nil,
		},
		"Claude, which then answers": {
			"40M", func(_ *sandbox, task *api.Task) { task.Claude.Prompt = "echo mine >README.md; " + fill },
			"", "", []string{`100644 README.md "mine\n"`},
		},
		"Claude, which fails": {
			"40M", func(_ *sandbox, task *api.Task) {
				task.Claude.Prompt = "echo mine >README.md; " + fill + "; kill -9 $PPID"
			},
			api.PhaseClaude, "no space left when Claude Code ended", []string{`100644 README.md "mine\n"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.smallDisk(test.size)
			task := s.task("echo mine >README.md")
			test.change(s, &task)
			s.serve()
			s.open()
			_, ended := s.do(task)
			switch f := ended.Failure; {
			case test.phase == "" && f != nil:
				t.Errorf("failure %+v", f)
			case test.phase != "" && (f == nil || f.Kind != "disk_full" || f.Phase != test.phase || !strings.Contains(f.Message, test.says)):
				t.Errorf("failure %+v", f)
			}
			if full := slices.ContainsFunc(ended.Notes, func(note string) bool { return strings.Contains(note, "disk was full") }); full != (test.kept != nil) {
				t.Errorf("notes %q", ended.Notes)
			}
			if test.kept != nil {
				if _, lines := s.changes(task.ID); !slices.Equal(lines, test.kept) {
					t.Errorf("changes %q", lines)
				}
			}
		})
	}
	t.Run("no room for a task", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		s.smallDisk("1M")
		s.serve()
		if f, err := os.Create(filepath.Join(s.home, "filler")); err == nil {
			_, _ = f.Write(make([]byte, 2<<20))
			_ = f.Close()
		}
		_, err := s.CreateTask(t.Context(), s.task("true"))
		if fault.KindOf(err) != fault.Sandbox || !strings.Contains(err.Error(), "disk is full") || fault.HintOf(err) == "" {
			t.Errorf("%v, hint %q", err, fault.HintOf(err))
		}
	})
}

// A Claude that somebody kills goes on in its session; one that is always
// killed ends.
func TestClaudeKilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		times, calls int
		ending       claude.Ending
	}{{1, 2, claude.Answered}, {2, 3, claude.Answered}, {9, 3, claude.Killed}} {
		t.Run(fmt.Sprint(test.times), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.serve()
			s.open()
			task := s.task(fmt.Sprintf(`echo again >>log.txt; setsid sleep 1000 & echo $! >>$HOME/daemons; [ $(wc -l <log.txt) -gt %d ] || kill -9 $PPID`, test.times))
			task.Claude.MaxTurns = 10
			events, ended := s.do(task)
			if ended.Failure != nil || ended.Claude == nil || ended.Claude.Ending != test.ending {
				t.Fatalf("failure %+v, Claude %+v", ended.Failure, ended.Claude)
			}
			want := "--session-id\n" + strings.Repeat("--resume\n", test.calls-1)
			if calls := s.read("calls"); calls != want {
				t.Errorf("Claude was called with %q", calls)
			}
			if told := strings.Count(output(events), "goes on in its session"); told != test.calls-1 {
				t.Errorf("told %d times: %q", told, output(events))
			}
			if prompt := s.read("prompt"); !strings.Contains(prompt, "ran out of memory") || !strings.HasSuffix(prompt, task.Claude.Prompt+"\n") {
				t.Errorf("prompt %q", prompt)
			}
			if _, lines := s.changes(task.ID); len(lines) != 1 || strings.Count(lines[0], "again") != test.calls {
				t.Errorf("changes %q", lines)
			}
			for _, pid := range strings.Fields(s.read("daemons")) {
				if alive(pid) {
					t.Errorf("process %s is left over", pid)
				}
			}
		})
	}
}

// A check that does not end is stopped with all that it started, and takes
// nothing of the work with it.
func TestCheckHangs(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	task := s.task("echo mine >README.md")
	task.Check, task.Bounds.CheckTimeout = "echo waiting; sleep 1000 & echo $! >$HOME/child; wait", time.Second
	_, ended := s.do(task)
	if c := ended.Check; ended.Failure != nil || c == nil || !c.TimedOut || c.ExitCode != -1 || c.Tail != "waiting\n" {
		t.Errorf("failure %+v, check %+v", ended.Failure, ended.Check)
	}
	if pid := strings.TrimSpace(s.read("child")); alive(pid) {
		t.Errorf("process %s is left over", pid)
	}
	if _, lines := s.changes(task.ID); !slices.Equal(lines, []string{`100644 README.md "mine\n"`}) {
		t.Errorf("changes %q", lines)
	}
}

// The sandbox's clock may be off by hours: the time that a task has left is
// the host's.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.serve(func(c *sandboxd.Config) { c.Now = func() time.Time { return time.Now().Add(skew) } })
			s.open()
			if _, ended := s.do(s.task("true")); ended.Failure != nil {
				t.Errorf("with an hour left: %+v", ended.Failure)
			}
			task := s.task("sleep 1000")
			task.ID, task.Deadline = "t2", task.Sent.Add(time.Second)
			if _, ended := s.do(task); ended.Failure == nil || ended.Failure.Kind != "deadline" {
				t.Errorf("with a second left: %+v", ended.Failure)
			}
		})
	}
}

// A long-lived sandbox keeps its last few tasks.
func TestOldTasksAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	stop := s.serve()
	s.open()
	for i := range 8 {
		if i == 6 { // it finds the same after a restart
			stop()
			s.serve()
			s.open()
		}
		task := s.task("echo x >x")
		task.ID = fmt.Sprintf("t%d", i)
		if _, ended := s.do(task); ended.Failure != nil {
			t.Fatalf("%s: %+v", task.ID, ended.Failure)
		}
	}
	for i := range 8 {
		id := fmt.Sprintf("t%d", i)
		_, err := s.Task(t.Context(), id)
		_, there := os.Stat(filepath.Join(s.home, ".sandboxd/tasks", id))
		if gone := i < 3; gone != (fault.KindOf(err) == fault.NotFound) || gone != os.IsNotExist(there) {
			t.Errorf("%s: %v, %v", id, err, there)
		}
	}
}
