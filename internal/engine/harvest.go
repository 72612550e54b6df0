package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/patch"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
)

// Names of what a run leaves in its directory.
const (
	changesetFile  = "changeset.json"
	transcriptFile = "transcript.jsonl"
	patchFile      = "changes.patch"
)

// harvest brings the changes and Claude's transcript to the host. Where they
// can't be had any more, those of the last interval are taken.
func (d *drive) harvest(ctx context.Context) (run.State, error) {
	d.say(run.Began, "collecting the changes")
	set, err := d.bring(ctx)
	if errors.Is(err, errResting) {
		return "", err // it is all still there
	} else if err != nil {
		if set, err = d.earlier(err); err != nil {
			return "", err
		}
	}
	switch {
	case !set.Empty():
		return run.Merging, nil
	case d.leaving():
		return run.Reporting, nil
	}
	return "", fault.New(fault.Unchanged, "Claude changed nothing")
}

// bring collects from the sandbox. On the way out Claude may still be at work.
func (d *drive) bring(ctx context.Context) (*changeset.Set, error) {
	if err := d.reach(ctx); err != nil {
		return nil, err
	}
	if d.leaving() {
		if _, err := d.sandboxd.Cancel(ctx, d.run.Task); err != nil {
			return nil, err
		}
	}
	return d.collect(ctx, d.sandboxd)
}

// earlier returns the changes that were collected before, if there are any, in
// place of those that could not be. The run then ends with that problem.
func (d *drive) earlier(problem error) (*changeset.Set, error) {
	set, err := d.kept()
	if err != nil {
		return nil, problem
	}
	d.say(run.Notice, "the changes could not be collected, those that were collected while Claude worked are taken: %v", problem)
	if d.leaving() {
		return set, nil
	}
	return set, d.save(func() { d.end(problem) })
}

// collectWhile keeps what there is of the work on the host, again and again,
// until stop is called: a sandbox may be lost.
func (d *drive) collectWhile(ctx context.Context, from *client.Client) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var collecting sync.WaitGroup
	collecting.Go(func() {
		every := time.NewTicker(d.HarvestEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			if _, err := d.collect(ctx, from); err != nil && ctx.Err() == nil {
				d.Log.Debug("nothing collected yet", "run", d.run.ID, "error", err)
			}
		}
	})
	return func() { cancel(); collecting.Wait() }
}

// collect reads changeset and transcript from the sandbox and keeps both.
func (d *drive) collect(ctx context.Context, from *client.Client) (*changeset.Set, error) {
	set, err := d.changes(ctx, from, d.run.Frozen.BaseCommit)
	if err != nil {
		return nil, err
	}
	if err := d.keepSet(changesetFile, set); err != nil {
		return nil, err
	}
	return set, d.keepTranscript(ctx, from)
}

// changes reads the task's changes, which must be against the commit.
func (d *drive) changes(ctx context.Context, from *client.Client, base string) (*changeset.Set, error) {
	set, err := from.Changeset(ctx, d.run.Task, maxChangesetBytes)
	if err == nil && set.Base != base {
		return nil, fault.New(fault.Sandbox, "the sandbox's changes are against %.40q, not against %s", set.Base, base)
	}
	return set, err
}

// keepSet writes a changeset into the run's directory.
func (d *drive) keepSet(name string, set *changeset.Set) error {
	content, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return d.keep(name, content)
}

// keepTranscript copies Claude's session to the host, redacted. One that can't
// be had is no reason to lose the changes.
func (d *drive) keepTranscript(ctx context.Context, from *client.Client) error {
	var lost error
	err := d.keepFrom(transcriptFile, func(w io.Writer) error {
		redacted := d.Redactor.Writer(w)
		lost = from.Transcript(ctx, d.run.Task, redacted, maxTranscriptBytes)
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

// kept reads the changeset that is to be published: what harvest kept, or what
// a merge made of it.
func (d *drive) kept() (*changeset.Set, error) {
	name := changesetFile
	if o := d.run.Outcome; o != nil && o.Merge != nil && o.Merge.Merged {
		name = mergedFile
	}
	path, err := d.file(name)
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

// leavePatch keeps the changes that were collected as a patch, unless they
// are one already or stand on GitHub. It does what it can.
func (d *drive) leavePatch(ctx context.Context) {
	if o := d.run.Outcome; o != nil && (o.PatchFile != "" || o.PullRequest > 0) {
		return
	}
	set, err := d.kept()
	if err != nil || set.Empty() {
		return // broke off before there were any
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := d.keepPatch(ctx, set); err != nil {
		d.say(run.Notice, "the changes are kept, but not as a patch: %v", err)
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
