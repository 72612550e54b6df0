package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/term"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

type sandboxesShowOptions struct {
	what string
	all  bool
	json bool
}

func newSandboxesShow(a *app, do func(context.Context, *sandboxesShowOptions) error) *cobra.Command {
	o := &sandboxesShowOptions{}
	c := &cobra.Command{
		Use: "show SANDBOX", Short: "Show one sandbox", Args: one("SANDBOX"),
		Long: `Show all about one sandbox: what it cost, what it may reach, what Daytona does
with it next, the runs that worked in it, and what can be done with it.

` + targetWords,
		ValidArgsFunction: a.completeSandbox,
		RunE: func(c *cobra.Command, args []string) error {
			o.what = args[0]
			return do(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.all, "all", false, "also a sandbox that this machine's dayclaude did not make")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// shownSandbox is the documented object of sandboxes show --json:
// docs/sandboxes.md.
type shownSandbox struct {
	sandboxView
	Snapshot    string            `json:"snapshot"`
	Region      string            `json:"region"`
	User        string            `json:"user"`
	Public      bool              `json:"public"`
	Network     networkView       `json:"network"`
	AutoStop    *int              `json:"auto_stop_minutes"`
	AutoArchive *int              `json:"auto_archive_minutes"`
	AutoDelete  *int              `json:"auto_delete_minutes"`
	Labels      map[string]string `json:"labels"`
	Error       string            `json:"error"`
	Recoverable bool              `json:"recoverable"`
	Driver      string            `json:"driver"`
	Runs        []sandboxRun      `json:"runs"`
}

type networkView struct {
	BlockAll bool     `json:"block_all"`
	Domains  []string `json:"domains"`
}

type sandboxRun struct {
	ID        string    `json:"run_id"`
	State     run.State `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	Cost      float64   `json:"cost_usd"`
}

func (a *app) sandboxesShow(ctx context.Context, o *sandboxesShowOptions) error {
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		s, err := k.Find(ctx, o.what)
		switch {
		case err != nil:
			return err
		case !k.Ours(s.Sandbox) && !o.all:
			return foreign(s)
		}
		v, err := lookInto(ctx, k, s)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(a.streams.Out, v)
		}
		return a.printSandbox(k, s, v)
	})
}

// lookInto reads all that is known of a sandbox.
func lookInto(ctx context.Context, k *sandboxes.Keeper, s sandboxes.Sandbox) (shownSandbox, error) {
	v := shownSandbox{
		sandboxView: sandboxOf(k, s),
		Snapshot:    untrusted.Line(s.Snapshot, 200), Region: untrusted.Line(s.Target, 100), User: untrusted.Line(s.User, 100),
		Public: s.Public, Network: networkView{s.NetworkBlockAll, []string{}},
		AutoStop: s.AutoStop, AutoArchive: s.AutoArchive, AutoDelete: s.AutoDelete,
		Labels: map[string]string{}, Error: untrusted.Line(s.ErrorReason, 1000), Recoverable: s.Recoverable, Runs: []sandboxRun{},
	}
	for _, name := range s.Domains {
		v.Network.Domains = append(v.Network.Domains, untrusted.Line(name, 253))
	}
	for name, value := range s.Labels {
		v.Labels[untrusted.Line(name, 200)] = untrusted.Line(value, 200)
	}
	if s.Owner == nil {
		return v, nil
	}
	if alive(s.Owner.Held) {
		v.Driver = s.Owner.Held.Owner
	}
	runs, err := k.Store.RunsOn(ctx, s.Owner.Thread.ID)
	for _, r := range runs {
		v.Runs = append(v.Runs, sandboxRun{r.ID, r.State, r.CreatedAt, r.Cost.USD})
	}
	return v, err
}

func (a *app) printSandbox(k *sandboxes.Keeper, s sandboxes.Sandbox, v shownSandbox) error {
	out, name := a.streams.Out, nameOf(s)
	a.streams.Table(out, []string{"sandbox", name}, describeSandbox(k, s, v))
	if len(v.Runs) > 0 {
		fmt.Fprintln(out)
		runs := a.streams.NewListing(out, []term.Column{{Head: "RUN"}, {Head: "STATE"}, {Head: "BEGAN", Rank: 1}, {Head: "COST"}})
		for _, r := range v.Runs {
			if err := runs.Add(r.ID, string(r.State), r.CreatedAt.Local().Format("2006-01-02 15:04"), term.USD(r.Cost)); err != nil {
				return err
			}
		}
		if err := runs.Flush(); err != nil {
			return err
		}
	}
	steps := nextSteps(s, v, name)
	fmt.Fprintln(out)
	a.streams.Table(out, steps[0], steps[1:])
	return nil
}

// describeSandbox is a sandbox as rows of names and values; what is empty is
// left out.
func describeSandbox(k *sandboxes.Keeper, s sandboxes.Sandbox, v shownSandbox) [][]string {
	now := k.Now()
	rows := [][]string{
		{"id", v.ID}, {"state", string(v.State)}, {"problem", v.Error},
		{"next", nextWords(s.State, sandboxes.NextOf(s.Sandbox), now)},
		{"issue", issueOf(s)}, {"driven by", v.Driver},
		{"whose", whose(k, s)},
		{"made", since(v.CreatedAt, now)}, {"active", since(v.LastActivityAt, now)},
		{"cost", usd(v.Cost)}, {"size", fmt.Sprintf("%g CPU, %g GiB memory, %g GiB disk", v.CPU, v.Memory, v.Disk)},
		{"snapshot", v.Snapshot}, {"region", v.Region}, {"user", v.User},
		{"network", networkWords(v)}, {"intervals", intervalWords(v)},
	}
	for _, label := range slices.Sorted(maps.Keys(v.Labels)) {
		rows = append(rows, []string{"label", label + " = " + v.Labels[label]})
	}
	return slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
}

func issueOf(s sandboxes.Sandbox) string {
	if s.Owner == nil {
		return ""
	}
	return s.Owner.Thread.Ref.String()
}

func since(at *time.Time, now time.Time) string {
	if at == nil {
		return ""
	}
	return at.Local().Format(time.DateTime) + ", " + ago(at, now) + " ago"
}

func networkWords(v shownSandbox) string {
	words := "open"
	switch {
	case len(v.Network.Domains) > 0:
		words = "only " + strings.Join(v.Network.Domains, ", ")
	case v.Network.BlockAll:
		words = "none"
	}
	if v.Public {
		words += "; its previews are public"
	}
	return words
}

// intervalWords say when Daytona does something by itself.
func intervalWords(v shownSandbox) string {
	span := func(minutes *int) string { return term.Span(time.Duration(*minutes) * time.Minute) }
	var words []string
	if n := v.AutoStop; n != nil && *n > 0 {
		words = append(words, "stopped after "+span(n)+" idle")
	}
	if n := v.AutoArchive; n != nil && *n > 0 {
		words = append(words, "archived after "+span(n)+" stopped")
	}
	switch n := v.AutoDelete; {
	case n != nil && *n == 0:
		words = append(words, "deleted when it stops")
	case n != nil && *n > 0:
		words = append(words, "deleted after "+span(n)+" stopped")
	}
	return strings.Join(words, ", ")
}

// nextSteps are rows of commands that suit the sandbox's state.
func nextSteps(s sandboxes.Sandbox, v shownSandbox, name string) [][]string {
	row := func(verb, words string) []string {
		return []string{"", "dayclaude sandboxes " + verb + "  (" + words + ")"}
	}
	var rows [][]string
	switch {
	case v.Driver != "":
		rows = append(rows, []string{"", "dayclaude runs watch " + v.RunID + "  (shows what happens in it)"})
	case s.State.Failed() && s.Recoverable:
		rows = append(rows, row("start "+name, "has Daytona mend it"))
	case s.State == daytona.Stopped, s.State == daytona.Archived, s.State == daytona.Paused:
		rows = append(rows, row("start "+name, "starts it"))
	}
	if s.State == daytona.Started {
		rows = append(rows, row("ssh "+name, "enters it"), row("preview "+name+" 8000", "opens its port 8000"))
	}
	if v.Driver == "" && s.State == daytona.Started {
		rows = append(rows, row("stop "+name, "stops it; its files stay"))
	}
	if v.Driver == "" {
		rows = append(rows, row("delete "+name, "deletes it with all that is in it"))
	}
	rows[0][0] = "next:"
	return rows
}
