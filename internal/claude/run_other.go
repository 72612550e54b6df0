//go:build !linux

package claude

import (
	"context"
	"runtime"
)

// Run starts Claude Code, which this package does on Linux alone: sandboxes
// are Linux. Elsewhere it is NotStarted.
func Run(context.Context, Invocation, func(Event)) Result {
	return Result{Ending: NotStarted, ExitCode: -1, Message: "sandboxes run Claude Code on Linux, not on " + runtime.GOOS}
}
