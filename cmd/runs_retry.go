package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

type runsRetryOptions struct {
	id    string
	fresh bool
	force bool
	showing
}

func newRunsRetry(a *app, do func(context.Context, *runsRetryOptions) error) *cobra.Command {
	o := &runsRetryOptions{}
	c := &cobra.Command{
		Use: "retry RUN", Short: "Run an issue again with a run's options",
		Long: `Run an issue again with the options that a run had, such as its model and its
limits: a new run in the issue's sandbox, session and branch. A run that has not
ended is taken up where it stands.

RUN is the beginning of its id, or owner/repo#42 for the issue's newest run.`,
		Args: one("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.fresh, "new", false, "begin anew: another sandbox, branch and session")
	f.BoolVar(&o.force, "force", false, "work on the issue although it is closed or locked")
	o.addFlags(f)
	return c
}

func (a *app) runsRetry(ctx context.Context, o *runsRetryOptions) error {
	var r store.Listed
	err := a.withRun(ctx, o.id, func(_ *store.Store, found store.Listed) error { r = found; return nil })
	if err != nil {
		return err
	}
	settings, err := a.settings(ctx, nil)
	if err != nil {
		return err
	}
	settings.Snapshot = r.Options.Snapshot
	j := job{ref: r.Ref, local: r.Options.Local, fresh: o.fresh, showing: o.showing}
	report, err := a.drive(ctx, settings, j, func(ctx context.Context, e *engine.Engine, observe func(run.Entry)) (*engine.Report, error) {
		return e.Run(ctx, engine.Request{Ref: r.Ref, Options: r.Options, New: o.fresh, Force: o.force, Observe: observe})
	})
	if report == nil {
		return a.offerToWatch(ctx, r.Ref, err, o.showing)
	}
	return a.told(report, err, o.json)
}
