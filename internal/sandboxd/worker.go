package sandboxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	maxNote        = 1 << 10 // of one of the Notes
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
	w.phase = w.task.snapshot().Status.Phase
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
		if !w.now().Before(w.task.snapshot().Deadline) {
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
	failure := w.prepare(ctx)
	if failure == nil {
		failure = w.inPhase(ctx, api.PhaseClaude, !w.worthAsking(), w.claude)
	}
	if life.Err() != nil {
		return nil
	}
	_ = os.Remove(w.reserve()) // unless Claude's end did
	if lost := w.harvest(life); failure == nil {
		failure = lost
	}
	if failure == nil {
		failure = w.inPhase(ctx, api.PhaseCheck, !w.worthChecking(), w.check)
	}
	return failure
}

func (w *worker) reserve() string { return filepath.Join(w.home, api.StateDir, "reserve") }

// prepare makes the work tree ready for Claude.
func (w *worker) prepare(ctx context.Context) *api.Failure {
	s := w.task.snapshot()
	if s.Status.Claude != nil {
		return nil
	}
	if err := takeReserve(w.reserve()); err != nil {
		return w.fail("internal", err)
	}
	if w.task.spec.Merge != nil {
		failure := w.inPhase(ctx, api.PhaseMerge, s.Cloned, w.merge)
		if failure == nil && w.worthAsking() {
			failure = w.inPhase(ctx, api.PhaseSetup, s.Setup >= len(w.task.spec.Setup) || s.Asked, w.setupAndMerge)
		}
		return failure
	}
	if failure := w.inPhase(ctx, api.PhaseClone, s.Cloned, w.clone); failure != nil {
		return failure
	}
	return w.inPhase(ctx, api.PhaseSetup, s.Setup >= len(w.task.spec.Setup) || s.Asked, w.setup)
}

// worthAsking reports whether Claude is still to work: not after a merge that
// went by itself, or that the host wants to know of only.
func (w *worker) worthAsking() bool {
	s := w.task.snapshot().Status
	return s.Claude == nil && (w.task.spec.Merge == nil || s.Conflicts != nil && w.task.spec.Claude.Prompt != "")
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

// fail is a Failure in the present phase. A full disk is why it failed,
// whatever it is.
func (w *worker) fail(kind string, err error) *api.Failure {
	if noSpace(err) {
		kind = kindDiskFull
	}
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
		w.emit(api.Event{Output: note + "\n"})
	}
	err = w.task.update(func(s *state) {
		s.Cloned, s.Status.Base, s.Status.Notes = true, w.task.spec.Repository.Commit, notes
	})
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
			return w.fail("setup_timeout", fmt.Errorf("`%s` ran longer than %s: %s", headOf(line, 200), w.task.spec.Bounds.SetupTimeout, tailOf(kept.String(), maxMessage/2)))
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

// What goes before the prompt of a Claude that is started again.
const (
	interrupted = "You were interrupted while you worked on the task below: %s. " +
		"Look at what you have done so far, and go on from there.\n\n"
	restarted = "the machine was restarted"
	wasKilled = "your process was killed, perhaps because the machine ran out of memory; run nothing again that needs much of it"
)

// maxKilled is how often a Claude that was killed is resumed.
const maxKilled = 2

// claude lets Claude work. One that somebody killed goes on in its session.
func (w *worker) claude(ctx context.Context) *api.Failure {
	for {
		result, failure := w.ask(ctx)
		if failure != nil || errors.Is(context.Cause(ctx), errShutdown) {
			return failure // the latter is not its end: it goes on where it was
		}
		s, noRoom := w.task.snapshot(), full(w.home)
		if result.Ending == claude.Killed && s.Killed < maxKilled && !noRoom {
			if err := w.task.update(func(s *state) { s.Killed, s.Turns = s.Killed+1, s.Turns+result.Turns }); err != nil {
				return w.fail("internal", err)
			}
			w.emit(api.Event{Output: fmt.Sprintf("Claude Code was killed (exit code %d) and goes on in its session\n", result.ExitCode)})
			continue
		}
		result.Turns += s.Turns
		_ = os.Remove(w.reserve()) // now is what it was kept for
		if err := w.task.update(func(s *state) {
			if s.Status.Claude = &result; noRoom {
				s.Status.Notes = append(slices.Clip(s.Status.Notes), "the disk was full when Claude ended: what was written last may be cut short")
			}
		}); err != nil {
			return w.fail("internal", err)
		}
		if result.Ending != claude.Answered && noRoom {
			return w.fail(kindDiskFull, fmt.Errorf("there was no space left when Claude Code ended (exit code %d) %s", result.ExitCode, result.Message))
		}
		return nil
	}
}

// ask starts Claude Code and waits for its end.
func (w *worker) ask(ctx context.Context) (result claude.Result, failure *api.Failure) {
	path := w.tools.find("claude")
	if path == "" {
		return result, w.fail("claude_missing", errors.New("the sandbox's image has no claude on its PATH"))
	}
	spec, dir, s := w.task.spec.Claude, w.dir(), w.task.snapshot()
	inv := claude.Invocation{
		Path: path, Dir: dir, Home: w.home, Env: w.environ(),
		Prompt: spec.Prompt, System: spec.System, Model: spec.Model, MaxTurns: spec.MaxTurns,
		SessionID: spec.SessionID, Resume: claude.HasTranscript(w.home, dir, spec.SessionID),
		BaseURL: w.tools.loopback + "/anthropic", OAuth: spec.OAuth,
		APITimeout: spec.APITimeout, MaxRetries: spec.MaxRetries,
	}
	if spec.MaxTurns > 0 {
		inv.MaxTurns = max(1, spec.MaxTurns-s.Turns)
	}
	if s.Status.Conflicts != nil {
		inv.Prompt += "\n- " + strings.Join(s.Status.Conflicts, "\n- ") + "\n"
	}
	if inv.Resume && s.Asked {
		why := restarted
		if s.Killed > 0 {
			why = wasKilled
		}
		inv.Prompt = fmt.Sprintf(interrupted, why) + inv.Prompt
	}
	if err := w.task.update(func(s *state) { s.Asked = true }); err != nil {
		return result, w.fail("internal", err)
	}
	return claude.Run(ctx, inv, func(e claude.Event) { w.emit(api.Event{Claude: &e}) }), nil
}

// harvest keeps the changeset as it is now, before check or anything later
// can touch the work tree. Only the server's end interrupts it.
func (w *worker) harvest(life context.Context) *api.Failure {
	if s := w.task.snapshot(); !s.Cloned || s.Harvested || s.Lost != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(life, harvestTimeout)
	defer cancel()
	scratch := w.task.path("tree")
	err := os.RemoveAll(scratch) // of an attempt that was interrupted
	if err == nil {
		err = os.Mkdir(scratch, 0o700)
	}
	var tree string
	var notes []string
	if err == nil {
		err = replaceFile(w.task.path("changeset.json"), func(out io.Writer) (err error) {
			tree, notes, err = w.repository().writeChangeset(ctx, out, scratch, w.task.spec.Bounds)
			return err
		})
	}
	if life.Err() != nil {
		return nil
	}
	for _, note := range notes {
		w.emit(api.Event{Output: headOf(note, maxOutput)})
	}
	if stored := w.task.update(func(s *state) {
		if s.Harvested, s.Tree = err == nil, tree; err != nil {
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
