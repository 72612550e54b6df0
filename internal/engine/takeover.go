package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/dayclaude/dayclaude/internal/run"
)

// unfinished reports whether what stands on the thread's branch is a draft of
// work that broke off.
func unfinished(before *run.Run) bool {
	if o := before.Outcome; o != nil && (o.PullRequest > 0 || before.Commit != "") {
		return !o.Problem.IsZero()
	}
	return before.Frozen != nil && before.Frozen.Unfinished
}

// takeOver makes the work of the run before this one's, if it was done and
// only could not be published: Claude is not paid for it twice.
func (d *drive) takeOver(before *run.Run, frozen *run.Frozen) (bool, error) {
	if !publishable(before) || !sameTask(before, d.run, frozen) {
		return false, nil
	}
	content, err := os.ReadFile(filepath.Join(d.Dir, before.ID, changesetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := d.keep(changesetFile, content); err != nil {
		return false, err
	}
	d.say(run.Notice, "the work of run %s was done, only not published: it is taken over as it is", before.ID)
	return true, d.save(func() {
		// A commit that no branch got is made anew: GitHub forgets it in time, and
		// another token's may be one that the repository's rules take.
		if frozen.BranchHead == before.Commit {
			d.run.Commit = before.Commit
		}
		frozen.BaseCommit, frozen.BranchHead = before.Frozen.BaseCommit, before.Frozen.BranchHead
		d.run.Frozen, d.run.Result = frozen, before.Result
	})
}

// publishable reports whether the run's work was done and not published.
func publishable(r *run.Run) bool {
	return r.Frozen != nil && r.Result != nil && r.Result.Problem.IsZero() &&
		r.Outcome != nil && r.Outcome.PullRequest == 0 &&
		slices.Contains([]run.State{run.Failed, run.Cancelled, run.Refused, run.NotAdmitted}, r.State)
}

// sameTask reports whether the next run would have to do just what was done
// before. What the gate refused (a rule of GitHub's has no findings) is held
// against it again only if the repository's settings, which say what it lets
// through, have changed.
func sameTask(before, next *run.Run, frozen *run.Frozen) bool {
	was := before.Frozen
	return was.Base == frozen.Base && reflect.DeepEqual(was.Issue, frozen.Issue) &&
		before.Options.Instructions == next.Options.Instructions &&
		(frozen.BranchHead == was.BranchHead || before.Commit != "" && frozen.BranchHead == before.Commit) &&
		(before.Outcome.Findings == nil || !bytes.Equal(was.Settings, frozen.Settings))
}
