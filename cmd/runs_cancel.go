package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

type runsCancelOptions struct {
	id string
	showing
}

func newRunsCancel(a *app, do func(context.Context, *runsCancelOptions) error) *cobra.Command {
	o := &runsCancelOptions{}
	c := &cobra.Command{
		Use: "cancel RUN", Short: "Cancel a run",
		Long: `Cancel a run: Claude is stopped, the work so far is brought to safety as Ctrl-C
of run-issue does it, and the issue is told. The process that drives the run
does that; where none does any more, this one.

RUN is the beginning of its id, or owner/repo#42 for the issue's newest run.
Ctrl-C only ends the waiting for a run that another process cancels.`,
		Args: one("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	return c
}

func (a *app) runsCancel(ctx context.Context, o *runsCancelOptions) error {
	return a.withRun(ctx, o.id, func(s *store.Store, r store.Listed) error { return a.cancel(ctx, s, r, o.showing) })
}

// cancel asks for the run's end and shows how that goes.
func (a *app) cancel(ctx context.Context, s *store.Store, r store.Listed, how showing) error {
	if r.State.Final() {
		return fault.New(fault.Conflict, "run %s of %s has ended already: %s", r.ID, r.Ref, r.State).
			WithHint("`dayclaude runs show %s` tells what it came to", r.ID)
	}
	asked := time.Now()
	if err := s.AskCancel(ctx, r.ID); err != nil {
		return err
	}
	report, err := a.awaitCancel(ctx, s, r, asked, how)
	if err != nil {
		return err
	}
	if got := report.Run.State; got != run.Cancelled {
		return fault.New(fault.Conflict, "run %s ended before it could be cancelled: %s", r.ID, got).
			WithHint("`dayclaude runs show %s` tells what it came to", r.ID)
	}
	if how.json {
		return writeJSON(a.streams.Out, resultOf(report, problemOf(report.Run)))
	}
	a.printBroken(report.Run)
	fmt.Fprintf(a.streams.Err, "run %s of %s is cancelled\n", r.ID, r.Ref)
	return nil
}

// awaitCancel shows how the process that drives the run cancels it. If there
// is none, or it dies, this one does it.
func (a *app) awaitCancel(ctx context.Context, s *store.Store, r store.Listed, asked time.Time, how showing) (*engine.Report, error) {
	for {
		view := a.view(r.Ref, how)
		now, err := follow(ctx, s, r, func(e run.Entry) error {
			if !e.Time.Before(asked) {
				view.Show(e)
			}
			return nil
		})
		view.Close()
		switch {
		case errors.Is(err, context.Canceled):
			return nil, fault.New(fault.Cancelled, "no longer waiting: run %s stays asked to end", r.ID)
		case err == nil && now.State.Final():
			t, err := s.ThreadByID(ctx, now.ThreadID)
			return &engine.Report{Thread: t, Run: now.Run}, err
		case err != nil && !errors.Is(err, errLeft):
			return nil, err
		}
		settings, err := a.settings(ctx, nil)
		if err != nil {
			return nil, err
		}
		report, err := a.drive(ctx, settings, job{ref: r.Ref, showing: how}, func(ctx context.Context, e *engine.Engine, observe func(run.Entry)) (*engine.Report, error) {
			return e.Cancel(ctx, r.ID, observe)
		})
		if held := (*store.Held)(nil); !errors.As(err, &held) {
			return report, err
		} // somebody has just taken it up, and is asked, too
	}
}
