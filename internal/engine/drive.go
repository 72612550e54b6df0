package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// drive is one process's way through a run. What it holds beside the stored
// thread and run can be lost: the steps find it again.
type drive struct {
	*Engine
	lease   store.Lease
	observe func(run.Entry)

	mu     sync.Mutex // guards thread, run and their writes: the broker reports costs while a step works
	thread *run.Thread
	run    *run.Run

	repo     *hub.Repository    // as it was when this process began
	issue    *hub.Issue         // likewise
	settings *config.Repository // parsed from the frozen run
	sandbox  *daytona.Sandbox   // started
	sandboxd *client.Client     // answers and takes our orders
	heard    int                // bytes of the task's events, by this process
	broker   *broker.Broker
	tunnel   func() // ends the tunnel and waits for it; nil while there is none
}

// steps is what is done in each state. A step returns the state that follows;
// its error ends the run by way of Reporting.
var steps = map[run.State]func(*drive, context.Context) (run.State, error){
	run.Queued:       func(*drive, context.Context) (run.State, error) { return run.Freezing, nil },
	run.Freezing:     (*drive).freeze,
	run.Provisioning: (*drive).provision,
	run.Connecting:   (*drive).connect,
	run.Working:      (*drive).work,
	run.Harvesting:   (*drive).harvest,
	run.Gating:       (*drive).gate,
	run.Committing:   (*drive).commit,
	run.Publishing:   (*drive).publish,
	run.Reporting:    (*drive).report,
	run.Settling:     (*drive).settle,
	run.Parked:       (*drive).unpark,
}

// wayOut bounds what is still done after the run was stopped or its time was
// up: rescuing the changes, telling the issue, stopping the sandbox.
const wayOut = 2 * time.Minute

// drive takes the run from the state it is in to a final one (or to Parked).
// It returns the run's problem.
func (d *drive) drive(ctx context.Context) error {
	always := context.WithoutCancel(ctx)
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	var background sync.WaitGroup
	background.Go(func() { d.holdLease(ctx, lost) })
	defer func() {
		d.disconnect()
		lost(nil)
		background.Wait()
		if err := d.Store.Release(always, d.lease); err != nil && !errors.Is(err, store.ErrFenced) {
			d.Log.Warn("lease not released", "error", err)
		}
	}()

	if d.run.StartedAt.IsZero() {
		d.run.StartedAt = d.Now().UTC()
	}
	for !d.run.State.Final() {
		next, err := d.step(ctx)
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, store.ErrFenced) {
				return cause
			}
			if next, err = d.giveUp(always, err); err != nil {
				return err
			}
		}
		if err := d.advance(next); err != nil {
			return err
		}
		if next == run.Parked {
			d.park(always)
			break
		}
	}
	if d.run.Outcome == nil {
		return nil
	}
	return d.run.Outcome.Problem.Err()
}

// step does the present state's step, within the time that it has.
func (d *drive) step(ctx context.Context) (run.State, error) {
	if d.run.State == run.Reporting || d.run.State == run.Settling {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wayOut)
		defer cancel()
		return steps[d.run.State](d, ctx)
	}
	deadline := d.run.StartedAt.Add(d.run.Options.Timeout)
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, fault.New(fault.Limit,
		"the run's time limit of %s is over", d.run.Options.Timeout).WithHint("--timeout sets it"))
	defer cancel()
	next, err := steps[d.run.State](d, ctx)
	if err != nil && ctx.Err() != nil {
		// Whatever the step met, this is why.
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return next, cause
		}
		return next, fault.New(fault.Cancelled, "stopped by hand")
	}
	return next, err
}

// outcomes are the final states of the problems that have one of their own.
var outcomes = map[fault.Kind]run.State{
	fault.Unchanged:   run.Unchanged,
	fault.Limit:       run.Limited,
	fault.Refused:     run.Refused,
	fault.NotAdmitted: run.NotAdmitted,
	fault.Cancelled:   run.Cancelled,
}

// giveUp stores the problem as the run's outcome, with what could be saved of
// the work, and leads to Reporting. A run that is to wait parks.
func (d *drive) giveUp(ctx context.Context, problem error) (run.State, error) {
	if fault.KindOf(problem) == fault.Parked && d.run.State.CanBecome(run.Parked) {
		err := d.save(func() { d.run.Outcome = &run.Outcome{State: run.Parked, Problem: d.problem(problem)} })
		return run.Parked, err
	}
	ctx, cancel := context.WithTimeout(ctx, wayOut)
	defer cancel()
	d.rescue(ctx)
	return run.Reporting, d.save(func() {
		o := d.outcome()
		o.Problem = d.problem(problem)
		o.State = run.Failed
		if s, ok := outcomes[o.Problem.Kind]; ok {
			o.State = s
		}
	})
}

// outcome returns the run's outcome to be filled in; d.mu is held, or no other
// goroutine is about.
func (d *drive) outcome() *run.Outcome {
	if d.run.Outcome == nil {
		d.run.Outcome = &run.Outcome{}
	}
	return d.run.Outcome
}

// problem is an error as it may be stored and shown.
func (d *drive) problem(err error) run.Problem {
	p := run.ProblemOf(err)
	p.Message, p.Hint = d.clean(p.Message, 4<<10), d.clean(p.Hint, 1<<10)
	return p
}

// clean makes a text fit to be stored and shown, wherever it came from. It is
// cut last: a secret that is cut is not known any more.
func (d *drive) clean(text string, most int) string {
	return untrusted.Head(d.Redactor.Redact(untrusted.Text(text)), most)
}

// say logs an entry of the run in the state it is in.
func (d *drive) say(kind run.EntryKind, format string, args ...any) {
	d.append(nil, run.Entry{Kind: kind, Text: fmt.Sprintf(format, args...)})
}

// append stores entries together with what change does to the run, and shows
// them. An entry that cannot be stored is shown all the same: the next
// change of state fails loudly if the store is gone.
func (d *drive) append(change func(), entries ...run.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if change != nil {
		change()
	}
	pointers := make([]*run.Entry, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Time.IsZero() {
			e.Time = d.Now().UTC()
		}
		e.State, e.Text = d.run.State, d.clean(e.Text, 8<<10)
		pointers[i] = e
	}
	if err := d.Store.Append(context.Background(), d.lease, d.run, pointers...); err != nil {
		d.Log.Warn("entries not stored", "run", d.run.ID, "error", err)
	}
	if d.observe != nil {
		for _, e := range entries {
			d.observe(e)
		}
	}
}

// advance stores the next state, whatever became of the command's context.
func (d *drive) advance(next run.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Store.Advance(context.Background(), d.lease, d.run, next)
}

// save stores the run and the thread after a change to them.
func (d *drive) save(change func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	if err := d.Store.SaveThread(context.Background(), d.lease, d.thread); err != nil {
		return err
	}
	return d.Store.SaveRun(context.Background(), d.lease, d.run)
}

// holdLease renews the lease until ctx is done, and posts activity so that
// Daytona does not stop a sandbox whose model is thinking. Losing the lease
// to another driver ends the drive.
func (d *drive) holdLease(ctx context.Context, lost context.CancelCauseFunc) {
	renew := time.NewTicker(leaseRenew)
	defer renew.Stop()
	touch := time.NewTicker(time.Minute)
	defer touch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			if err := d.Store.Renew(ctx, d.lease, leaseTTL); errors.Is(err, store.ErrFenced) {
				lost(err)
				return
			} else if err != nil {
				d.Log.Warn("lease not renewed", "error", err)
			}
		case <-touch.C:
			d.mu.Lock()
			id := d.thread.SandboxID
			d.mu.Unlock()
			if id == "" {
				continue
			}
			if err := d.Daytona.Touch(ctx, id); err != nil {
				d.Log.Warn("activity not posted", "error", err)
			}
		}
	}
}

// file is the place of something that the run leaves behind. The directory is
// made on the way.
func (d *drive) file(name string) (string, error) {
	dir := filepath.Join(d.Dir, d.run.ID)
	return filepath.Join(dir, name), os.MkdirAll(dir, 0o700)
}
