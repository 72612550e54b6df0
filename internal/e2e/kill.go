package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/dayclaude/dayclaude/cmd"
	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
)

// dieVariable makes the command line kill itself at a moment of a run.
const dieVariable = "DAYCLAUDE_E2E_DIE"

// Doom is a moment of a run at which the command line kills itself.
type Doom struct {
	State  run.State
	Moment engine.Moment
}

func (d Doom) String() string { return string(d.State) + "/" + string(d.Moment) }

// Doom makes the commands that are started from now on kill themselves at a
// moment; the zero one lets them live.
func (s *Stack) Doom(d Doom) {
	if s.Env[dieVariable] = d.String(); d == (Doom{}) {
		delete(s.Env, dieVariable)
	}
}

// doomed is the command line's end of Stack.Doom.
func doomed(where string) cmd.Option {
	return cmd.WithCheckpoint(func(state run.State, m engine.Moment) {
		if (Doom{state, m}).String() == where {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // it is on its way
		}
	})
}

// Processes are the ids of the processes that sandboxes on the process engine
// run under a name.
func (s *Stack) Processes(name string) (pids []int) {
	s.t.Helper()
	for _, sandbox := range s.Sandboxes() {
		links, err := filepath.Glob("/proc/[0-9]*/cwd")
		if err != nil {
			s.t.Fatal(err)
		}
		for _, link := range links {
			dir, err := os.Readlink(link)
			if err != nil || !strings.Contains(dir, "/sandboxes/"+sandbox.ID+"/") {
				continue // it is gone, or another's
			}
			line, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			if program, _, _ := strings.Cut(string(line), "\x00"); err != nil || filepath.Base(program) != name {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Kill kills what Processes lists and reports whether there was any.
func (s *Stack) Kill(name string) bool {
	s.t.Helper()
	struck := false
	for _, pid := range s.Processes(name) {
		struck = syscall.Kill(pid, syscall.SIGKILL) == nil || struck
	}
	return struck
}

// StopSandboxes stops all sandboxes that are started, as a person may, and
// with restart starts them again. It reports whether there was any.
func (s *Stack) StopSandboxes(restart bool) (struck bool) {
	s.t.Helper()
	s.WithDaytona(func(c *client.Client) {
		for _, sandbox := range s.Sandboxes() {
			if sandbox.State != client.Started || c.Stop(s.t.Context(), sandbox.ID) != nil {
				continue // it is on its way somewhere
			}
			struck = true
			if restart {
				_ = c.Start(s.t.Context(), sandbox.ID) // somebody else may have done it
			}
		}
	})
	return struck
}
