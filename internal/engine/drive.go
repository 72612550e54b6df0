package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/notice"
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
	lose    context.CancelCauseFunc // ends the drive where it stands; nil before it

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
	run.Merging:      (*drive).merge,
	run.Gating:       (*drive).gate,
	run.Committing:   (*drive).commit,
	run.Publishing:   (*drive).publish,
	run.Reporting:    (*drive).report,
	run.Settling:     (*drive).settle,
	run.Parked:       (*drive).unpark,
}

// Moment is a place in a step at which a process may die.
type Moment string

// The moments of a step.
const (
	Before Moment = "before" // its state is stored, it has done nothing
	After  Moment = "after"  // it is done, the state that follows is not stored
	Stored Moment = "stored" // that is
)

// stepTime bounds each step after Claude's work: the run's own limit is on the
// work, and what is done gets published. It outlasts a service that is away
// for two minutes.
const stepTime = 10 * time.Minute

// drive takes the run from the state it is in to a final one (or to Parked).
// It returns the run's problem. ctx ends the work, not the way out.
func (d *drive) drive(ctx context.Context) error {
	ctx = notice.With(ctx, func(text string) { d.say(run.Notice, "%s", text) })
	// Held ends when the lease is lost, and work also when the run is to stop.
	held, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	d.lose = lose
	work, stop := context.WithCancelCause(held)
	byHand := context.AfterFunc(ctx, func() { stop(stopped(d.thread.Ref, "stopped by hand")) })
	defer byHand()

	if d.run.StartedAt.IsZero() {
		d.run.StartedAt = d.Now().UTC()
	}
	var background sync.WaitGroup
	background.Go(func() { d.watch(held, lose, stop) })
	defer func() {
		d.disconnect()
		lose(nil)
		background.Wait()
		if err := d.Store.Release(context.WithoutCancel(ctx), d.lease); err != nil && !errors.Is(err, store.ErrFenced) {
			d.Log.Warn("lease not released", "error", err)
		}
	}()

	for !d.run.State.Final() {
		state := d.run.State
		d.at(state, Before)
		next, err := d.step(held, work)
		if err != nil {
			if cause := context.Cause(held); cause != nil {
				return cause
			}
			if next, err = d.giveUp(held, err); err != nil {
				return err
			}
		}
		d.at(state, After)
		if err := d.advance(next); err != nil {
			return err
		}
		d.at(state, Stored)
		if next == run.Parked {
			d.park(held)
			break
		}
	}
	if d.run.Outcome == nil {
		return nil
	}
	return d.run.Outcome.Problem.Err()
}

func (d *drive) at(state run.State, m Moment) {
	if d.Checkpoint != nil {
		d.Checkpoint(state, m)
	}
}

// step does the present state's step, within the time that it has. What ends
// the work does not end the way out.
func (d *drive) step(held, work context.Context) (run.State, error) {
	state := d.run.State
	if d.leaving() && slices.Contains(working, state) {
		return d.outward(), nil // died between the problem's being stored and what follows it
	}
	if d.leaving() || state == run.Reporting || state == run.Settling {
		ctx, cancel := context.WithTimeout(held, stepTime)
		defer cancel()
		return steps[state](d, ctx)
	}
	ctx, cancel := work, context.CancelFunc(func() {})
	if d.publishing() {
		ctx, cancel = context.WithTimeout(work, stepTime)
	}
	defer cancel()
	next, err := steps[state](d, ctx)
	if err != nil {
		next, err = d.retrace(ctx, err)
	}
	if err != nil && work.Err() != nil {
		return next, context.Cause(work) // whatever the step met, this is why
	}
	return next, err
}

// leaving reports whether the run has broken off: what there is of the work is
// brought to safety.
func (d *drive) leaving() bool {
	o := d.run.Outcome
	return o != nil && !o.Problem.IsZero() && o.State != run.Parked
}

// publishing reports whether the work is done, and only to be published.
func (d *drive) publishing() bool {
	return slices.Contains([]run.State{run.Harvesting, run.Gating, run.Committing, run.Publishing}, d.run.State)
}

// working are the states that a run which broke off does not go on with.
var working = []run.State{run.Queued, run.Freezing, run.Provisioning, run.Connecting, run.Working, run.Parked}

// outward is where a run goes that breaks off: if its task was begun, by way
// of what there is of the work.
func (d *drive) outward() run.State {
	if d.run.Task != "" && d.run.State.CanBecome(run.Harvesting) {
		return run.Harvesting
	}
	return run.Reporting
}

// outcomes are the final states of the problems that have one of their own.
var outcomes = map[fault.Kind]run.State{
	fault.Unchanged:   run.Unchanged,
	fault.Limit:       run.Limited,
	fault.Refused:     run.Refused,
	fault.NotAdmitted: run.NotAdmitted,
	fault.Cancelled:   run.Cancelled,
}

// giveUp stores the problem as the run's outcome and says what follows. A run
// that is to wait parks. What goes wrong on the way out is noted, and is not
// the outcome.
func (d *drive) giveUp(held context.Context, problem error) (run.State, error) {
	if fault.KindOf(problem) == fault.Parked && d.run.State.CanBecome(run.Parked) {
		err := d.save(func() { d.run.Outcome = &run.Outcome{State: run.Parked, Problem: d.problem(problem)} })
		return run.Parked, err
	}
	next := d.outward()
	if !slices.Contains(working, d.run.State) {
		next = run.Reporting
		d.leavePatch(held)
	}
	if d.leaving() {
		d.say(run.Notice, "and then: %v", problem)
		return next, nil
	}
	return next, d.save(func() { d.end(problem) })
}

// end makes the problem the run's outcome; d.mu is held.
func (d *drive) end(problem error) {
	o := d.outcome()
	o.Problem, o.State = d.problem(problem), run.Failed
	if s, ok := outcomes[o.Problem.Kind]; ok {
		o.State = s
	}
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
// them. What cannot be stored is not announced: it ends the drive, and the run
// can be taken up again.
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
		if d.lose != nil {
			d.lose(err)
		}
		return
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

// watch renews the lease until ctx is done, and posts activity so that Daytona
// does not stop a sandbox whose model is thinking. It loses the run to another
// driver, and stops its work when somebody asks for that or its time is over.
func (d *drive) watch(ctx context.Context, lose, stop context.CancelCauseFunc) {
	renew := time.NewTicker(leaseRenew)
	defer renew.Stop()
	touch := time.NewTicker(cmp.Or(d.TouchEvery, time.Minute))
	defer touch.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			if err := d.Store.Renew(ctx, d.lease, leaseTTL); errors.Is(err, store.ErrFenced) {
				lose(err)
				return
			} else if err != nil {
				d.Log.Warn("lease not renewed", "error", err)
			}
		case <-touch.C:
			d.touch(ctx)
		case <-look.C:
			if why := d.toStop(ctx); why != nil {
				stop(why)
			}
		}
	}
}

// toStop is why the run's work has to end, if it has. Deadlines are the wall
// clock's: timers do not count the time for which a laptop sleeps.
func (d *drive) toStop(ctx context.Context) error {
	d.mu.Lock()
	id, limit := d.run.ID, d.run.Options.Timeout
	deadline, done := d.run.StartedAt.Round(0).Add(limit), d.publishing()
	d.mu.Unlock()
	if !done && d.Now().Round(0).After(deadline) {
		return fault.New(fault.Limit, "the run's time limit of %s is over", limit).WithHint("--timeout sets it")
	}
	asked, err := d.Store.CancelAsked(ctx, id)
	switch {
	case err != nil && ctx.Err() == nil:
		d.Log.Warn("not known whether the run is to be cancelled", "error", err)
	case asked:
		return stopped(d.thread.Ref, cancelled)
	}
	return nil
}

// cancelled is why a run ends that somebody cancelled.
const cancelled = "stopped by `dayclaude runs cancel`"

// stopped is the fault of a run that a person ended.
func stopped(ref run.Ref, how string) error {
	return fault.New(fault.Cancelled, "%s", how).WithHint("`dayclaude run-issue %s` goes on from what there is", ref)
}

// touch posts the sandbox's activity.
func (d *drive) touch(ctx context.Context) {
	d.mu.Lock()
	id := d.thread.SandboxID
	d.mu.Unlock()
	if id == "" {
		return
	}
	if err := d.Daytona.Touch(ctx, id); err != nil {
		d.Log.Warn("activity not posted", "error", err)
	}
}

// file is the place of something that the run leaves behind. The directory is
// made on the way.
func (d *drive) file(name string) (string, error) {
	dir := filepath.Join(d.Dir, d.run.ID)
	return filepath.Join(dir, name), os.MkdirAll(dir, 0o700)
}
