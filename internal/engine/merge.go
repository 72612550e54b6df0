package engine

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/prompt"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// mergedFile is the changeset after a merge, against the commit that it went
// onto. changesetFile stays as it was.
const mergedFile = "merged.json"

// Bounds of a merge's turn of Claude's.
const (
	mergeMargin = 2 * time.Minute // of the run's time stays for publishing
	mergeLeast  = time.Minute     // else there is no turn
)

// merge brings the changes up to what was pushed meanwhile, if they conflict
// with it. What goes wrong with that is no reason to lose the changes: they
// are published as they are, and the pull request says that they conflict.
func (d *drive) merge(ctx context.Context) (run.State, error) {
	o := d.run.Outcome
	if d.run.Options.DryRun || d.run.Commit != "" || o != nil && o.Merge != nil && o.Merge.Ended {
		return run.Gating, nil
	}
	set, err := d.kept()
	if err != nil {
		return "", err
	}
	if o == nil || o.Merge == nil {
		m, err := d.moved(ctx, set)
		if m == nil || err != nil {
			return run.Gating, err
		}
		if err := d.plan(m, set); err != nil {
			return "", err
		}
	}
	m := *d.run.Outcome.Merge // a copy: the stored one is read while costs come in
	if m.Ended {
		return run.Gating, nil
	}
	result, problem := d.mergeTurn(ctx, &m)
	if problem != nil && ctx.Err() != nil {
		return d.breakOff(context.Cause(ctx))
	}
	if err := d.save(func() {
		m.Ended, m.Problem = true, d.problem(problem)
		d.run.Outcome.Merge = &m
		if m.Merged && result != nil {
			result.Turns += d.run.Result.Turns
			result.Notes = append(d.run.Result.Notes, result.Notes...)
			d.run.Result = result
		}
	}); err != nil {
		return "", err
	}
	if m.Branch == d.thread.Branch && !m.Merged {
		return "", fault.New(fault.Conflict, "%s was pushed to meanwhile, and the changes conflict with that%s: %s", m.Branch, in(m.Conflicts), m.Problem.Message).
			WithHint("run the command again: Claude then starts from what stands on the branch")
	}
	return run.Gating, nil
}

// in names the first few paths.
func in(paths []string) string {
	const most = 5
	if len(paths) == 0 {
		return ""
	}
	more := ""
	if n := len(paths) - most; n > 0 {
		paths, more = paths[:most], fmt.Sprintf(" and %d more", n)
	}
	return " in " + strings.Join(paths, ", ") + more
}

// breakOff ends the run for the reason, with the changes that were there
// before the merge.
func (d *drive) breakOff(why error) (run.State, error) {
	if kind := fault.KindOf(why); kind != fault.Limit && kind != fault.Cancelled {
		return "", why // this process is not to go on
	}
	return run.Gating, d.save(func() {
		d.end(why)
		d.run.Outcome.Merge.Ended, d.run.Outcome.Merge.Problem = true, d.problem(why)
	})
}

// moved looks whether what the changes are to stand on, or to be merged into,
// has moved in a way that may conflict with them. It returns what is to be
// merged, or nil.
func (d *drive) moved(ctx context.Context, set *changeset.Set) (*run.Merge, error) {
	f := d.run.Frozen
	if f.BranchHead != "" {
		head, err := d.Hub.Head(ctx, f.Repository, d.thread.Branch)
		if fault.KindOf(err) == fault.NotFound {
			return nil, nil // Committing says so
		} else if err != nil {
			return nil, err
		}
		if head != f.BranchHead {
			return d.pushed(ctx, set, head)
		}
	}
	head, err := d.Hub.Head(ctx, f.Repository, f.Base)
	if fault.KindOf(err) == fault.NotFound || head == f.BaseCommit || d.leaving() {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	theirs, err := d.Hub.Compare(ctx, f.Repository, f.BaseCommit, head)
	if fault.KindOf(err) == fault.NotFound {
		return nil, nil // another history: there is nothing to be merged by
	} else if err != nil {
		return nil, err
	}
	m := &run.Merge{Branch: f.Base, Onto: head, Ancestor: f.BaseCommit}
	ours := paths(set)
	if f.BranchHead != "" { // what the branch changes altogether
		m.Ancestor = theirs.Parted
		before, err := d.Hub.Compare(ctx, f.Repository, head, f.BranchHead)
		if err != nil {
			return nil, err
		}
		if ours = append(ours, before.Paths...); !before.Complete {
			return m, nil
		}
	}
	if theirs.Complete && !collide(ours, theirs.Paths) {
		return nil, nil
	}
	return m, nil
}

// pushed is what is to be merged if somebody else pushed to the thread's
// branch: the commit must stand on that. Where it touches other files, the
// changes go onto it as they are.
func (d *drive) pushed(ctx context.Context, set *changeset.Set, head string) (*run.Merge, error) {
	f := d.run.Frozen
	m := &run.Merge{Branch: d.thread.Branch, Onto: head, Ancestor: f.BranchHead}
	theirs, err := d.Hub.Compare(ctx, f.Repository, f.BranchHead, head)
	if err != nil && fault.KindOf(err) != fault.NotFound { // that is another history
		return nil, err
	}
	m.Merged = theirs.Complete && theirs.Parted == f.BranchHead && !collide(paths(set), theirs.Paths)
	if d.leaving() && !m.Merged {
		return nil, nil // Committing says that they conflict
	}
	return m, nil
}

// plan stores what is to be merged. Where that needs the sandbox, the task's
// id is stored with it.
func (d *drive) plan(m *run.Merge, set *changeset.Set) error {
	d.say(run.Notice, "%s moved to %.10s meanwhile", m.Branch, m.Onto)
	if m.Merged {
		moved := *set
		moved.Base = m.Onto
		if err := d.keepSet(mergedFile, &moved); err != nil {
			return err
		}
		return d.save(func() { m.Ended, d.outcome().Merge = true, m })
	}
	if m.Deadline = d.run.StartedAt.Add(d.run.Options.Timeout - mergeMargin); d.run.Result != nil {
		m.Turn = d.run.Result.Turns < d.run.Options.MaxTurns && d.Now().Add(mergeLeast).Before(m.Deadline)
	}
	next := d.nextTask()
	return d.save(func() {
		d.outcome().Merge = m
		m.From, d.run.Task, d.run.LastEvent = d.run.Task, next, 0
	})
}

// asMerge makes the run's task one of merging.
func (d *drive) asMerge(t *api.Task, m *run.Merge) {
	f := d.run.Frozen
	t.Repository.Commit, t.Repository.Keep = m.Onto, false
	t.Merge = &api.Merge{Task: m.From, Ancestor: m.Ancestor, Branch: m.Branch}
	t.Claude.Prompt = ""
	if m.Turn {
		t.Claude.Prompt = prompt.Merge(prompt.Input{Frozen: *f, Check: d.settings.Check}, m.Branch, m.Onto)
		t.Claude.MaxTurns -= d.run.Result.Turns
		t.Deadline = m.Deadline
	}
}

// mergeTurn has the sandbox merge, and Claude solve conflicts. The merged
// changes are kept if they are to be published; the problem is why there are
// conflicts left.
func (d *drive) mergeTurn(ctx context.Context, m *run.Merge) (*run.Result, error) {
	if m.From == "" {
		return nil, fault.New(fault.Conflict, "the sandbox that made the changes is not this run's")
	}
	if err := d.reach(ctx); err != nil {
		return nil, err
	}
	status, err := d.follow(ctx)
	if err != nil {
		return nil, err
	}
	m.Conflicts = nil
	for _, p := range status.Conflicts {
		m.Conflicts = append(m.Conflicts, d.clean(p, 500))
	}
	switch {
	case status.Failure != nil:
		return nil, failure(status.Failure)
	case m.Conflicts == nil && m.Branch != d.thread.Branch:
		return nil, nil // GitHub will merge it as well
	case m.Conflicts == nil:
		return nil, d.takeMerged(ctx, m)
	case !m.Turn:
		return nil, fault.New(fault.Limit, "the run's limits left Claude no turn to merge")
	}
	result := d.result(status)
	if err := result.Problem.Err(); err != nil {
		return nil, err
	}
	return result, d.takeMerged(ctx, m)
}

// takeMerged brings the merged changes to the host, unless conflicts are left
// in them.
func (d *drive) takeMerged(ctx context.Context, m *run.Merge) error {
	set, err := d.changes(ctx, d.sandboxd, m.Onto)
	switch {
	case err != nil:
		return err
	case set.Truncated:
		return fault.New(fault.Sandbox, "the merged changes are too large, or not complete")
	case set.Empty():
		return fault.New(fault.Unchanged, "the merge left nothing of the changes")
	}
	if left := unsolved(set, m); left != nil {
		return fault.New(fault.Claude, "Claude left conflicts%s", in(left))
	}
	if err := d.keepSet(mergedFile, set); err != nil {
		return err
	}
	m.Merged = true
	return d.keepTranscript(ctx, d.sandboxd)
}

// unsolved lists the paths that git's markers of a conflict are left in.
func unsolved(set *changeset.Set, m *run.Merge) (left []string) {
	ours, theirs := (&api.Merge{Ancestor: m.Ancestor, Branch: m.Branch}).Labels(m.Onto)
	marker := regexp.MustCompile(`(?m)^(<{7,} ` + regexp.QuoteMeta(ours) + `|>{7,} ` + regexp.QuoteMeta(theirs) + `)`)
	for _, c := range set.Changes {
		// A path that both a file and a directory wanted got a label, too.
		if marker.Match(c.Content) || strings.Contains(c.Path, "~"+ours) || strings.Contains(c.Path, "~"+theirs) {
			left = append(left, c.Path)
		}
	}
	return left
}

// paths are those of a changeset, without those that the gate refuses for
// their length: a sandbox that makes them must not keep the host busy.
func paths(set *changeset.Set) (all []string) {
	for _, c := range set.Changes {
		if len(c.Path) <= maxPathBytes {
			all = append(all, c.Path)
		}
	}
	return all
}

// collide reports whether one of our paths is one of theirs, or one a
// directory of the other. Ours are a sandbox's, theirs GitHub's.
func collide(ours, theirs []string) bool {
	files, all := make(map[string]bool), make(map[string]bool) // all: with their directories
	for _, p := range theirs {
		files[p] = true
		for ; p != ""; p = p[:max(0, strings.LastIndexByte(p, '/'))] {
			all[p] = true
		}
	}
	return slices.ContainsFunc(ours, func(p string) bool {
		for i := range len(p) {
			if p[i] != '/' {
				continue
			}
			if files[p[:i]] {
				return true
			} else if !all[p[:i]] {
				return false // nor is anything below it
			}
		}
		return all[p]
	})
}

// standing says how the run's commit is to stand: on which parents, if not on
// the changes' base alone, and what the branch must be at.
func (d *drive) standing() (parents []string, expect string) {
	f := d.run.Frozen
	o := d.run.Outcome
	if o == nil || o.Merge == nil || !o.Merge.Merged {
		return nil, f.BranchHead
	}
	if m := o.Merge; m.Branch == d.thread.Branch {
		return nil, m.Onto
	} else if f.BranchHead != "" {
		return []string{f.BranchHead, m.Onto}, f.BranchHead
	}
	return nil, ""
}
