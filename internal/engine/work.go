package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/prompt"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
)

// Bounds of what a task may bring back, and of its parts. The gate's policy is
// tighter; these keep a hostile sandbox from filling the host's memory.
const (
	maxChangesetBytes  = 32 << 20
	maxChangesetFiles  = 5000
	maxTranscriptBytes = 64 << 20
	maxEvents          = 1_000_000 // of a task
	maxEventBytes      = 40 << 20  // of them, as far as one process hears it; sandboxd stops at 32 MiB
	leastEvent         = 80        // bytes of an event beside its text
	setupTimeout       = 15 * time.Minute
	checkTimeout       = 15 * time.Minute
	modelCallTimeout   = 10 * time.Minute
	modelCallRetries   = 10 // by Claude Code, who alone repeats model calls: they last for three minutes (measured)
)

// work gives sandboxd the task, follows it to its end and stores what it came
// to. The task's id is stored first and is the same for every attempt: sandboxd
// begins a task once.
func (d *drive) work(ctx context.Context) (run.State, error) {
	if r := d.run.Result; r != nil && !r.Problem.IsZero() {
		return "", r.Problem.Err() // an earlier process heard the end, and died with it
	}
	if err := d.reach(ctx); err != nil {
		return "", err
	}
	if d.run.Task == "" {
		if err := d.save(func() { d.run.Task = d.nextTask() }); err != nil {
			return "", err
		}
	}
	status, err := d.follow(ctx)
	if err != nil {
		return "", err
	}
	result := d.result(status)
	if err := d.save(func() { d.run.Result = result }); err != nil {
		return "", err
	}
	if err := result.Problem.Err(); err != nil {
		return "", err
	}
	return run.Harvesting, nil
}

// task is what sandboxd is asked to do.
func (d *drive) task() api.Task {
	f, o := d.run.Frozen, d.run.Options
	filter, depth := historyOf(f.Repository.SizeKB)
	task := api.Task{
		ID: d.run.Task,
		Repository: api.Repository{
			URL: f.Repository.CloneURL, WebURL: f.WebURL, Name: f.Repository.Name,
			Commit: f.BaseCommit, Branch: d.thread.Branch, Filter: filter, Depth: depth,
			Keep: d.run.Task != d.run.ID+"-1", // the run waited in between
		},
		Setup: d.settings.Setup,
		Check: d.settings.Check,
		Env:   d.settings.Env,
		Claude: api.Claude{
			Prompt: prompt.Task(prompt.Input{
				Frozen: *f, Instructions: o.Instructions, RepositoryInstructions: d.settings.Instructions,
				Check: d.settings.Check, FollowUp: f.BranchHead != "",
			}),
			System:     prompt.System(),
			Model:      o.Model,
			MaxTurns:   o.MaxTurns,
			SessionID:  d.thread.SessionID,
			OAuth:      !d.Credential.OAuth.IsZero(),
			APITimeout: modelCallTimeout,
			MaxRetries: modelCallRetries,
		},
		Deadline: d.run.StartedAt.Add(o.Timeout), Sent: d.Now(),
		Bounds: api.Bounds{
			ChangesetBytes: maxChangesetBytes, ChangesetFiles: maxChangesetFiles,
			SetupTimeout: setupTimeout, CheckTimeout: checkTimeout,
		},
	}
	if o := d.run.Outcome; o != nil && o.Merge != nil {
		d.asMerge(&task, o.Merge)
	}
	return task
}

// historyOf says how much of a repository's history is fetched: all of a small
// one, the commits without old contents of a larger one, and of a very large
// one the one commit. The size is GitHub's figure, in KB.
func historyOf(sizeKB int64) (filter string, depth int) {
	switch {
	case sizeKB > 500_000:
		return "", 1
	case sizeKB > 20_000:
		return "blob:none", 0
	}
	return "", 0
}

// follow gives sandboxd the task and stores its events as they come, until the
// task ends. A stream that is cut is taken up after the last stored event.
func (d *drive) follow(ctx context.Context) (api.Status, error) {
	const longest = 10 * time.Second
	status, err := d.giveTask(ctx)
	for wait := 100 * time.Millisecond; ; {
		// An earlier process may have heard it all, or the end is kept from us.
		if err != nil || status.Phase == api.PhaseEnded && status.Events == d.run.LastEvent {
			return status, err
		}
		var ended *api.Status
		stop := d.collectWhile(ctx, d.sandboxd)
		err = d.sandboxd.Events(ctx, d.run.Task, d.run.LastEvent, func(e api.Event) error {
			wait = 100 * time.Millisecond
			ended = e.Ended
			return d.record(e)
		})
		stop()
		switch {
		case ended != nil:
			return *ended, nil
		case !retryable(err):
			return api.Status{}, err
		}
		d.Log.Debug("events cut", "error", err)
		if err := pause.For(ctx, wait); err != nil {
			return api.Status{}, err
		}
		wait = min(2*wait, longest)
		status, err = d.reachAgain(ctx)
	}
}

// retryable reports whether the way to the sandbox broke rather than what is
// in it.
func retryable(err error) bool {
	return errors.Is(err, client.ErrUnauthorized) || errors.Is(err, client.ErrNotStarted) ||
		errors.Is(err, client.ErrNotListening) || fault.KindOf(err) == fault.Unavailable
}

// reachAgain finds the way to the sandbox anew if sandboxd does not answer:
// after a restart the preview's token is another, and sandboxd may be gone. It
// returns how the task stands.
func (d *drive) reachAgain(ctx context.Context) (api.Status, error) {
	status, err := d.sandboxd.Task(ctx, d.run.Task)
	if err == nil || !retryable(err) {
		return status, err
	}
	d.disconnect()
	d.sandbox = nil
	if err := d.reach(ctx); err != nil {
		return api.Status{}, err
	}
	return d.sandboxd.CreateTask(ctx, d.task())
}

// record logs one event of the task. It fails when there is no end to them.
func (d *drive) record(e api.Event) error {
	entry := run.Entry{Time: d.plausible(e.Time), Phase: string(e.Phase)}
	switch {
	case e.Started:
		entry.Kind, entry.Text = run.Began, d.phaseText(e.Phase)
	case e.Output != "":
		entry.Kind, entry.Text = run.Output, e.Output
	case e.Claude != nil:
		entry.Kind, entry.Text, entry.Failed = told(e.Claude)
	}
	if d.heard += len(entry.Text) + leastEvent; d.heard > maxEventBytes || e.Number > maxEvents {
		return fault.New(fault.Sandbox, "the sandbox reported more than %d events or %d MiB of them", maxEvents, maxEventBytes>>20).
			WithHint("the sandbox may have been tampered with: look at `dayclaude runs logs`; `--new` begins with another one")
	}
	note := func() { d.run.LastEvent = e.Number }
	if entry.Kind == "" || entry.Kind == run.Began && entry.Text == "" {
		d.append(note)
		return nil
	}
	d.append(note, entry)
	return nil
}

// plausible is the sandbox's word for when something happened, unless it
// cannot have been then: an odd time would hide an entry, or keep it from
// being stored.
func (d *drive) plausible(t time.Time) time.Time {
	now := d.Now()
	if t.Before(d.run.CreatedAt) || t.After(now) {
		return now.UTC()
	}
	return t.UTC()
}

func (d *drive) phaseText(p api.Phase) string {
	f := d.run.Frozen
	switch p {
	case api.PhaseClone:
		return fmt.Sprintf("cloning %s at %.10s", f.Repository.FullName(), f.BaseCommit)
	case api.PhaseSetup:
		return "setting up: " + strings.Join(d.settings.Setup, "; ")
	case api.PhaseMerge:
		if o := d.run.Outcome; o != nil && o.Merge != nil {
			return fmt.Sprintf("merging with %s at %.10s", o.Merge.Branch, o.Merge.Onto)
		}
	case api.PhaseClaude:
		return "Claude is at work (" + d.run.Options.Model + ")"
	case api.PhaseCheck:
		return "checking: " + d.settings.Check
	}
	return ""
}

// told is how an event of Claude's stands in the log.
func told(e *claude.Event) (kind run.EntryKind, text string, failed bool) {
	switch e.Kind {
	case claude.Said:
		return run.Said, e.Text, false
	case claude.ToolCall:
		return run.Called, strings.TrimSpace(e.Tool + " " + e.Summary), false
	case claude.ToolResult:
		return run.Gave, e.Summary, e.Failed
	case claude.Retry:
		return run.Retry, fmt.Sprintf("a call of the model failed (%s); retry %d follows in %s", e.Reason, e.Attempt, e.Delay.Round(time.Second)), false
	case claude.Denied:
		return run.Notice, strings.TrimSpace("Claude was not allowed to use " + e.Tool), false
	}
	return "", "", false
}

// result turns what the sandbox said of its task into what is stored of it.
func (d *drive) result(s api.Status) *run.Result {
	r := &run.Result{Problem: d.problemOf(s)}
	for _, note := range s.Notes {
		d.say(run.Notice, "%s", note)
		r.Notes = append(r.Notes, d.clean(note, 1<<10))
	}
	if c := s.Claude; c != nil {
		r.Answer, r.Turns, r.SessionID = d.clean(c.Answer, 64<<10), c.Turns, d.thread.SessionID
	}
	if c := s.Check; c != nil {
		r.Check = &run.Check{Command: d.settings.Check, ExitCode: c.ExitCode, TimedOut: c.TimedOut, Tail: d.clean(c.Tail, 8<<10), Duration: c.Duration}
	}
	return r
}

// problemOf says what kept the task from ending well.
func (d *drive) problemOf(s api.Status) run.Problem {
	var err error
	switch c := s.Claude; {
	case d.broker != nil && d.broker.Exhausted() != nil:
		err = d.broker.Exhausted()
	case s.Failure != nil:
		err = failure(s.Failure)
	case c == nil:
		err = fault.New(fault.Sandbox, "the sandbox reported an end without saying what Claude did").
			WithHint("run the command again")
	default:
		var refused broker.Refusal
		if d.broker != nil {
			refused, _ = d.broker.Refusal()
		}
		err = ending(c, d.run.Options.MaxTurns, refused)
	}
	if err == nil {
		return run.Problem{}
	}
	return d.problem(err)
}

// ending is the fault of a Claude that did not end with an answer.
func ending(c *claude.Result, maxTurns int, refused broker.Refusal) error {
	switch c.Ending {
	case claude.Answered:
		return nil
	case claude.MaxTurns:
		return fault.New(fault.Limit, "Claude used all its %d turns", maxTurns).WithHint("--max-turns sets the limit")
	case claude.Budget:
		return fault.New(fault.Limit, "Claude Code reached its own budget").WithHint("--max-cost sets the limit")
	case claude.Cancelled:
		return fault.New(fault.Cancelled, "Claude was stopped")
	case claude.APIError:
		return modelError(c, refused)
	case claude.NotStarted:
		return fault.New(fault.Claude, "Claude Code did not start: %s", c.Message)
	case claude.Killed:
		return fault.New(fault.Claude, "Claude Code was killed in the sandbox (exit code %d)", c.ExitCode).
			WithHint("the sandbox may have run out of memory; run the command again to go on")
	case claude.NoResult:
		return fault.New(fault.Claude, "Claude Code ended without a result (exit code %d) %s", c.ExitCode, c.Message).
			WithHint("run the command again")
	}
	return fault.New(fault.Claude, "Claude Code failed: %s", c.Message).WithHint("run the command again")
}

// unpark begins the next task of a run that waited: the same session, other
// limits of time.
func (d *drive) unpark(context.Context) (run.State, error) {
	next := d.nextTask()
	return run.Provisioning, d.save(func() {
		d.run.Task, d.run.LastEvent, d.run.Result, d.run.Outcome = next, 0, nil, nil
		d.run.StartedAt = d.Now().UTC()
	})
}

// nextTask names the run's next task: r_abc-1, r_abc-2, …
func (d *drive) nextTask() string {
	n, err := strconv.Atoi(strings.TrimPrefix(d.run.Task, d.run.ID+"-"))
	if err != nil { // there was none yet
		n = 0
	}
	return fmt.Sprintf("%s-%d", d.run.ID, n+1)
}
