package cmd

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// runIssueOptions are run-issue's flags that are not settings.
type runIssueOptions struct {
	ref     run.Ref
	base    string
	dryRun  bool
	keep    bool
	force   bool
	noDraft bool
	fresh   bool
	local   bool
	showing
	flags *pflag.FlagSet // those that are settings are read from here
}

func newRunIssue(a *app, do func(context.Context, *runIssueOptions) error) *cobra.Command {
	o := &runIssueOptions{}
	c := &cobra.Command{
		Use:   "run-issue REF",
		Short: "Solve one issue and open a pull request",
		Long: `Solve one issue and open a pull request.

REF is owner/repo#42 or the issue's URL. A run that was interrupted goes on
where it stood; an issue that has a pull request already gets a follow-up in
the same sandbox and on the same branch, unless --new is given.

Flags win over the settings, which hold the defaults: docs/settings.md lists
them with the variables for the keys, docs/run-issue.md tells all the rest.`,
		Example: `  dayclaude run-issue octo/shop#42
  dayclaude run-issue https://github.com/octo/shop/issues/42 --max-cost 2
  dayclaude run-issue octo/shop#42 --local --dry-run | git apply`,
		Args: one("REF"),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := run.ParseRef(args[0])
			if err != nil {
				return fault.New(fault.Usage, "%w", err)
			}
			o.ref, o.flags = ref, c.Flags()
			return do(c.Context(), o)
		},
	}
	f := c.Flags()
	f.String("snapshot", "", "make the sandbox from the snapshot `NAME`")
	f.String("model", "", "Claude's model, by its `ID`")
	f.Int("max-turns", 0, "at most `N` turns of Claude")
	f.Float64("max-cost", 0, "at most so many `USD` for tokens; 0 for no limit")
	f.Duration("timeout", 0, "at most this `TIME` for the whole run, such as 45m")
	f.StringVar(&o.base, "base", "", "base `BRANCH` of the pull request (default: the repository's)")
	f.Bool("draft", false, "open the pull request as a draft")
	f.BoolVar(&o.noDraft, "no-draft", false, "keep unfinished work as a patch file, open no draft for it")
	f.BoolVar(&o.force, "force", false, "work on the issue although it is closed or locked")
	f.BoolVar(&o.dryRun, "dry-run", false, "write nothing to GitHub, print the patch")
	f.BoolVar(&o.keep, "keep", false, "leave the sandbox running at the end")
	f.String("instructions", "", "`TEXT` to add to what Claude is told")
	f.BoolVar(&o.local, "local", false, "make the sandbox on this machine instead of at Daytona")
	f.String("local-engine", "", "`ENGINE` of --local: docker, or process (which isolates nothing)")
	f.BoolVar(&o.fresh, "new", false, "begin anew: another sandbox, branch and session")
	o.addFlags(f)
	return c
}

// runIssue drives a run on the issue and says what came of it. Where another
// process works on it, it offers to watch that.
func (a *app) runIssue(ctx context.Context, o *runIssueOptions) error {
	settings, err := a.settings(ctx, o.flags)
	if err != nil {
		return err
	}
	j := job{ref: o.ref, fresh: o.fresh, showing: o.showing}
	if o.local {
		j.local = settings.LocalEngine
	}
	report, err := a.drive(ctx, settings, j, func(ctx context.Context, e *engine.Engine, observe func(run.Entry)) (*engine.Report, error) {
		return e.Run(ctx, engine.Request{
			Ref: o.ref, New: o.fresh, Force: o.force, Observe: observe,
			Options: run.Options{
				Snapshot: settings.Snapshot, Model: settings.Model, MaxTurns: settings.MaxTurns, MaxCostUSD: settings.MaxCost,
				Timeout: settings.Timeout, Base: o.base, Draft: settings.Draft, NoDraft: o.noDraft, DryRun: o.dryRun, Keep: o.keep,
				Instructions: settings.Instructions, Local: j.local,
			},
		})
	})
	if report == nil {
		return a.offerToWatch(ctx, o.ref, err, j.showing)
	}
	return a.told(report, err, o.json)
}
