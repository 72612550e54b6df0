// Package engine drives a run from the issue to the pull request. Each state
// that is not final has one step; a step looks before it acts and finds what
// an earlier attempt made, so that every one of them can run twice. A state
// is stored before anything announces it.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
)

// Config is what an engine works with. All of it but Checkpoint and
// TouchEvery is required.
type Config struct {
	Store   *store.Store
	Hub     *hub.Client
	Daytona *daytona.Client

	AnthropicURL string            // where model calls go
	Credential   broker.Credential // and what they are paid with
	GitToken     secret.String     // reads the repositories that a sandbox may fetch

	// Sandboxd returns the Linux binary that goes into a sandbox without one.
	Sandboxd func(goarch string) ([]byte, error)
	Redactor *secret.Redactor // knows every secret above
	Dir      string           // what runs leave behind: patches, transcripts

	Owner string                  // of leases: this process
	Dead  func(owner string) bool // the process that took a lease under this name is gone

	// Checkpoint is told of each moment at which the process may die. It is
	// for tests that kill it there; nil does nothing.
	Checkpoint func(run.State, Moment)

	Version      string        // of dayclaude
	TouchEvery   time.Duration // a sandbox that is worked in shows activity; 0: every minute
	HarvestEvery time.Duration // while Claude works, what there is comes to the host
	ArchiveAfter time.Duration // a stopped sandbox is archived
	DeleteAfter  time.Duration // and deleted
	Now          func() time.Time
	Log          *slog.Logger
}

// Engine drives runs. It is safe for concurrent use.
type Engine struct{ Config }

// New makes an engine.
func New(cfg Config) *Engine { return &Engine{cfg} }

// Request asks for a run.
type Request struct {
	Ref     run.Ref
	Options run.Options
	New     bool            // begin the issue's next generation: another sandbox, branch and session
	Force   bool            // also on an issue that is closed or locked
	Observe func(run.Entry) // told of every entry, in order; may be nil
}

// Report is what a run came to.
type Report struct {
	Thread *run.Thread
	Run    *run.Run
}

const (
	leaseTTL   = 20 * time.Second
	leaseRenew = 5 * time.Second
)

// Run does what is asked, or goes on with the run of that issue that an
// earlier process left unfinished. The report is nil only if no run was begun;
// the error is the run's own problem, or why none was begun.
func (e *Engine) Run(ctx context.Context, req Request) (*Report, error) {
	if err := broker.CheckPrice(req.Options.Model, req.Options.MaxCostUSD); err != nil {
		return nil, err
	}
	ctx = notice.With(ctx, func(text string) {
		if req.Observe != nil {
			req.Observe(run.Entry{Time: e.Now(), Kind: run.Notice, Text: e.Redactor.Redact(text)})
		}
	})
	repo, err := e.Hub.Repository(ctx, req.Ref.Owner, req.Ref.Repo)
	if err != nil {
		return nil, err
	}
	issue, err := e.Hub.Issue(ctx, repo.Repository, req.Ref.Number)
	if err != nil {
		return nil, err
	}
	if err := admit(repo, issue, req); err != nil {
		return nil, err
	}
	if !req.Options.DryRun {
		if err := e.Hub.MayPublish(ctx, repo); err != nil {
			return nil, err
		}
	}
	if req.New {
		if err := e.abandon(ctx, repo, issue, req.Observe); err != nil {
			return nil, err
		}
	}
	t, err := e.thread(ctx, repo, issue, req.New)
	if err != nil {
		return nil, err
	}
	lease, err := e.take(ctx, t)
	if err != nil {
		return nil, err
	}
	r, err := e.begin(ctx, lease, t, req.Options)
	if err != nil {
		return nil, errors.Join(err, e.Store.Release(context.WithoutCancel(ctx), lease))
	}
	d := &drive{Engine: e, lease: lease, thread: t, run: r, repo: repo, issue: issue, observe: req.Observe}
	if err := d.resume(ctx); err != nil {
		return nil, err
	}
	err = d.drive(ctx)
	e.tidy()
	return &Report{Thread: t, Run: r}, err
}

// resume notes that this process takes up a run that another one began. It
// gives the lease back if that fails.
func (d *drive) resume(ctx context.Context) error {
	if d.run.StartedAt.IsZero() {
		return nil
	}
	if err := d.Store.Resume(ctx, d.lease, d.run); err != nil {
		return errors.Join(err, d.Store.Release(context.WithoutCancel(ctx), d.lease))
	}
	d.say(run.Notice, "going on with run %s, which was left while %s", d.run.ID, d.run.State)
	return nil
}

// take acquires the thread's lease, or says who works on it. Who only cleans
// up is waited for.
func (e *Engine) take(ctx context.Context, t *run.Thread) (store.Lease, error) {
	for {
		lease, err := e.Store.Acquire(ctx, t.ID, e.Owner, leaseTTL, e.Dead)
		held := (*store.Held)(nil)
		switch {
		case !errors.As(err, &held):
			return lease, err
		case !held.CleansUp():
			return lease, Busy(t.Ref, held)
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return lease, err
		}
	}
}

// Busy is the fault of an issue that another process works on.
func Busy(ref run.Ref, held *store.Held) error {
	return fault.New(fault.Conflict, "%s: %w", ref, held).
		WithHint("`dayclaude runs watch %s` shows it; `dayclaude runs cancel %[1]s` stops it", ref)
}

// abandon ends the thread's unfinished run, if there is one: a new generation
// takes its place. What there is of its work becomes a patch.
func (e *Engine) abandon(ctx context.Context, repo *hub.Repository, issue *hub.Issue, observe func(run.Entry)) error {
	t, err := e.Store.Thread(ctx, repo.ID, issue.Number)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	r, err := e.Store.Latest(ctx, t.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && r.State.Final() {
		return nil
	} else if err != nil {
		return err
	}
	r.Options.NoDraft = true
	_, err = e.leave(ctx, t, r, fault.New(fault.Cancelled, "given up for a new run"), observe)
	return err
}

// Cancel ends an unfinished run that no process drives. The work so far is
// brought to safety as on every way out. A run that some process drives is a
// fault.Conflict.
func (e *Engine) Cancel(ctx context.Context, id string, observe func(run.Entry)) (*Report, error) {
	listed, err := e.Store.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := e.Store.ThreadByID(ctx, listed.ThreadID)
	if err != nil {
		return nil, err
	}
	return e.leave(ctx, t, listed.Run, stopped(t.Ref, cancelled), observe)
}

// leave takes an unfinished run over and drives it out, for a reason.
func (e *Engine) leave(ctx context.Context, t *run.Thread, r *run.Run, why error, observe func(run.Entry)) (*Report, error) {
	lease, err := e.take(ctx, t)
	if err != nil {
		return nil, err
	}
	now, err := e.Store.Run(ctx, r.ID) // its driver may have gone on until just now
	if err != nil {
		return nil, errors.Join(err, e.Store.Release(context.WithoutCancel(ctx), lease))
	}
	now.Options.NoDraft = r.Options.NoDraft
	d := &drive{Engine: e, lease: lease, thread: t, run: now.Run, observe: observe}
	report := &Report{Thread: t, Run: d.run}
	if err := d.resume(ctx); err != nil {
		return report, err
	}
	d.say(run.Notice, "it is ended here: %v", why)
	if !d.leaving() && slices.Contains(working, d.run.State) {
		if err := d.save(func() { d.end(why) }); err != nil {
			return report, errors.Join(err, e.Store.Release(context.WithoutCancel(ctx), lease))
		}
	}
	if err := d.drive(ctx); !d.run.State.Final() {
		return report, err
	}
	return report, nil
}

// thread returns the issue's thread, or begins one: the first, or with fresh
// the next generation. A generation whose branch is on GitHub already, made by
// a host that we know nothing of, is passed over.
func (e *Engine) thread(ctx context.Context, repo *hub.Repository, issue *hub.Issue, fresh bool) (*run.Thread, error) {
	ref := run.Ref{Owner: repo.Owner, Repo: repo.Name, Number: issue.Number}
	t, err := e.Store.Thread(ctx, repo.ID, issue.Number)
	generation := 1
	switch {
	case err == nil && !fresh:
		t.Ref = ref
		return t, nil
	case err == nil:
		generation = t.Generation + 1
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	for {
		_, err := e.Hub.Head(ctx, repo.Repository, run.BranchName(issue.Number, generation, issue.Title))
		if fault.KindOf(err) == fault.NotFound {
			break
		} else if err != nil {
			return nil, err
		}
		if generation++; generation > 100 {
			return nil, fault.New(fault.Conflict, "%s has a hundred branches of %s already", repo.FullName(), ref).
				WithHint("delete the old dayclaude/issue-%d branches", issue.Number)
		}
	}
	t = &run.Thread{
		ID: run.NewID("t"), RepositoryID: repo.ID, Ref: ref, Generation: generation,
		Branch: run.BranchName(issue.Number, generation, issue.Title), SessionID: uuid.NewString(),
	}
	if err := e.Store.CreateThread(ctx, t); fault.KindOf(err) != fault.Conflict {
		return t, err
	}
	return e.Store.Thread(ctx, repo.ID, issue.Number) // another process was quicker: its lease says which
}

// begin returns the thread's unfinished run, else a new one.
func (e *Engine) begin(ctx context.Context, l store.Lease, t *run.Thread, o run.Options) (*run.Run, error) {
	r, err := e.Store.Latest(ctx, t.ID)
	if err == nil && !r.State.Final() {
		return r, nil
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	r = &run.Run{ID: run.NewID("r"), ThreadID: t.ID, Options: o}
	return r, e.Store.CreateRun(ctx, l, r)
}
