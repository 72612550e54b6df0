package cmd

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/term"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

type sandboxesListOptions struct {
	all    bool
	states []string
	json   bool
}

func newSandboxesList(a *app, do func(context.Context, *sandboxesListOptions) error) *cobra.Command {
	o := &sandboxesListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List sandboxes", Args: cobra.NoArgs,
		Long: `List the sandboxes that this machine's runs made, newest first: what each is
about, what it cost so far, and what Daytona does with it next.`,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, state := range states(o.states) {
				if len(state.Follows()) == 0 {
					return fault.New(fault.Usage, "there is no state %q", state).WithHint("the usual ones are started, stopped, archived and error")
				}
			}
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "all that the Daytona key sees, with whose they are")
	c.Flags().StringSliceVar(&o.states, "state", nil, "only those in `STATE`, such as started; several with commas")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON array")
	return c
}

func (a *app) sandboxesList(ctx context.Context, o *sandboxesListOptions) error {
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		list := k.List(ctx, o.all, states(o.states)...)
		if o.json {
			return printSandboxesJSON(a.streams.Out, k, list)
		}
		return a.printSandboxes(k, list, o)
	})
}

func states(names []string) []daytona.State {
	list := make([]daytona.State, len(names))
	for i, name := range names {
		list[i] = daytona.State(name)
	}
	return list
}

// printSandboxes prints a line for each, as they come.
func (a *app) printSandboxes(k *sandboxes.Keeper, list iter.Seq2[sandboxes.Sandbox, error], o *sandboxesListOptions) error {
	columns := []term.Column{
		{Head: "NAME"}, {Head: "STATE"}, {Head: "ISSUE", Rank: 2}, {Head: "RUN", Rank: 5}, {Head: "AGE", Rank: 4},
		{Head: "ACTIVE", Rank: 3}, {Head: "SIZE", Rank: 6}, {Head: "COST", Rank: 1}, {Head: "NEXT"},
	}
	if o.all {
		columns = append(columns, term.Column{Head: "WHOSE"})
	}
	out, none := a.streams.NewListing(a.streams.Out, columns), true
	for s, err := range list {
		if err != nil {
			_ = out.Flush() // what there is helps
			return err
		}
		none = false
		row := cells(k, s)
		if o.all {
			row = append(row, whose(k, s))
		}
		if err := out.Add(row...); err != nil {
			return err
		}
	}
	switch {
	case none && len(o.states) > 0:
		fmt.Fprintln(a.streams.Err, "no sandbox is in state", strings.Join(o.states, " or "))
	case none:
		fmt.Fprintln(a.streams.Err, "no sandboxes: `dayclaude run-issue owner/repo#42` makes one")
	}
	return out.Flush()
}

// cells are a sandbox's line.
func cells(k *sandboxes.Keeper, s sandboxes.Sandbox) []string {
	v, now := sandboxOf(k, s), k.Now()
	issue := ""
	if s.Owner != nil {
		issue = s.Owner.Thread.Ref.String()
	}
	return []string{
		cmp.Or(v.Name, v.ID), string(v.State), issue, v.RunID, ago(v.CreatedAt, now), ago(v.LastActivityAt, now),
		size(v), usd(v.Cost), nextWords(s.State, sandboxes.NextOf(s.Sandbox), now),
	}
}

func ago(at *time.Time, now time.Time) string {
	if at == nil {
		return "–"
	}
	return term.Span(now.Sub(*at))
}

func size(v sandboxView) string {
	return fmt.Sprintf("%g CPU, %g+%g GiB", v.CPU, v.Memory, v.Disk)
}

func usd(cost *float64) string {
	if cost == nil {
		return "–"
	}
	return term.USD(*cost)
}

// onTheWay are the states that lead to another one.
var onTheWay = map[daytona.State]string{
	daytona.Creating: "being created", daytona.PendingBuild: "being created",
	daytona.BuildingSnapshot: "being created", daytona.PullingSnapshot: "being created",
	daytona.Starting: "being started", daytona.Resuming: "being started", daytona.Restoring: "being restored",
	daytona.Stopping: "being stopped", daytona.Pausing: "being paused",
	daytona.Archiving: "being archived", daytona.Destroying: "being deleted",
}

// nextWords says what becomes of a sandbox in that state.
func nextWords(state daytona.State, n sandboxes.Next, now time.Time) string {
	words := ""
	switch n.Step {
	case sandboxes.Changes:
		return cmp.Or(onTheWay[state], "being changed")
	case sandboxes.Stops:
		words = "stops"
	case sandboxes.Archives:
		words = "archived"
	case sandboxes.Deletes:
		words = "deleted"
	default:
		return "stays " + untrusted.Line(string(state), 40)
	}
	switch left := n.At.Sub(now); {
	case n.At.IsZero():
		words += " later"
	case left <= 0:
		words += " any moment"
	default:
		words += " in " + term.Span(left)
	}
	if n.Idle {
		words += " if idle"
	}
	return words
}

// whose says who made a sandbox.
func whose(k *sandboxes.Keeper, s sandboxes.Sandbox) string {
	switch by := untrusted.Line(s.Labels[run.LabelMadeBy], 60); {
	case k.Ours(s.Sandbox):
		return "this machine's"
	case s.Labels[run.LabelStore] == "":
		return "not dayclaude's"
	case by != "":
		return "another dayclaude's, " + by
	}
	return "another dayclaude's"
}

// sandboxView is the documented object of sandboxes list --json:
// docs/sandboxes.md.
type sandboxView struct {
	ID             string        `json:"id"`
	Name           string        `json:"name"`
	State          daytona.State `json:"state"`
	Repo           string        `json:"repo"`
	Issue          int           `json:"issue"`
	RunID          string        `json:"run_id"`
	Ours           bool          `json:"ours"`
	MadeBy         string        `json:"made_by"`
	CreatedAt      *time.Time    `json:"created_at"`
	LastActivityAt *time.Time    `json:"last_activity_at"`
	CPU            float64       `json:"cpu"`
	Memory         float64       `json:"memory_gib"`
	Disk           float64       `json:"disk_gib"`
	Cost           *float64      `json:"cost_usd"`
	Next           nextView      `json:"next"`
}

type nextView struct {
	Step sandboxes.Step `json:"step"`
	At   *time.Time     `json:"at"`
	Idle bool           `json:"if_idle"`
}

// sandboxOf is a sandbox as it is printed. What Daytona says is cleaned.
func sandboxOf(k *sandboxes.Keeper, s sandboxes.Sandbox) sandboxView {
	n := sandboxes.NextOf(s.Sandbox)
	v := sandboxView{
		ID: untrusted.Line(s.ID, 100), Name: untrusted.Line(s.Name, 200), State: daytona.State(untrusted.Line(string(s.State), 40)),
		Ours: k.Ours(s.Sandbox), MadeBy: untrusted.Line(s.Labels[run.LabelMadeBy], 200),
		CreatedAt: moment(s.CreatedAt.Time), LastActivityAt: moment(s.LastActivityAt.Time),
		CPU: s.CPU, Memory: s.Memory, Disk: s.Disk,
		Next: nextView{n.Step, moment(n.At), n.Idle},
	}
	if cost, known := s.USD(k.Now()); known {
		cost = math.Round(cost*1e6) / 1e6
		v.Cost = &cost
	}
	if o := s.Owner; o != nil {
		v.Repo, v.Issue = o.Thread.Ref.FullName(), o.Thread.Ref.Number
		if o.Run != nil {
			v.RunID = o.Run.ID
		}
	}
	return v
}

// moment is a time as JSON has it: null, not the year 1.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// printSandboxesJSON prints an array, an object a line, as they come. The
// array is whole also where an error ends it.
func printSandboxesJSON(w io.Writer, k *sandboxes.Keeper, list iter.Seq2[sandboxes.Sandbox, error]) error {
	out, before := bufio.NewWriter(w), "["
	for s, err := range list {
		if err != nil && before == "[" {
			return err
		} else if err != nil {
			out.WriteString("]\n")
			return errors.Join(err, out.Flush())
		}
		out.WriteString(before)
		if err := writeJSON(out, sandboxOf(k, s)); err != nil {
			return err
		}
		before = ","
	}
	if before == "[" {
		out.WriteString(before)
	}
	out.WriteString("]\n")
	return out.Flush()
}
