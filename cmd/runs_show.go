package cmd

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/term"
)

type runsShowOptions struct {
	id   string
	json bool
}

func newRunsShow(a *app, do func(context.Context, *runsShowOptions) error) *cobra.Command {
	o := &runsShowOptions{}
	c := &cobra.Command{
		Use: "show RUN", Short: "Show one run", Args: one("RUN"),
		Long: `Show one run: what it came to, where its work is, its way through its steps, and
each process that had a hand in it.

RUN is the beginning of its id, or owner/repo#42 for the issue's newest run.`,
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// shown is the documented object of runs show --json: docs/runs.md.
type shown struct {
	result
	CreatedAt time.Time       `json:"created_at"`
	Driver    string          `json:"driver"` // the process that works on it, "" if none does
	Steps     []store.Step    `json:"steps"`
	Attempts  []store.Attempt `json:"attempts"`
}

func (a *app) runsShow(ctx context.Context, o *runsShowOptions) error {
	return a.withRun(ctx, o.id, func(s *store.Store, r store.Listed) error {
		v, t, err := look(ctx, s, r)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(a.streams.Out, v)
		}
		a.printRun(r, t, v)
		return nil
	})
}

// printRun shows a run on Out.
func (a *app) printRun(r store.Listed, t *run.Thread, v shown) {
	out, steps := a.streams.Out, next(r, v)
	kept := filepath.Join(config.StateDir(a.env), "runs", r.ID)
	if _, err := os.Stat(kept); err != nil {
		kept = ""
	}
	a.streams.Table(out, []string{"run", r.ID}, describe(r, t, v, kept))
	fmt.Fprintln(out)
	a.streams.Table(out, []string{"STEP", "ATTEMPT", "BEGAN", "TOOK", "COST"}, timeline(r.Run, v))
	fmt.Fprintln(out)
	a.streams.Table(out, []string{"ATTEMPT", "BEGAN", "LAST SEEN", "ENDED", "BY"}, attempts(v))
	fmt.Fprintln(out)
	a.streams.Table(out, steps[0], steps[1:])
}

// look reads all that is stored of a run.
func look(ctx context.Context, s *store.Store, r store.Listed) (shown, *run.Thread, error) {
	t, err := s.ThreadByID(ctx, r.ThreadID)
	if err != nil {
		return shown{}, nil, err
	}
	v := shown{CreatedAt: r.CreatedAt}
	if v.result, err = storedResult(ctx, s, r); err != nil {
		return shown{}, nil, err
	}
	if v.Steps, err = s.Steps(ctx, r.ID); err != nil {
		return shown{}, nil, err
	}
	if v.Attempts, err = s.Attempts(ctx, r.ID); err != nil {
		return shown{}, nil, err
	}
	if !r.State.Final() {
		held, err := driver(ctx, s, r)
		if err != nil {
			return shown{}, nil, err
		} else if held != nil {
			v.Driver = held.Owner
		}
	}
	return v, t, nil
}

// describe is a run as rows of names and values; what is empty is left out.
// kept is where it left files on this machine.
func describe(r store.Listed, t *run.Thread, v shown, kept string) [][]string {
	rows := [][]string{
		{"issue", r.Ref.String()},
		{"state", string(r.State)},
		{"driven by", v.Driver},
		{"began", r.CreatedAt.Local().Format(time.DateTime)},
		{"took", term.Duration(max(seen(r.Run, v).Sub(cmp.Or(r.StartedAt, r.CreatedAt)), 0))},
		{"cost", fmt.Sprintf("%s (%s tokens in, %s out, sandbox %s)", term.USD(v.Cost.USD), term.Tokens(v.Cost.InputTokens),
			term.Tokens(v.Cost.OutputTokens), term.Duration(time.Duration(v.Cost.SandboxSeconds*float64(time.Second))))},
		{"model", r.Options.Model},
		{"branch", v.Branch},
		{"commit", v.Commit},
	}
	if v.PullRequest != nil {
		rows = append(rows, []string{"pull request", v.PullRequest.URL})
	}
	rows = append(rows, []string{"patch", v.PatchFile}, []string{"kept in", kept}, []string{"sandbox", t.SandboxID})
	if v.Error != nil {
		rows = append(rows, []string{"problem", v.Error.Message}, []string{"hint", v.Error.Hint})
	}
	return slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
}

// timeline is a row for each step.
func timeline(r *run.Run, v shown) [][]string {
	rows := make([][]string, len(v.Steps))
	for i, st := range v.Steps {
		left, usd := st.LeftAt, r.Cost.USD
		if i+1 < len(v.Steps) {
			usd = v.Steps[i+1].CostUSD
		} else {
			left = seen(r, v)
		}
		took, cost := "", ""
		if !st.State.Final() {
			took = term.Duration(left.Sub(st.EnteredAt))
		}
		if usd-st.CostUSD >= 0.00005 { // less is no digit that is shown
			cost = term.USD(usd - st.CostUSD)
		}
		rows[i] = []string{string(st.State), strconv.Itoa(st.Attempt), clock(st.EnteredAt, r.CreatedAt), took, cost}
	}
	return rows
}

// seen is until when the run is known to have gone on.
func seen(r *run.Run, v shown) time.Time {
	switch n := len(v.Attempts); {
	case r.State.Final():
		return r.EndedAt
	case v.Driver == "" && n > 0:
		return v.Attempts[n-1].SeenAt
	}
	return time.Now()
}

// clock is a time of a run: with the day, if that is not the run's first.
func clock(at, first time.Time) string {
	at, first = at.Local(), first.Local()
	if at.YearDay() == first.YearDay() && at.Year() == first.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format("2 Jan 15:04:05")
}

// attempts is a row for each process that drove the run.
func attempts(v shown) [][]string {
	last := map[int]run.State{} // by attempt
	for _, st := range v.Steps {
		last[st.Attempt] = st.State
	}
	rows := make([][]string, len(v.Attempts))
	for i, at := range v.Attempts {
		state := last[at.Number]
		ended := string(state)
		switch {
		case state.Final() || state == run.Parked && at.Ended == store.LetGo:
		case at.Ended == store.LetGo:
			ended = "gave up while " + ended
		case at.Ended == store.Killed:
			ended = "killed while " + ended
		case at.Ended == store.Silent:
			ended = "asleep or cut off while " + ended
		case v.Driver == "":
			ended = "gone while " + ended
		default:
			ended = "goes on, " + ended
		}
		who := at.Owner
		if who == "" {
			who = "not recorded"
		}
		rows[i] = []string{strconv.Itoa(at.Number), clock(at.BeganAt, v.CreatedAt), clock(at.SeenAt, v.CreatedAt), ended, who}
	}
	return rows
}

// next are the commands that help on with the run now.
func next(r store.Listed, v shown) [][]string {
	rows := [][]string{
		{"next:", "dayclaude runs logs " + r.ID, "tells what happened"},
		{"", "dayclaude runs retry " + r.ID, "runs it again with its options"},
	}
	switch {
	case r.State.Final() && v.Error == nil:
		return rows[:1]
	case r.State.Final():
		return rows
	case v.Driver != "":
		rows[0][1], rows[0][2] = "dayclaude runs watch "+r.ID, "shows it at work"
	default:
		rows[0][1], rows[0][2] = "dayclaude run-issue "+r.Ref.String(), "goes on with it"
	}
	rows[1][1], rows[1][2] = "dayclaude runs cancel "+r.ID, "ends it"
	return rows
}
