//go:build !unix

package process

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// New refuses to make an engine here, so none of these is called.

const supported = false

func detach(*exec.Cmd, int, int, bool) {}

func (b *box) killSession(int) {}

func attachTerminal(*exec.Cmd, daytona.Size, *box) (*streams, error) {
	return nil, errors.ErrUnsupported
}

func exitCode(state *os.ProcessState) int { return state.ExitCode() }

func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func (e *Engine) kill(context.Context, *box) error { return errors.ErrUnsupported }

func freeUID([]*box) (int, error) { return 0, errors.ErrUnsupported }
