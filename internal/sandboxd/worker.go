package sandboxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// Causes that end a task's work before its time.
var (
	errCancelled = errors.New("the host cancelled the task")
	errDeadline  = errors.New("the task's deadline passed")
)

// Bounds of the worker's own parts.
const (
	harvestTimeout = 10 * time.Minute
	maxMessage     = 4 << 10 // of a Failure
	maxTail        = 8 << 10 // of a Check
)

// worker takes one task through its phases.
type worker struct {
	task  *task
	home  string
	tools *tools
	now   func() time.Time
	log   *slog.Logger

	phase   api.Phase
	outlets []*outlet // of commands whose children may still write
}

// run works until the task ends, or life does: the task can then be taken up
// again. When the end is announced, and when run returns, nothing of the task
// runs any more.
func (w *worker) run(life context.Context) {
	ctx, cancel := context.WithCancelCause(life)
	var watch sync.WaitGroup
	watch.Go(func() { w.watchDeadline(ctx, cancel) })
	defer watch.Wait()
	defer cancel(nil)
	w.task.bind(cancel)

	w.killUnfinished()
	failure := w.work(ctx, life)
	w.killAll()
	for life.Err() == nil {
		err := w.task.end(failure, w.now())
		if err == nil {
			return
		}
		w.log.Error("task's end not stored", "task", w.task.spec.ID, "error", err)
		wait(life, time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// watchDeadline looks at the wall clock each second: timers do not count the
// time for which a machine is suspended.
func (w *worker) watchDeadline(ctx context.Context, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if !w.now().Before(w.task.spec.Deadline) {
			cancel(errDeadline)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// work does the phases that are not done yet. What Claude leaves is kept on
// every way out.
func (w *worker) work(ctx, life context.Context) *api.Failure {
	failure := w.inPhase(ctx, api.PhaseClone, w.task.snapshot().Cloned, w.clone)
	if failure == nil {
		done := w.task.snapshot().Setup >= len(w.task.spec.Setup) || w.task.snapshot().Asked
		failure = w.inPhase(ctx, api.PhaseSetup, done, w.setup)
	}
	if failure == nil {
		failure = w.inPhase(ctx, api.PhaseClaude, w.task.snapshot().Status.Claude != nil, w.claude)
	}
	if life.Err() != nil {
		return nil
	}
	if lost := w.harvest(life); failure == nil {
		failure = lost
	}
	if failure == nil {
		failure = w.inPhase(ctx, api.PhaseCheck, !w.worthChecking(), w.check)
	}
	return failure
}

// worthChecking reports whether the check is still to be run. What a Claude
// left that did not finish is known to be unfinished.
func (w *worker) worthChecking() bool {
	s := w.task.snapshot().Status
	return w.task.spec.Check != "" && s.Check == nil && s.Claude != nil && s.Claude.Ending == claude.Answered
}

// inPhase does one phase unless it is done. A phase that was interrupted
// fails for that reason, whatever it says itself.
func (w *worker) inPhase(ctx context.Context, phase api.Phase, done bool, do func(context.Context) *api.Failure) *api.Failure {
	if done {
		return nil
	}
	w.phase = phase
	var failure *api.Failure
	if ctx.Err() == nil {
		if err := w.task.update(func(s *state) { s.Status.Phase = phase }); err != nil {
			return w.fail("internal", err)
		}
		w.emit(api.Event{Started: true})
		failure = do(ctx)
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCancelled):
		return w.fail("cancelled", cause)
	case errors.Is(cause, errDeadline):
		return w.fail("deadline", cause)
	case cause != nil:
		return w.fail("internal", cause)
	}
	return failure
}

// fail is a Failure in the present phase.
func (w *worker) fail(kind string, err error) *api.Failure {
	return &api.Failure{Phase: w.phase, Kind: kind, Message: headOf(err.Error(), maxMessage)}
}

// emit adds an event of the present phase to the log.
func (w *worker) emit(e api.Event) {
	e.Time, e.Phase = w.now(), w.phase
	if err := w.task.events.append(e); err != nil {
		w.log.Error("event lost", "task", w.task.spec.ID, "error", err)
	}
}

func (w *worker) repository() *repository {
	return &repository{
		git: w.tools.find("git"), dir: w.dir(), spec: w.task.spec.Repository,
		env: append(w.tools.environ(w.task.spec.Env), w.tools.gitConfig(w.task.spec.Repository.WebURL)...),
	}
}

func (w *worker) dir() string {
	return filepath.Join(w.home, api.WorkDir, w.task.spec.Repository.Name)
}

// environ is the environment of setup, Claude and check.
func (w *worker) environ() []string {
	env := append(w.tools.environ(w.task.spec.Env), w.tools.gitConfig(w.task.spec.Repository.WebURL)...)
	return append(env, marker+"="+w.task.path(string(w.phase)))
}

func (w *worker) clone(ctx context.Context) *api.Failure {
	notes, err := w.repository().clone(ctx)
	if err != nil {
		return w.fail("clone_failed", err)
	}
	for _, note := range notes {
		w.emit(api.Event{Output: headOf(note, maxOutput)})
	}
	err = w.task.update(func(s *state) { s.Cloned, s.Status.Base = true, w.task.spec.Repository.Commit })
	if err != nil {
		return w.fail("internal", err)
	}
	return nil
}

func (w *worker) setup(ctx context.Context) *api.Failure {
	for i := w.task.snapshot().Setup; i < len(w.task.spec.Setup); i++ {
		line := w.task.spec.Setup[i]
		var kept tailBuffer
		exit, err := w.shell(ctx, line, w.task.spec.Bounds.SetupTimeout, &kept)
		switch {
		case errors.Is(err, errTimeout):
			return w.fail("setup_timeout", fmt.Errorf("`%s` ran longer than %s", headOf(line, 200), w.task.spec.Bounds.SetupTimeout))
		case err != nil:
			return w.fail("setup_failed", fmt.Errorf("`%s`: %w", headOf(line, 200), err))
		case exit != 0:
			return w.fail("setup_failed", fmt.Errorf("`%s` ended with exit code %d: %s", headOf(line, 200), exit, tailOf(kept.String(), maxMessage/2)))
		}
		if err := w.task.update(func(s *state) { s.Setup = i + 1 }); err != nil {
			return w.fail("internal", err)
		}
	}
	return nil
}

// interrupted goes before the prompt of a Claude that is started again.
const interrupted = "You were interrupted while you worked on the task below: the machine was restarted. " +
	"Look at what you have done so far, and go on from there.\n\n"

func (w *worker) claude(ctx context.Context) *api.Failure {
	path := w.tools.find("claude")
	if path == "" {
		return w.fail("claude_missing", errors.New("the sandbox's image has no claude on its PATH"))
	}
	spec, dir := w.task.spec.Claude, w.dir()
	inv := claude.Invocation{
		Path: path, Dir: dir, Home: w.home, Env: w.environ(),
		Prompt: spec.Prompt, System: spec.System, Model: spec.Model, MaxTurns: spec.MaxTurns,
		SessionID: spec.SessionID, Resume: claude.HasTranscript(w.home, dir, spec.SessionID),
		BaseURL: w.tools.loopback + "/anthropic", OAuth: spec.OAuth,
		APITimeout: spec.APITimeout, MaxRetries: spec.MaxRetries,
	}
	if inv.Resume && w.task.snapshot().Asked {
		inv.Prompt = interrupted + inv.Prompt
	}
	if err := w.task.update(func(s *state) { s.Asked = true }); err != nil {
		return w.fail("internal", err)
	}
	result := claude.Run(ctx, inv, func(e claude.Event) { w.emit(api.Event{Claude: &e}) })
	if errors.Is(context.Cause(ctx), errShutdown) {
		return nil // not its end: it goes on where it was
	}
	if err := w.task.update(func(s *state) { s.Status.Claude = &result }); err != nil {
		return w.fail("internal", err)
	}
	return nil
}

// harvest keeps the changeset as it is now, before check or anything later
// can touch the work tree. Only the server's end interrupts it.
func (w *worker) harvest(life context.Context) *api.Failure {
	if s := w.task.snapshot(); !s.Cloned || s.Harvested || s.Lost != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(life, harvestTimeout)
	defer cancel()
	var notes []string
	err := replaceFile(w.task.path("changeset.json"), func(out io.Writer) (err error) {
		notes, err = w.repository().writeChangeset(ctx, out, w.task.dir, w.task.spec.Bounds)
		return err
	})
	if life.Err() != nil {
		return nil
	}
	for _, note := range notes {
		w.emit(api.Event{Output: headOf(note, maxOutput)})
	}
	if stored := w.task.update(func(s *state) {
		if s.Harvested = err == nil; err != nil {
			s.Lost = headOf(err.Error(), maxMessage)
		}
	}); stored != nil {
		return w.fail("internal", stored)
	}
	if err != nil {
		return w.fail("changeset_failed", err)
	}
	return nil
}

func (w *worker) check(ctx context.Context) *api.Failure {
	var kept tailBuffer
	began := w.now()
	exit, err := w.shell(ctx, w.task.spec.Check, w.task.spec.Bounds.CheckTimeout, &kept)
	timedOut := errors.Is(err, errTimeout)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil && !timedOut {
		return w.fail("internal", fmt.Errorf("check: %w", err))
	}
	check := api.Check{ExitCode: exit, TimedOut: timedOut, Tail: kept.String(), Duration: w.now().Sub(began)}
	if err := w.task.update(func(s *state) { s.Status.Check = &check }); err != nil {
		return w.fail("internal", err)
	}
	return nil
}

// shell runs one command line in the repository.
func (w *worker) shell(ctx context.Context, line string, timeout time.Duration, kept *tailBuffer) (exit int, err error) {
	bash := w.tools.find("bash")
	if bash == "" {
		return -1, errors.New("the sandbox's image has no bash on its PATH")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	emit := func(text string) {
		kept.add(text)
		w.emit(api.Event{Output: text})
	}
	cmd := command(bash, "-c", line)
	cmd.Dir, cmd.Env = w.dir(), w.environ()
	exit, out, err := runCommand(ctx, cmd, emit)
	if out != nil {
		w.outlets = append(w.outlets, out)
	}
	return exit, err
}

// killUnfinished ends what an earlier process of sandboxd left running. What
// setup started (a database, say) stays if setup was done.
func (w *worker) killUnfinished() {
	var keep string
	if s := w.task.snapshot(); s.Asked || s.Setup >= len(w.task.spec.Setup) {
		keep = w.task.path(string(api.PhaseSetup))
	}
	killMarked(filepath.Dir(w.task.dir), keep)
}

// killAll ends all processes that tasks left behind.
func (w *worker) killAll() {
	killMarked(filepath.Dir(w.task.dir), "")
	for _, out := range w.outlets {
		out.close()
	}
	w.outlets = nil
}
