//go:build !unix

package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// New refuses to make an engine here, so none of these is called.

const supported = false

func detach(*exec.Cmd, int, int, bool) {}

func killGroup(int) {}

func exitCode(state *os.ProcessState) int { return state.ExitCode() }

func lockFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func (e *Engine) kill(context.Context, *box) error { return errors.ErrUnsupported }

func freeUID([]*box) (int, error) { return 0, errors.ErrUnsupported }
