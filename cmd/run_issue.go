package cmd

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	patches "github.com/dayclaude/dayclaude/internal/patch"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/term"
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
	json    bool
	verbose bool
	flags   *pflag.FlagSet // those that are settings are read from here
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
	f.BoolVar(&o.force, "force", false, "work on the issue although it is closed")
	f.BoolVar(&o.dryRun, "dry-run", false, "write nothing to GitHub, print the patch")
	f.BoolVar(&o.keep, "keep", false, "leave the sandbox running at the end")
	f.String("instructions", "", "`TEXT` to add to what Claude is told")
	f.BoolVar(&o.local, "local", false, "make the sandbox on this machine instead of at Daytona")
	f.String("local-engine", "", "`ENGINE` of --local: docker, or process (which isolates nothing)")
	f.BoolVar(&o.fresh, "new", false, "begin anew: another sandbox, branch and session")
	f.BoolVar(&o.json, "json", false, "print one JSON object at the end")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print everything that happens, line by line")
	return c
}

// runIssue loads the settings, wires the engine and shows the run.
func (a *app) runIssue(ctx context.Context, o *runIssueOptions) error {
	settings, err := config.Load(ctx, config.Sources{
		Flags: o.flags, Env: a.env, File: config.FilePath(a.env), Keyring: config.Keyring,
	})
	if err != nil {
		return err
	}
	if err := settings.Require(o.local); err != nil {
		return err
	}
	wiring := wireOptions{verbose: o.verbose}
	if o.local {
		wiring.local = &local{space: localSpace(o.ref)}
	}
	w, err := a.wire(ctx, settings, wiring)
	if err != nil {
		return err
	}
	defer w.close()

	view := a.streams.NewView(o.ref.String(), o.verbose)
	if o.json && !o.verbose {
		view = silent{}
	}
	defer view.Close()
	if w.notice != "" {
		view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: w.notice})
	}
	interrupted := context.AfterFunc(ctx, func() {
		view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: "stopping: the work so far is collected; Ctrl-C again leaves at once"})
	})
	defer interrupted()

	madeLocally := ""
	if o.local {
		madeLocally = settings.LocalEngine
	}
	report, err := w.engine.Run(ctx, engine.Request{
		Ref: o.ref, New: o.fresh, Force: o.force, Observe: view.Show,
		Options: run.Options{
			Snapshot: settings.Snapshot, Model: settings.Model, MaxTurns: settings.MaxTurns, MaxCostUSD: settings.MaxCost,
			Timeout: settings.Timeout, Base: o.base, Draft: settings.Draft, NoDraft: o.noDraft, DryRun: o.dryRun, Keep: o.keep,
			Instructions: settings.Instructions, Local: madeLocally,
		},
	})
	view.Close()
	if report == nil {
		return err
	}
	if o.json {
		if printed := writeJSON(a.streams.Out, resultOf(report, err)); printed != nil {
			return printed
		}
		if err != nil {
			return &toldError{err}
		}
		return nil
	}
	return a.printReport(report, err)
}

// localSpace is where --local keeps an issue's sandboxes: the next run on it
// finds them there.
func localSpace(ref run.Ref) string {
	return strings.ToLower(fmt.Sprintf("dayclaude-%s-%s-%d", ref.Owner, ref.Repo, ref.Number))
}

// silent is the view of --json: nothing.
type silent struct{}

func (silent) Show(run.Entry) {}
func (silent) Close()         {}

// printReport shows on Out what the user came for, and on Err the numbers.
func (a *app) printReport(report *engine.Report, err error) error {
	r, t := report.Run, report.Thread
	numbers := fmt.Sprintf("%s · %s (%s tokens in, %s out) · run %s",
		term.Duration(duration(r)), term.USD(r.Cost.USD), term.Tokens(r.Cost.InputTokens), term.Tokens(r.Cost.OutputTokens), r.ID)
	switch {
	case err == nil && r.Options.DryRun:
		patch, readErr := os.ReadFile(r.Outcome.PatchFile)
		if readErr != nil {
			return readErr
		}
		fmt.Fprintln(a.streams.Err, numbers)
		if a.outIsTerminal() {
			patch = []byte(patches.Printable(string(patch)))
		}
		_, writeErr := a.streams.Out.Write(patch)
		return writeErr
	case err == nil:
		fmt.Fprintf(a.streams.Out, "%s\n", r.Outcome.URL)
		fmt.Fprintf(a.streams.Err, "pull request #%d of %s/%s: %s\n%s\n", t.PullRequest, t.Ref.Owner, t.Ref.Repo, r.Outcome.Title, numbers)
		if c := r.Result.Check; c != nil && c.ExitCode != 0 {
			fmt.Fprintf(a.streams.Err, "the check failed (exit code %d): its output is in the pull request\n", c.ExitCode)
		}
		return nil
	case fault.KindOf(err) == fault.Unchanged && r.Result != nil:
		fmt.Fprintln(a.streams.Out, strings.TrimSpace(r.Result.Answer))
		fmt.Fprintf(a.streams.Err, "no change, no pull request\n%s\n", numbers)
		return &toldError{err}
	}
	if r.Outcome != nil {
		for _, finding := range r.Outcome.Findings {
			fmt.Fprintln(a.streams.Err, "refused:", finding)
		}
	}
	if r.Outcome != nil && r.Outcome.PatchFile != "" {
		fmt.Fprintf(a.streams.Err, "the changes so far: %s\n", r.Outcome.PatchFile)
	}
	fmt.Fprintln(a.streams.Err, numbers)
	return err
}

func (a *app) outIsTerminal() bool {
	f, ok := a.streams.Out.(*os.File)
	return ok && term.IsTerminal(f)
}

// result is the documented object of --json: docs/run-issue.md.
type result struct {
	RunID       string       `json:"run_id"`
	State       run.State    `json:"state"`
	Repo        string       `json:"repo"`
	Issue       int          `json:"issue"`
	Branch      string       `json:"branch"`
	PullRequest *pullRequest `json:"pull_request"`
	Commit      string       `json:"commit"`
	Files       int          `json:"files_changed"`
	Findings    []string     `json:"findings,omitempty"` // what the gate refused
	PatchFile   string       `json:"patch_file,omitempty"`
	Answer      string       `json:"answer,omitempty"`
	Cost        cost         `json:"cost"`
	Duration    float64      `json:"duration_seconds"`
	Error       *problem     `json:"error"`
}

type pullRequest struct {
	Number int    `json:"number"`
	URL    string `json:"url"`
}

type cost struct {
	USD            float64 `json:"usd"`
	InputTokens    int64   `json:"input_tokens"`
	OutputTokens   int64   `json:"output_tokens"`
	SandboxSeconds float64 `json:"sandbox_seconds"`
}

type problem struct {
	Kind    fault.Kind `json:"kind"`
	Message string     `json:"message"`
	Hint    string     `json:"hint"`
}

func resultOf(report *engine.Report, err error) result {
	r, t := report.Run, report.Thread
	v := result{
		RunID: r.ID, State: r.State, Repo: t.Ref.FullName(), Issue: t.Ref.Number, Commit: r.Commit,
		Cost:     cost{math.Round(r.Cost.USD*1e6) / 1e6, r.Cost.InputTokens, r.Cost.OutputTokens, r.Cost.SandboxSeconds},
		Duration: duration(r).Seconds(),
	}
	if o := r.Outcome; o != nil {
		v.Files, v.PatchFile, v.Findings = o.FilesChanged, o.PatchFile, o.Findings
		if o.URL != "" {
			v.PullRequest = &pullRequest{o.PullRequest, o.URL}
		}
	}
	if r.Commit != "" {
		v.Branch = t.Branch
	}
	if r.Result != nil {
		v.Answer = r.Result.Answer
	}
	if err != nil {
		v.Error = &problem{fault.KindOf(err), err.Error(), fault.HintOf(err)}
	}
	return v
}

// duration is the run's length, up to now for one that goes on.
func duration(r *run.Run) time.Duration {
	switch {
	case r.StartedAt.IsZero():
		return 0
	case r.EndedAt.IsZero():
		return time.Since(r.StartedAt)
	}
	return r.EndedAt.Sub(r.StartedAt)
}
