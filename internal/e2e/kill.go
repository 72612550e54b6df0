package e2e

import (
	"os"
	"syscall"

	"github.com/dayclaude/dayclaude/cmd"
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
