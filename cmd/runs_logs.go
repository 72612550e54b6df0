package cmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

type runsLogsOptions struct {
	id     string
	follow bool
	all    bool
	json   bool
}

func newRunsLogs(a *app, do func(context.Context, *runsLogsOptions) error) *cobra.Command {
	o := &runsLogsOptions{}
	c := &cobra.Command{
		Use: "logs RUN", Short: "Print what happened in a run", Args: one("RUN"),
		Long: `Print what happened in a run: its steps, Claude's turns with what each cost, and
the output of set-up and check, of which a long one is shown without its middle.

RUN is the beginning of its id, or owner/repo#42 for the issue's newest run.`,
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the run ends")
	c.Flags().BoolVarP(&o.all, "all", "a", false, "leave nothing out")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return c
}

func (a *app) runsLogs(ctx context.Context, o *runsLogsOptions) error {
	log := a.streams.NewLog(o.all)
	show := log.Show
	if o.json {
		show = func(e run.Entry) error { return writeJSON(a.streams.Out, e) }
	}
	err := a.withRun(ctx, o.id, func(s *store.Store, r store.Listed) (err error) {
		if o.follow {
			_, err = follow(ctx, s, r, show)
		} else {
			_, err = pages(ctx, s, r.ID, 0, show)
		}
		return err
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, log.Flush())
}
