package cmd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/term"
)

func newRuns(a *app) *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "Look at the runs of this machine, and end or repeat them"}
	c.AddCommand(
		newRunsList(a, a.runsList), newRunsShow(a, a.runsShow), newRunsLogs(a, a.runsLogs),
		newRunsWatch(a, a.runsWatch), newRunsCancel(a, a.runsCancel), newRunsRetry(a, a.runsRetry),
	)
	return c
}

// openStore opens this machine's store.
func (a *app) openStore(ctx context.Context) (*store.Store, error) {
	return store.Open(ctx, config.StateDir(a.env), time.Now)
}

type runsListOptions struct {
	limit int
	json  bool
}

func newRunsList(a *app, do func(context.Context, *runsListOptions) error) *cobra.Command {
	o := &runsListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.limit < 1 {
				return fault.New(fault.Usage, "--limit must be at least 1")
			}
			return do(c.Context(), o)
		},
	}
	c.Flags().IntVarP(&o.limit, "limit", "L", 30, "how many")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON array")
	return c
}

func (a *app) runsList(ctx context.Context, o *runsListOptions) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	runs, err := s.Runs(ctx, o.limit)
	if err != nil {
		return err
	}
	if o.json {
		results := make([]result, len(runs))
		for i, r := range runs {
			if results[i], err = storedResult(ctx, s, r); err != nil {
				return err
			}
		}
		return writeJSON(a.streams.Out, results)
	}
	if len(runs) == 0 {
		fmt.Fprintln(a.streams.Err, "no runs yet: `dayclaude run-issue owner/repo#42` makes one, `dayclaude demo` shows one")
		return nil
	}
	a.listRuns(a.streams.Out, runs)
	return nil
}

// listRuns prints a line for each run.
func (a *app) listRuns(w io.Writer, runs []store.Listed) {
	rows := make([][]string, len(runs))
	for i, r := range runs {
		came := ""
		if r.Outcome != nil {
			problem, _, _ := strings.Cut(r.Outcome.Problem.Message, "\n")
			came = cmp.Or(r.Outcome.URL, problem, r.Outcome.PatchFile)
		}
		rows[i] = []string{
			r.ID, r.Ref.String(), string(r.State), r.CreatedAt.Local().Format("2006-01-02 15:04"),
			term.Duration(duration(r.Run)), term.USD(r.Cost.USD), came,
		}
	}
	a.streams.Table(w, []string{"RUN", "ISSUE", "STATE", "BEGAN", "TOOK", "COST", "CAME TO"}, rows)
}

// storedResult is a stored run as --json shows it.
func storedResult(ctx context.Context, s *store.Store, r store.Listed) (result, error) {
	t, err := s.ThreadByID(ctx, r.ThreadID)
	if err != nil {
		return result{}, err
	}
	return resultOf(&engine.Report{Thread: t, Run: r.Run}, problemOf(r.Run)), nil
}
