package sandboxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// merge brings what an earlier task left onto the task's commit. It begins
// from that commit each time, so that it can be repeated.
func (w *worker) merge(ctx context.Context) *api.Failure {
	m := w.task.spec.Merge
	dir := filepath.Join(filepath.Dir(w.task.dir), m.Task)
	var from state
	if err := readJSON(filepath.Join(dir, "state.json"), &from); err != nil {
		return w.fail("merge_failed", fmt.Errorf("task %s: %w", m.Task, err))
	}
	r := w.repository()
	if _, err := r.clone(ctx); err != nil {
		return w.fail("merge_failed", err)
	}
	if err := r.addObjects(filepath.Join(dir, "tree", "objects")); err != nil {
		return w.fail("merge_failed", err)
	}
	conflicts, err := r.merge(ctx, m, from.Tree)
	if err != nil {
		return w.fail("merge_failed", err)
	}
	err = w.task.update(func(s *state) {
		s.Cloned, s.Status.Base, s.Status.Conflicts = true, w.task.spec.Repository.Commit, conflicts
	})
	if err != nil {
		return w.fail("internal", err)
	}
	return nil
}

// setupAndMerge does the set-up on the commit as it is, for which it was made,
// and not amid conflicts. Then it merges again.
func (w *worker) setupAndMerge(ctx context.Context) *api.Failure {
	if err := w.task.update(func(s *state) { s.Cloned, s.Setup = false, 0 }); err != nil {
		return w.fail("internal", err)
	}
	if _, err := w.repository().clone(ctx); err != nil {
		return w.fail("merge_failed", err)
	}
	if failure := w.setup(ctx); failure != nil {
		return failure
	}
	return w.merge(ctx)
}

// merge applies to the clone, which stands on its commit, what leads from the
// ancestor to tree, and names the paths that are in conflict.
func (r *repository) merge(ctx context.Context, m *api.Merge, tree string) (conflicts []string, err error) {
	if _, err := r.run(ctx, "cat-file", "-e", m.Ancestor+"^{tree}"); err != nil {
		if err := r.fetch(ctx, m.Ancestor); err != nil {
			return nil, err
		}
	}
	if _, err := r.run(ctx, "cat-file", "-e", tree+"^{tree}"); err != nil { // git itself would crash
		return nil, fmt.Errorf("what task %s left is gone: %w", m.Task, err)
	}
	ours, theirs := m.Labels(r.spec.Commit)
	labelled := *r
	labelled.env = append(r.env[:len(r.env):len(r.env)], "GITHEAD_"+r.spec.Commit+"="+ours, "GITHEAD_"+tree+"="+theirs)
	_, err = labelled.run(ctx, "-c", "merge.verbosity=0",
		"merge-recursive", m.Ancestor, "--", r.spec.Commit, tree)
	if err == nil {
		return nil, nil
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return nil, err
	}
	names, listed := r.run(ctx, "diff", "--name-only", "--diff-filter=U", "-z")
	all := strings.Split(names, "\x00")
	all = all[:len(all)-1] // nothing, or a name that was cut off
	if listed != nil || len(all) == 0 {
		return nil, errors.Join(err, listed)
	}
	for _, name := range all[:min(len(all), api.MaxPaths)] {
		conflicts = append(conflicts, headOf(name, maxPath))
	}
	return conflicts, nil
}

// maxPath bounds a path in a Status, in bytes.
const maxPath = 400

// addObjects puts the objects below dir into the clone.
func (r *repository) addObjects(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(r.dir, ".git", "objects", name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Link(path, to); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}
