package engine

import (
	"context"
	"errors"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/gate"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/report"
	"github.com/dayclaude/dayclaude/internal/run"
)

// gate holds the changes against the policy. What it refuses is named, and the
// patch kept for the user to look at.
func (d *drive) gate(ctx context.Context) (run.State, error) {
	if err := d.loadSettings(); err != nil {
		return "", err
	}
	set, err := d.kept()
	if err != nil {
		return "", err
	}
	d.disconnect() // from here on the sandbox is not needed
	d.say(run.Began, "holding %d changed file%s against the policy", len(set.Changes), plural(len(set.Changes)))
	base, err := d.lookAtBase(ctx, set)
	if err != nil {
		return "", err
	}
	findings, err := gate.Check(ctx, d.policy(), gate.Base{Modes: base.modes(), Content: base.read}, set)
	if err != nil {
		return "", err
	}
	if findings != nil {
		if err := d.keepPatch(ctx, set); err != nil {
			d.Log.Warn("patch not kept", "error", err)
		}
		if err := d.save(func() {
			for _, f := range findings {
				d.outcome().Findings = append(d.outcome().Findings, d.clean(f.Path+": "+f.Reason, 1<<10))
			}
		}); err != nil {
			return "", err
		}
		if d.leaving() {
			return run.Reporting, nil
		}
		return "", refusal(findings)
	}
	if d.run.Options.DryRun || d.leaving() && !d.mayDraft() {
		if err := d.keepPatch(ctx, set); err != nil {
			return "", err
		}
		return run.Reporting, d.finish(set)
	}
	return run.Committing, nil
}

// mayDraft reports whether work that broke off may stand on the branch: a pull
// request that people look at does not get half of a change.
func (d *drive) mayDraft() bool {
	f := d.run.Frozen
	return !d.run.Options.NoDraft && (f.BranchHead == "" || f.Unfinished)
}

// policy is the default, with what the repository's settings say.
func (d *drive) policy() gate.Policy {
	p, s := gate.DefaultPolicy(), d.settings
	p.Allow, p.Deny, p.AllowWorkflows = s.Paths.Allow, s.Paths.Deny, s.Paths.Workflows
	if n := s.Limits.MaxFiles; n > 0 {
		p.MaxFiles = min(p.MaxFiles, n)
	}
	if n := s.Limits.MaxKB << 10; n > 0 {
		p.MaxBytes = min(p.MaxBytes, n)
	}
	return p
}

// refusal is the fault of a changeset with findings. What they are stands in
// the outcome.
func refusal(findings []gate.Finding) error {
	return fault.New(fault.Refused, "the changes were refused for %d reason%s", len(findings), plural(len(findings))).
		WithHint("look at the patch; `paths:` in .github/dayclaude.yml says what a run may change")
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// commit makes the run's one commit and points the branch at it.
func (d *drive) commit(ctx context.Context) (run.State, error) {
	set, err := d.kept()
	if err != nil {
		return "", err
	}
	f := d.run.Frozen
	parents, expect := d.standing()
	d.say(run.Began, "committing to %s", d.thread.Branch)
	if d.run.Commit == "" {
		sha, err := d.Hub.Commit(ctx, f.Repository, hub.CommitInput{
			Base: set.Base, Parents: parents, Changes: set.Changes, RunID: d.run.ID,
			Message: d.Redactor.Redact(report.CommitMessage(f.Issue.Number, f.Issue.Title, d.run.ID, !d.leaving())),
		})
		if err != nil {
			return "", err
		}
		if err := d.save(func() { d.run.Commit = sha }); err != nil {
			return "", err
		}
	}
	head, err := d.Hub.Branch(ctx, f.Repository, d.thread.Branch, d.run.Commit, d.run.ID, expect)
	if fault.KindOf(err) == fault.Unavailable { // the branch may have got the commit
		return "", err
	} else if err != nil {
		return "", errors.Join(err, d.save(func() { d.run.Commit = "" }))
	}
	return run.Publishing, d.save(func() { d.run.Commit = head })
}

// publish opens the pull request, or brings the one that is open up to date.
func (d *drive) publish(ctx context.Context) (run.State, error) {
	set, err := d.kept()
	if err != nil {
		return "", err
	}
	d.say(run.Began, "opening the pull request")
	d.countSandbox(ctx)
	if err := d.finish(set); err != nil {
		return "", err
	}
	title, body := report.PullRequest(*d.thread, *d.run, d.Now())
	pull, err := d.Hub.PullRequest(ctx, d.run.Frozen.Repository, hub.PullInput{
		Base: d.run.Frozen.Base, Head: d.thread.Branch, Draft: d.run.Options.Draft || d.leaving(),
		Title: d.Redactor.Redact(title), Body: d.Redactor.Redact(body),
	})
	if err != nil {
		return "", err
	}
	if pull.Draft && d.run.Frozen.Unfinished && !d.run.Options.Draft && !d.leaving() {
		if err := d.Hub.Ready(ctx, d.run.Frozen.Repository, pull); err != nil {
			d.say(run.Notice, "the pull request is done but still marked as a draft: %v", err)
		}
	}
	return run.Reporting, d.save(func() {
		d.thread.PullRequest = pull.Number
		o := d.outcome()
		o.PullRequest, o.URL = pull.Number, pull.URL
	})
}

// finish stores what is published in the outcome: that of a run that went
// well, unless it broke off.
func (d *drive) finish(set *changeset.Set) error {
	title, body := "", ""
	if r := d.run.Result; r != nil {
		title, body = report.ParseAnswer(r.Answer)
	}
	return d.save(func() {
		o := d.outcome()
		o.Title, o.Body, o.FilesChanged = title, body, len(set.Changes)
		if o.Problem.IsZero() {
			o.State = run.Done
		}
	})
}
