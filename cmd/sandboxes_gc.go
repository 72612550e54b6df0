package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
)

type sandboxesGCOptions struct{ dryRun, json bool }

func newSandboxesGC(a *app, do func(context.Context, *sandboxesGCOptions) error) *cobra.Command {
	o := &sandboxesGCOptions{}
	c := &cobra.Command{
		Use: "gc", Short: "Bring sandboxes in line with the runs, as from cron", Args: cobra.NoArgs,
		Long: fmt.Sprintf(`Bring Daytona's sandboxes in line with the runs of this machine: what belongs to
no run is deleted, so is what broke or was replaced, and what runs for nobody is
stopped. The sandbox of a run that can go on stays. Nothing is touched in which
something happened less than %d minutes ago, that a run works in, or that
another machine's dayclaude made.

It is made for cron: it asks nothing and says nothing when there is nothing to
do. Any number of them may run at once, beside runs and each other.`, run.IdleMinutes),
		RunE: func(c *cobra.Command, _ []string) error { return do(c.Context(), o) },
	}
	c.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "only say what would be done")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

func (a *app) sandboxesGC(ctx context.Context, o *sandboxesGCOptions) error {
	return a.withCleaner(ctx, func(c *sandboxes.Cleaner) error {
		found, seen, err := c.Find(ctx, false, sandboxes.GC)
		if err != nil {
			return err
		}
		if len(found) == 0 && !o.json && a.streams.Terminal() {
			fmt.Fprintf(a.streams.Err, "nothing to do: %s, all as it should be\n", howMany(seen))
		}
		if !o.dryRun {
			found = a.clean(ctx, c, found, sandboxes.GC)
		}
		return a.printCleaned(c.Keeper, cleaned{DryRun: o.dryRun, Seen: seen, found: found}, o.json)
	})
}

// withCleaner does something with what cleans up after this machine's runs.
func (a *app) withCleaner(ctx context.Context, do func(*sandboxes.Cleaner) error) error {
	self, err := leaseOwner()
	if err != nil {
		return err
	}
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		return do(&sandboxes.Cleaner{Keeper: k, Process: self, Dead: ownerIsDead})
	})
}

// clean does what was found and shows how far it has come. It returns what it
// touched, or could not.
func (a *app) clean(ctx context.Context, c *sandboxes.Cleaner, found []*sandboxes.Finding, rule sandboxes.Rule) []*sandboxes.Finding {
	bar := a.streams.NewBar(func(n int64) string { return fmt.Sprint(n) })
	defer bar.Close()
	bar.Begin("cleaning up", int64(len(found)))
	c.Do(ctx, found, rule, func(*sandboxes.Finding) { bar.Add(1) })
	return slices.DeleteFunc(found, func(f *sandboxes.Finding) bool { return len(f.Do) == 0 })
}

// cleaned is the documented object of gc --json and cleanup --json:
// docs/sandboxes.md.
type cleaned struct {
	DryRun    bool          `json:"dry_run"`
	Seen      int           `json:"seen"` // sandboxes that were looked at
	Sandboxes []cleanedView `json:"sandboxes"`

	found []*sandboxes.Finding
}

type cleanedView struct {
	sandboxView
	Do    []sandboxes.Action `json:"do"`
	Why   string             `json:"why"`
	Error string             `json:"error,omitempty"`
}

// printCleaned prints what was done, or would be, and returns the fault of
// what could not be done.
func (a *app) printCleaned(k *sandboxes.Keeper, c cleaned, asJSON bool) error {
	if asJSON {
		c.Sandboxes = make([]cleanedView, len(c.found))
		for i, f := range c.found {
			c.Sandboxes[i] = cleanedView{sandboxView: sandboxOf(k, f.Sandbox), Do: f.Do, Why: f.Why}
			if f.Err != nil {
				c.Sandboxes[i].Error = f.Err.Error()
			}
		}
		if err := writeJSON(a.streams.Out, c); err != nil {
			return err
		}
	} else {
		a.printGroups(c)
	}
	return a.notCleaned(c.found, asJSON)
}

// printGroups prints the sandboxes below what was done with them and why.
func (a *app) printGroups(c cleaned) {
	var heads []string
	below := map[string][]string{}
	for _, f := range c.found {
		if f.Err != nil {
			continue
		}
		head := deeds(f.Do, c.DryRun) + ": " + f.Why
		if below[head] == nil {
			heads = append(heads, head)
		}
		below[head] = append(below[head], "  "+whatIs(f.Sandbox))
	}
	for _, head := range heads {
		a.streams.Table(a.streams.Out, []string{head}, nil) // wraps it
		fmt.Fprintln(a.streams.Out, strings.Join(below[head], "\n"))
	}
}

// whatIs names a sandbox, with its issue.
func whatIs(s sandboxes.Sandbox) string {
	if s.Owner == nil {
		return nameOf(s)
	}
	return nameOf(s) + "  " + s.Owner.Thread.Ref.String()
}

func howMany(n int) string {
	if n == 1 {
		return "1 sandbox"
	}
	return fmt.Sprintf("%d sandboxes", n)
}

// deeds says what was done, or would be.
func deeds(do []sandboxes.Action, would bool) string {
	words := make([]string, len(do))
	for i, one := range do {
		words[i] = map[sandboxes.Action][2]string{
			sandboxes.Delete: {"deleted", "would be deleted"},
			sandboxes.Stop:   {"stopped", "would be stopped"},
			sandboxes.Bound: {
				fmt.Sprintf("set to stop after %d idle minutes", run.IdleMinutes),
				fmt.Sprintf("would be set to stop after %d idle minutes", run.IdleMinutes),
			},
		}[one][map[bool]int{true: 1}[would]]
	}
	return strings.Join(words, ", ")
}

// notCleaned says what could not be done and returns a fault of the first
// one's kind.
func (a *app) notCleaned(found []*sandboxes.Finding, asJSON bool) error {
	const shown = 10
	var failed []*sandboxes.Finding
	for _, f := range found {
		if f.Err != nil {
			failed = append(failed, f)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	first := failed[0].Err
	if fault.KindOf(first) == fault.Cancelled {
		return fault.New(fault.Cancelled, "stopped by hand: %d of %s are left as they were", len(failed), howMany(len(found)))
	}
	if !asJSON {
		for _, f := range failed[:min(shown, len(failed))] {
			fmt.Fprintf(a.streams.Err, "%s: %v\n", whatIs(f.Sandbox), f.Err)
		}
	}
	f := fault.New(fault.KindOf(first), "%d of %s could not be cleaned up: %w", len(failed), howMany(len(found)), first)
	return f.WithHint("%s", fault.HintOf(first))
}
