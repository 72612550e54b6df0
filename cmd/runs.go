package cmd

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/term"
)

func newRuns(a *app) *cobra.Command {
	c := &cobra.Command{Use: "runs", Short: "Look at the runs of this machine"}
	c.AddCommand(newRunsList(a, a.runsList), newRunsShow(a, a.runsShow), newRunsLogs(a, a.runsLogs))
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
	a.streams.Table(a.streams.Out, []string{"RUN", "ISSUE", "STATE", "BEGAN", "TOOK", "COST", "CAME TO"}, rows)
	return nil
}

// storedResult is a stored run as --json shows it.
func storedResult(ctx context.Context, s *store.Store, r store.Listed) (result, error) {
	t, err := s.ThreadByID(ctx, r.ThreadID)
	if err != nil {
		return result{}, err
	}
	var problem error
	if r.Outcome != nil {
		problem = r.Outcome.Problem.Err()
	}
	return resultOf(&engine.Report{Thread: t, Run: r.Run}, problem), nil
}

type runsShowOptions struct {
	id   string
	json bool
}

func newRunsShow(a *app, do func(context.Context, *runsShowOptions) error) *cobra.Command {
	o := &runsShowOptions{}
	c := &cobra.Command{
		Use: "show ID", Short: "Show one run", Args: one("ID"),
		Long: "Show one run. The beginning of its id is enough.",
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

func (a *app) runsShow(ctx context.Context, o *runsShowOptions) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.Run(ctx, o.id)
	if err != nil {
		return err
	}
	v, err := storedResult(ctx, s, r)
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(a.streams.Out, v)
	}
	steps, err := s.Steps(ctx, r.ID)
	if err != nil {
		return err
	}
	a.streams.Table(a.streams.Out, []string{"run", r.ID}, describe(r, v, steps))
	return nil
}

// describe is a run as rows of names and values; what is empty is left out.
func describe(r store.Listed, v result, steps []store.Step) [][]string {
	pull := ""
	if v.PullRequest != nil {
		pull = v.PullRequest.URL
	}
	rows := [][]string{
		{"issue", r.Ref.String()},
		{"state", string(r.State)},
		{"began", r.CreatedAt.Local().Format(time.DateTime)},
		{"took", term.Duration(duration(r.Run))},
		{"cost", fmt.Sprintf("%s (%s tokens in, %s out, sandbox %s)", term.USD(v.Cost.USD), term.Tokens(v.Cost.InputTokens),
			term.Tokens(v.Cost.OutputTokens), term.Duration(time.Duration(v.Cost.SandboxSeconds*float64(time.Second))))},
		{"model", r.Options.Model},
		{"branch", v.Branch},
		{"commit", v.Commit},
		{"pull request", pull},
		{"patch", v.PatchFile},
	}
	if v.Error != nil {
		rows = append(rows, []string{"problem", strings.ReplaceAll(v.Error.Message, "\n", "\n          ")}, []string{"hint", v.Error.Hint})
	}
	for i, st := range steps {
		took := ""
		if i+1 < len(steps) {
			took = "  " + term.Duration(steps[i+1].EnteredAt.Sub(st.EnteredAt))
		}
		name := ""
		if i == 0 {
			name = "steps"
		}
		rows = append(rows, []string{name, st.EnteredAt.Local().Format(time.TimeOnly) + "  " + string(st.State) + took})
	}
	kept := rows[:0]
	for _, row := range rows {
		if row[1] != "" {
			kept = append(kept, row)
		}
	}
	return kept
}

type runsLogsOptions struct {
	id     string
	follow bool
	json   bool
}

func newRunsLogs(a *app, do func(context.Context, *runsLogsOptions) error) *cobra.Command {
	o := &runsLogsOptions{}
	c := &cobra.Command{
		Use: "logs ID", Short: "Print what happened in a run", Args: one("ID"),
		Long: "Print what happened in a run: its steps, what Claude said and did, and the\noutput of set-up and check. The beginning of the id is enough.",
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the run ends")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return c
}

func (a *app) runsLogs(ctx context.Context, o *runsLogsOptions) error {
	const page, pollEvery = 500, 300 * time.Millisecond
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	var last int64
	for {
		// The state first: entries stored before the end are then all read.
		r, err := s.Run(ctx, o.id)
		if err != nil {
			return err
		}
		entries, err := s.Entries(ctx, r.ID, last, page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			last = e.Number
			if err := a.printEntry(e, o.json); err != nil {
				return err
			}
		}
		switch {
		case len(entries) == page:
		case !o.follow || r.State.Final():
			return nil
		default:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pollEvery):
			}
		}
	}
}

func (a *app) printEntry(e run.Entry, asJSON bool) error {
	if asJSON {
		return writeJSON(a.streams.Out, e)
	}
	if line := term.Line(e); line != "" {
		_, err := fmt.Fprintln(a.streams.Out, line)
		return err
	}
	return nil
}
