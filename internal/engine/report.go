package engine

import (
	"context"
	"slices"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/report"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// report tells the issue how the run ended. If that can't be told there, the
// run ends all the same; its own outcome stands in the store.
func (d *drive) report(ctx context.Context) (run.State, error) {
	d.disconnect() // from here on nothing more is spent
	d.tellMisuse()
	d.countSandbox(ctx)
	if d.run.Frozen == nil || d.run.Outcome == nil {
		return run.Settling, nil
	}
	if err := d.comment(ctx, report.Outcome(*d.thread, *d.run, d.Now())); err != nil {
		d.say(run.Notice, "the outcome could not be told on the issue: %v", err)
	}
	return run.Settling, nil
}

// settle stops the sandbox, unless it is to be kept: its files stay for a
// follow-up, until it is archived and deleted.
func (d *drive) settle(ctx context.Context) (run.State, error) {
	d.rest(ctx)
	state := d.run.Outcome.State
	d.append(nil, run.Entry{Kind: run.Ended, Text: string(state), Failed: !slices.Contains([]run.State{run.Done, run.Unchanged}, state)})
	return state, nil
}

// park tells the issue that the run waits, and stops its sandbox.
func (d *drive) park(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if _, err := d.report(ctx); err != nil {
		d.Log.Warn("not told that the run waits", "run", d.run.ID, "error", err)
	}
	d.rest(ctx)
	d.append(nil, run.Entry{Kind: run.Ended, Text: string(run.Parked)})
}

// rest lets go of the sandbox and stops it.
func (d *drive) rest(ctx context.Context) {
	d.disconnect()
	d.sandbox = nil
	if d.thread.SandboxID == "" || d.run.Options.Keep {
		return
	}
	if err := d.Daytona.Stop(ctx, d.thread.SandboxID); err != nil && fault.KindOf(err) != fault.NotFound {
		d.say(run.Notice, "the sandbox was not stopped, it stops by itself after %d idle minutes: %v", run.IdleMinutes, err)
	}
}

// sandboxTime is for how long a sandbox stood by. One that was left alone
// stopped after its idle time.
func sandboxTime(steps []store.Step, now time.Time) (took time.Duration) {
	for i, step := range steps {
		if slices.Contains([]run.State{run.Queued, run.Freezing, run.Parked}, step.State) {
			continue
		}
		until := step.LeftAt
		switch {
		case until.IsZero():
			until = now
		case i+1 < len(steps):
			until = until.Add(min(steps[i+1].EnteredAt.Sub(until), run.IdleMinutes*time.Minute))
		}
		took += until.Sub(step.EnteredAt)
	}
	return took
}

// countSandbox brings the sandbox's time and what it comes to up to date in
// the run's cost. A run that waits has its sandbox stopped.
func (d *drive) countSandbox(ctx context.Context) {
	steps, err := d.Store.Steps(ctx, d.run.ID)
	if err != nil {
		d.Log.Warn("sandbox time not counted", "error", err)
		return
	}
	took := sandboxTime(steps, d.Now())
	if took == 0 || d.thread.SandboxID == "" {
		return
	}
	err = d.save(func() {
		c := &d.run.Cost
		c.SandboxSeconds, c.USD = took.Seconds(), c.ModelUSD
		if sb := d.sandbox; sb != nil {
			c.USD += broker.SandboxUSD(int(sb.CPU), int(sb.Memory), int(sb.Disk), took)
		}
	})
	if err != nil {
		d.Log.Warn("sandbox time not counted", "error", err)
	}
}
