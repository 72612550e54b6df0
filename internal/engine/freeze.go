package engine

import (
	"cmp"
	"context"
	"errors"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/report"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// freeze fixes what the run works on, and then says on the issue that the work
// has begun. What is frozen once stays, also for the process that goes on.
func (d *drive) freeze(ctx context.Context) (run.State, error) {
	d.say(run.Began, "reading %s", d.thread.Ref)
	if d.run.Frozen == nil {
		if err := d.fix(ctx); err != nil {
			return "", err
		}
	}
	if err := d.loadSettings(); err != nil {
		return "", err
	}
	if err := d.comment(ctx, report.Working(*d.thread, *d.run)); err != nil {
		return "", err
	}
	if d.run.Result != nil {
		return run.Merging, nil
	}
	return run.Provisioning, nil
}

// fix stores what the run works on.
func (d *drive) fix(ctx context.Context) error {
	frozen, err := d.look(ctx)
	if err != nil {
		return err
	}
	if frozen.Actor == hub.WorkflowBot && !d.run.Options.DryRun {
		d.say(run.Notice, "the GitHub token is a workflow's own: GitHub runs no checks on a pull request made with it, "+
			"but does on one made with a GitHub App's or a personal token")
	}
	before, err := d.Store.Before(ctx, d.run)
	if errors.Is(err, store.ErrNotFound) {
		return d.save(func() { d.run.Frozen = frozen })
	} else if err != nil {
		return err
	}
	frozen.Unfinished = frozen.BranchHead != "" && unfinished(before)
	if taken, err := d.takeOver(before, frozen); taken || err != nil {
		return err
	}
	return d.save(func() {
		d.run.Frozen = frozen
		// What an earlier run did and did not publish is gone from the tree: a
		// session that remembers doing it would take it for done.
		if frozen.BranchHead == "" {
			d.thread.SessionID = uuid.NewString()
		}
	})
}

// look reads what is to be frozen.
func (d *drive) look(ctx context.Context) (*run.Frozen, error) {
	repo := d.repo.Repository
	f := &run.Frozen{Repository: repo, Issue: d.issue.Issue, WebURL: d.repo.WebURL, Base: d.run.Options.Base, At: d.Now().UTC()}
	if f.Base == "" {
		f.Base = repo.DefaultBranch
	}
	var base string
	asking, ctx := errgroup.WithContext(ctx)
	asking.Go(func() (err error) { f.Actor, err = d.Hub.Viewer(ctx); return err })
	asking.Go(func() (err error) {
		if base, err = d.Hub.Head(ctx, repo, f.Base); fault.KindOf(err) == fault.NotFound {
			return fault.New(fault.Usage, "%s has no branch %q: %w", repo.FullName(), f.Base, err).
				WithHint("--base takes the name of a branch that is there; without it the default branch is the base")
		}
		return err
	})
	asking.Go(func() (err error) {
		f.BranchHead, err = d.Hub.Head(ctx, repo, d.thread.Branch)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		return err
	})
	asking.Go(func() (err error) {
		f.Settings, _, err = d.Hub.File(ctx, repo, repo.DefaultBranch, config.RepositoryFile)
		return err
	})
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	// A follow-up stands on what the runs before it pushed.
	f.BaseCommit = cmp.Or(f.BranchHead, base)
	return f, nil
}

// loadSettings reads the frozen settings and lowers the run's limits to the
// repository's.
func (d *drive) loadSettings() error {
	if d.settings != nil {
		return nil
	}
	settings, err := config.ParseRepository(d.run.Frozen.Settings)
	if err != nil {
		return err
	}
	return d.save(func() {
		d.settings = settings
		d.run.Options = settings.Limits.Lower(d.run.Options)
	})
}

// comment makes the thread's comment on the issue say body. A dry run says
// nothing.
func (d *drive) comment(ctx context.Context, body string) error {
	if d.run.Options.DryRun {
		return nil
	}
	f := d.run.Frozen
	id, _, err := d.Hub.Comment(ctx, f.Repository, f.Issue.Number, d.thread.CommentID, report.Marker(*d.thread), d.Redactor.Redact(body))
	if err != nil || id == d.thread.CommentID {
		return err
	}
	return d.save(func() { d.thread.CommentID = id })
}
