package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/gate"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/patch"
	"github.com/dayclaude/dayclaude/internal/report"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// Names of what a run leaves in its directory.
const (
	changesetFile  = "changeset.json"
	transcriptFile = "transcript.jsonl"
	patchFile      = "changes.patch"
)

// harvest brings the changes and Claude's transcript to the host. From here on
// the sandbox is not needed.
func (d *drive) harvest(ctx context.Context) (run.State, error) {
	if err := d.reach(ctx); err != nil {
		return "", err
	}
	d.say(run.Began, "collecting the changes")
	set, err := d.collect(ctx)
	if err != nil {
		return "", err
	}
	if set.Empty() {
		return "", fault.New(fault.Unchanged, "Claude changed nothing")
	}
	return run.Gating, nil
}

// collect reads changeset and transcript from the sandbox and keeps both. A
// transcript that can't be had is no reason to lose the changes.
func (d *drive) collect(ctx context.Context) (*changeset.Set, error) {
	set, err := d.sandboxd.Changeset(ctx, d.run.Task, maxChangesetBytes)
	if err != nil {
		return nil, err
	}
	if want := d.run.Frozen.BaseCommit; set.Base != want {
		return nil, fault.New(fault.Sandbox, "the sandbox's changes are against %.40q, not against %s", set.Base, want)
	}
	content, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	if err := d.keep(changesetFile, content); err != nil {
		return nil, err
	}
	return set, d.keepTranscript(ctx)
}

// keepTranscript copies Claude's session to the host, redacted. One that can't
// be had is no reason to lose the changes.
func (d *drive) keepTranscript(ctx context.Context) error {
	var lost error
	err := d.keepFrom(transcriptFile, func(w io.Writer) error {
		redacted := d.Redactor.Writer(w)
		lost = d.sandboxd.Transcript(ctx, d.run.Task, redacted, maxTranscriptBytes)
		return errors.Join(lost, redacted.Close())
	})
	if lost != nil {
		d.Log.Warn("transcript not kept", "run", d.run.ID, "error", err)
		return nil
	}
	return err
}

// keep writes a file into the run's directory, whole or not at all.
func (d *drive) keep(name string, content []byte) error {
	return d.keepFrom(name, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// keepFrom is keep for what is too large to be held.
func (d *drive) keepFrom(name string, write func(io.Writer) error) error {
	path, err := d.file(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// kept reads the changeset that harvest kept.
func (d *drive) kept() (*changeset.Set, error) {
	path, err := d.file(changesetFile)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.Failed, "the changes that were collected are gone: %w", err)
	}
	var set changeset.Set
	return &set, json.Unmarshal(content, &set)
}

// rescue saves what there is of the work when a run ends before its harvest:
// Claude is stopped, and the changes are kept as a patch. It does what it can.
func (d *drive) rescue(ctx context.Context) {
	if d.sandboxd == nil || d.run.State != run.Working && d.run.State != run.Harvesting {
		return
	}
	if _, err := d.sandboxd.Cancel(ctx, d.run.Task); err != nil {
		d.Log.Warn("task not cancelled", "error", err)
	}
	set, err := d.collect(ctx)
	if err == nil && !set.Empty() {
		err = d.keepPatch(ctx, set)
	}
	if err != nil {
		d.Log.Warn("changes not rescued", "error", err)
	}
}

// keepPatch writes the changes as a patch that git apply takes, made by the
// host from the changes themselves.
func (d *drive) keepPatch(ctx context.Context, set *changeset.Set) error {
	text, err := d.patch(ctx, set)
	if err != nil {
		return err
	}
	if err := d.keep(patchFile, []byte(text)); err != nil {
		return err
	}
	path, err := d.file(patchFile)
	if err != nil {
		return err
	}
	return d.save(func() {
		o := d.outcome()
		o.PatchFile, o.FilesChanged = path, len(set.Changes)
	})
}

// patch renders the changes against what stands at their base.
func (d *drive) patch(ctx context.Context, set *changeset.Set) (string, error) {
	if tooMany(set) {
		return "", fault.New(fault.Failed, "%d changes are too many for a patch", len(set.Changes))
	}
	base, err := d.lookAtBase(ctx, set)
	if err != nil {
		return "", err
	}
	var failed error
	text := patch.Format(set, func(path string) ([]byte, string, bool) {
		e, ok := base.entries[path]
		if !ok || e.Mode == hub.ModeDirectory || e.Mode == changeset.ModeSubmodule || failed != nil {
			return nil, "", false
		}
		var content []byte
		content, failed = base.read(ctx, path)
		return content, e.Mode, failed == nil
	})
	return text, failed
}

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
		return "", refusal(findings)
	}
	if d.run.Options.DryRun {
		if err := d.keepPatch(ctx, set); err != nil {
			return "", err
		}
		return run.Reporting, d.finish(set)
	}
	return run.Committing, nil
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
	d.say(run.Began, "committing to %s", d.thread.Branch)
	if d.run.Commit == "" {
		sha, err := d.Hub.Commit(ctx, f.Repository, hub.CommitInput{
			Base: set.Base, Changes: set.Changes, RunID: d.run.ID,
			Message: d.Redactor.Redact(report.CommitMessage(f.Issue.Number, f.Issue.Title, d.run.ID)),
		})
		if err != nil {
			return "", err
		}
		if err := d.save(func() { d.run.Commit = sha }); err != nil {
			return "", err
		}
	}
	head, err := d.Hub.Branch(ctx, f.Repository, d.thread.Branch, d.run.Commit, d.run.ID, f.BranchHead)
	if err != nil {
		if kept := d.keepPatch(ctx, set); kept != nil {
			d.Log.Warn("patch not kept", "error", kept)
		}
		return "", err
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
		Base: d.run.Frozen.Base, Head: d.thread.Branch, Draft: d.run.Options.Draft,
		Title: d.Redactor.Redact(title), Body: d.Redactor.Redact(body),
	})
	if err != nil {
		return "", err
	}
	return run.Reporting, d.save(func() {
		d.thread.PullRequest = pull.Number
		o := d.outcome()
		o.PullRequest, o.URL = pull.Number, pull.URL
	})
}

// finish stores the outcome of a run that went well.
func (d *drive) finish(set *changeset.Set) error {
	title, body := report.ParseAnswer(d.run.Result.Answer)
	return d.save(func() {
		o := d.outcome()
		o.State, o.Title, o.Body, o.FilesChanged = run.Done, title, body, len(set.Changes)
	})
}

// report tells the issue how the run ended. If that can't be told there, the
// run ends all the same; its own outcome stands in the store.
func (d *drive) report(ctx context.Context) (run.State, error) {
	d.countSandbox(ctx)
	if d.run.Frozen == nil || d.run.Outcome == nil {
		return run.Settling, nil
	}
	if err := d.comment(ctx, report.Outcome(*d.thread, *d.run, d.Now())); err != nil {
		d.say(run.Notice, "the outcome could not be told on the issue: %v", err)
	}
	return run.Settling, nil
}

// settle stops the sandbox, unless it is to be kept: its files stay for a
// follow-up, until it is archived and deleted.
func (d *drive) settle(ctx context.Context) (run.State, error) {
	d.disconnect()
	if d.thread.SandboxID != "" && !d.run.Options.Keep {
		if err := d.Daytona.Stop(ctx, d.thread.SandboxID); err != nil && fault.KindOf(err) != fault.NotFound {
			d.say(run.Notice, "the sandbox was not stopped, it stops by itself after %d idle minutes: %v", idleMinutes, err)
		}
	}
	state := d.run.Outcome.State
	d.append(nil, run.Entry{Kind: run.Ended, Text: string(state), Failed: !slices.Contains([]run.State{run.Done, run.Unchanged}, state)})
	return state, nil
}

// countSandbox adds the sandbox's time so far to the run's cost.
func (d *drive) countSandbox(ctx context.Context) {
	steps, err := d.Store.Steps(ctx, d.run.ID)
	if err != nil {
		d.Log.Warn("sandbox time not counted", "error", err)
		return
	}
	i := slices.IndexFunc(steps, func(s store.Step) bool { return s.State == run.Provisioning })
	if i < 0 || d.thread.SandboxID == "" {
		return
	}
	_ = d.save(func() {
		c := &d.run.Cost
		took := d.Now().Sub(steps[i].EnteredAt)
		c.SandboxSeconds = took.Seconds()
		c.USD = c.ModelUSD
		if sb := d.sandbox; sb != nil {
			c.USD += broker.SandboxUSD(int(sb.CPU), int(sb.Memory), int(sb.Disk), took)
		}
	})
}
