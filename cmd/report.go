package cmd

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	patches "github.com/dayclaude/dayclaude/internal/patch"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/term"
)

// told says what a run came to: the error, if any, decides the exit code.
func (a *app) told(report *engine.Report, err error, asJSON bool) error {
	if !asJSON {
		return a.printReport(report, err)
	}
	if printed := writeJSON(a.streams.Out, resultOf(report, err)); printed != nil {
		return printed
	}
	if err != nil {
		return &toldError{err}
	}
	return nil
}

// printReport shows on Out what the user came for, and on Err the numbers.
func (a *app) printReport(report *engine.Report, err error) error {
	r, t := report.Run, report.Thread
	numbers := numbers(r)
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
	a.printBroken(r)
	return err
}

// printBroken shows on Err where the work of a run is that did not end well.
func (a *app) printBroken(r *run.Run) {
	if o := r.Outcome; o != nil {
		for _, finding := range o.Findings {
			fmt.Fprintln(a.streams.Err, "refused:", finding)
		}
		if o.URL != "" {
			fmt.Fprintln(a.streams.Err, "the work so far, as a draft:", o.URL)
		}
		if o.PatchFile != "" {
			fmt.Fprintln(a.streams.Err, "the changes so far:", o.PatchFile)
		}
	}
	fmt.Fprintln(a.streams.Err, numbers(r))
}

// numbers are what a run took and cost.
func numbers(r *run.Run) string {
	return fmt.Sprintf("%s · %s (%s tokens in, %s out) · run %s",
		term.Duration(duration(r)), term.USD(r.Cost.USD), term.Tokens(r.Cost.InputTokens), term.Tokens(r.Cost.OutputTokens), r.ID)
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
