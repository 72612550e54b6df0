package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

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
		frozen.BaseCommit, frozen.BranchHead = before.Frozen.BaseCommit, before.Frozen.BranchHead
		d.run.Frozen, d.run.Result, d.run.Commit = frozen, before.Result, before.Commit
	})
}

// publishable reports whether the run's work was done and not published.
func publishable(r *run.Run) bool {
	return r.Frozen != nil && r.Result != nil && r.Result.Problem.IsZero() &&
		r.Outcome != nil && r.Outcome.PullRequest == 0 &&
		(r.State == run.Failed || r.State == run.Cancelled || r.State == run.Refused)
}

// sameTask reports whether the next run would have to do just what was done
// before. What the gate refused is held against it again only if the
// repository's settings, which say what it lets through, have changed.
func sameTask(before, next *run.Run, frozen *run.Frozen) bool {
	was := before.Frozen
	return was.Base == frozen.Base && reflect.DeepEqual(was.Issue, frozen.Issue) &&
		before.Options.Instructions == next.Options.Instructions &&
		(frozen.BranchHead == was.BranchHead || before.Commit != "" && frozen.BranchHead == before.Commit) &&
		(before.State != run.Refused || !bytes.Equal(was.Settings, frozen.Settings))
}
