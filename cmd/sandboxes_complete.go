package cmd

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// How much a shell is offered, and for how long it waits.
const (
	offerTime = 2 * time.Second
	offerMost = 200 // of the store's runs, and of Daytona's sandboxes
)

// offers are what a shell may complete a word to.
type offers struct {
	typed string
	list  []cobra.Completion
	known map[string]bool
}

func (o *offers) add(word, about string) {
	if strings.HasPrefix(word, o.typed) && !o.known[word] {
		o.known[word] = true
		o.list = append(o.list, cobra.CompletionWithDesc(word, about))
	}
}

// completeSandbox offers what names a sandbox as the first argument.
func (a *app) completeSandbox(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeSandboxes(c, args, typed)
}

// completeSandboxes offers what names a sandbox that is not named yet.
// Whatever goes wrong, it offers what it has: a shell that completes is no
// place for errors.
func (a *app) completeSandboxes(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), offerTime)
	defer cancel()
	o := &offers{typed: typed, known: map[string]bool{}}
	for _, arg := range args {
		o.known[arg] = true
	}
	a.offerRuns(ctx, o)
	if !strings.ContainsAny(typed, "/#") && !strings.HasPrefix(typed, "r_") {
		all, _ := c.Flags().GetBool("all")
		a.offerSandboxes(ctx, o, all)
	}
	return o.list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// offerRuns offers the issues of the store's runs, and the runs themselves to
// who has begun to type one.
func (a *app) offerRuns(ctx context.Context, o *offers) {
	s, err := a.openStore(ctx)
	if err != nil {
		return
	}
	defer s.Close()
	runs, _ := s.Runs(ctx, offerMost)
	for _, r := range runs {
		if r.Options.Local != "" {
			continue // Daytona knows nothing of its sandbox
		}
		o.add(r.Ref.String(), string(r.State))
		if strings.HasPrefix(o.typed, "r") {
			o.add(r.ID, string(r.State)+", "+r.Ref.String())
		}
	}
}

// offerSandboxes offers the names of sandboxes, but those that can't be typed.
func (a *app) offerSandboxes(ctx context.Context, o *offers, all bool) {
	_ = a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		left := offerMost
		for s, err := range k.List(ctx, all) {
			if left--; err != nil || left < 0 {
				return err
			}
			if name := nameOf(s); name == s.Name && !strings.Contains(name, " ") {
				o.add(name, strings.TrimSpace(untrusted.Line(string(s.State), 40)+" "+issueOf(s)))
			}
		}
		return nil
	})
}
