package cmd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/term"
)

type sandboxesCleanupOptions struct {
	olderThan age
	states    []string
	all       bool
	confirm   string
	yes, json bool
}

func newSandboxesCleanup(a *app, do func(context.Context, *sandboxesCleanupOptions) error) *cobra.Command {
	o := &sandboxesCleanupOptions{}
	c := &cobra.Command{
		Use: "cleanup", Short: "Delete sandboxes that no run needs, after asking", Args: cobra.NoArgs,
		Long: `Show the sandboxes of this machine's runs that do not run and that no run needs,
ask, and delete them. The sandbox of a run that can go on is never among them:
"dayclaude sandboxes delete" deletes that.`,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, state := range states(o.states) {
				if !state.AtRest() || state == daytona.Destroyed {
					return fault.New(fault.Usage, "--state: no sandbox stays in state %q", state).
						WithHint("started, stopped, paused, archived, error and build_failed are the ones that last")
				}
			}
			return do(c.Context(), o)
		},
	}
	c.Flags().Var(&o.olderThan, "older-than", "only those in which nothing happened for so long, such as 12h or 7d")
	c.Flags().StringSliceVar(&o.states, "state", nil, "only those in `STATE`, such as error or started; several with commas")
	c.Flags().BoolVar(&o.all, "all", false, "also those that this machine's dayclaude did not make; their number must be typed")
	c.Flags().StringVar(&o.confirm, "confirm", "", "with --all: the `NUMBER` of sandboxes, where nobody can type it")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object; needs --yes")
	return c
}

func (a *app) sandboxesCleanup(ctx context.Context, o *sandboxesCleanupOptions) error {
	return a.withCleaner(ctx, func(c *sandboxes.Cleaner) error {
		rule := sandboxes.Choice{States: states(o.states), OlderThan: time.Duration(o.olderThan)}.Rule
		found, seen, err := c.Find(ctx, o.all, rule)
		if err != nil {
			return err
		}
		if !o.json {
			if err := a.printChoice(c, found); err != nil {
				return err
			}
		}
		if err := a.mayCleanUp(ctx, o, c, found); err != nil {
			return err
		}
		return a.printCleaned(c.Keeper, cleaned{Seen: seen, found: a.clean(ctx, c, found, rule)}, o.json)
	})
}

// printChoice shows what would go.
func (a *app) printChoice(c *sandboxes.Cleaner, found []*sandboxes.Finding) error {
	if len(found) == 0 {
		fmt.Fprintln(a.streams.Err, "nothing to clean up")
		return nil
	}
	out := a.streams.NewListing(a.streams.Err, []term.Column{
		{Head: "NAME"}, {Head: "STATE", Rank: 1}, {Head: "UNUSED", Rank: 2}, {Head: "ISSUE", Rank: 3}, {Head: "WORK"},
	})
	for _, f := range found {
		issue, work := "", workOf(f.Sandbox)
		if f.Owner != nil {
			issue = f.Owner.Thread.Ref.String()
		} else if !c.Ours(f.Sandbox.Sandbox) {
			work = whose(c.Keeper, f.Sandbox)
		}
		if err := out.Add(nameOf(f.Sandbox), string(f.State), term.Span(c.Now().Sub(f.LastUse())), issue, work); err != nil {
			return err
		}
	}
	return out.Flush()
}

// workOf says where the work is that was done in a sandbox.
func workOf(s sandboxes.Sandbox) string {
	if s.Owner == nil || s.Owner.Run == nil {
		return "not known"
	}
	switch r := s.Owner.Run; {
	case r.Outcome != nil && r.Outcome.PullRequest > 0:
		return fmt.Sprintf("in pull request #%d", r.Outcome.PullRequest)
	case r.Outcome != nil && r.Outcome.PatchFile != "":
		return "in a patch"
	case r.State == run.Unchanged:
		return "none"
	}
	return "nowhere else"
}

// mayCleanUp asks before anything is deleted. What is not the store's takes
// more than a yes.
func (a *app) mayCleanUp(ctx context.Context, o *sandboxesCleanupOptions, c *sandboxes.Cleaner, found []*sandboxes.Finding) error {
	number := strconv.Itoa(len(found))
	foreign := slices.ContainsFunc(found, func(f *sandboxes.Finding) bool { return !c.Ours(f.Sandbox.Sandbox) })
	typed := o.confirm
	switch {
	case len(found) == 0:
		return nil
	case foreign && typed == "" && !a.streams.Asks():
		return fault.New(fault.Usage, "nobody is there to type the number of sandboxes, some of which are not this machine's").
			WithHint("if you mean them, add --confirm %s", number)
	case foreign && typed == "":
		typed, _ = a.streams.AskText(ctx, "some of them are not this machine's; type their number to delete them all:")
		fallthrough
	case foreign:
		if typed != number {
			return fault.New(fault.Usage, "%q is not the number of sandboxes, which is %s: nothing was deleted", typed, number)
		}
		return nil
	case o.yes:
		return nil
	case o.json || !a.streams.Asks():
		return fault.New(fault.Usage, "nobody is there to be asked whether to delete %s", howMany(len(found))).WithHint("if you mean it, add --yes")
	}
	answer, _ := a.streams.AskText(ctx, "delete them, with their files? [y/N]")
	if answer != "y" && answer != "Y" && answer != "yes" {
		return fault.New(fault.Cancelled, "nothing was deleted")
	}
	return nil
}

// age is a flag's length of time: as Go has it, or in days.
type age time.Duration

// String is the age as it is typed; "" for none.
func (v *age) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

// Type is what help calls it.
func (v *age) Type() string { return "TIME" }

// Set reads it.
func (v *age) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no length of time, such as 12h or 7d", text)
	}
	*v = age(d)
	return nil
}
