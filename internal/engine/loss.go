package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// Causes of faults about the sandbox.
var (
	errLost    = errors.New("it is not there any more, or can't be used")
	errStopped = errors.New("it did not come up, because it was stopped")
	errResting = errors.New("it is stopped, and can be started")
	errGivenUp = errors.New("that happened too often")
)

func lost(format string, args ...any) error {
	f := fault.New(fault.Sandbox, format, args...).WithHint("run the command again: it makes a new sandbox")
	f.Err = errLost
	return f
}

// Bounds of a run's returns to an earlier state, so that it ends where
// something keeps breaking or stopping its sandbox.
const (
	maxReplacements = 2
	maxReturns      = 10
	maxStops        = 4 // while it is sought: as soon as it runs
)

// retrace decides what follows a step that failed, and may have because its
// sandbox is not what it was. A sandbox that stopped is started again, one
// that is lost is replaced, and a way to it that broke is sought anew; the
// steps that were done find what they did. Anything else is a problem.
func (d *drive) retrace(ctx context.Context, problem error) (run.State, error) {
	if ctx.Err() != nil || errors.Is(problem, errGivenUp) || !slices.Contains([]run.State{run.Connecting, run.Working, run.Harvesting}, d.run.State) ||
		!retryable(problem) && !slices.Contains([]fault.Kind{fault.Sandbox, fault.NotFound}, fault.KindOf(problem)) ||
		d.run.State == run.Working && d.run.Result != nil && !d.run.Result.Problem.IsZero() {
		return "", problem
	}
	next, most := run.Connecting, maxReturns
	sb, err := d.Daytona.Get(ctx, d.thread.SandboxID)
	switch {
	case errors.Is(problem, errLost):
		next, most = run.Provisioning, maxReplacements
	case fault.KindOf(err) == fault.NotFound, err == nil && (sb.State == daytona.Destroyed || sb.State == daytona.Destroying):
		next, most, problem = run.Provisioning, maxReplacements, lost("the sandbox is gone: somebody deleted it")
	case err == nil && sb.State.Failed():
		next, most, problem = run.Provisioning, maxReplacements, lost("the sandbox broke: %s", d.clean(sb.ErrorReason, 500))
	case err == nil && sb.State != daytona.Started:
		problem = wasStopped(sb.Name)
		if d.run.State == run.Connecting {
			next = run.Provisioning
		}
	case err != nil || !retryable(problem):
		return "", problem
	}
	if !d.run.State.CanBecome(next) {
		return "", problem
	}
	returns, err := d.returns(ctx, next)
	if err != nil {
		return "", err
	}
	if returns >= most {
		return "", givenUp(problem)
	}
	d.say(run.Notice, "going back to %s: %v", next, problem)
	d.disconnect()
	d.sandbox = nil
	return next, nil
}

func givenUp(problem error) error {
	f := fault.New(fault.Sandbox, "something keeps ending the sandbox, and the run gave up: %v", problem).
		WithHint("find out in Daytona's dashboard what ends it; the same command then goes on with the work")
	f.Err = errGivenUp
	return f
}

func wasStopped(name string) *fault.Error {
	f := fault.New(fault.Sandbox, "sandbox %s was stopped", name).WithHint("run the command again: it starts it and goes on")
	f.Err = errResting
	return f
}

// returns counts how often the run has gone back to a state.
func (d *drive) returns(ctx context.Context, to run.State) (n int, err error) {
	steps, err := d.Store.Steps(ctx, d.run.ID)
	for i := 1; i < len(steps); i++ {
		from := steps[i-1].State
		if steps[i].State == to && from != to && slices.Index(run.Active, from) > slices.Index(run.Active, to) {
			n++
		}
	}
	return n, err
}
