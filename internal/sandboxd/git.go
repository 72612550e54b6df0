package sandboxd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// repository is the clone that Claude works in. Its .git is Claude's to
// change: git runs with what could disturb our own calls switched off.
type repository struct {
	git  string // path of the program, "" if there is none
	dir  string
	env  []string
	spec api.Repository
}

// overrides hold against whatever the clone's own configuration says. Line
// ends and modes are kept as they are, so that a clone is what the commit is.
var overrides = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false",
	"-c", "core.splitIndex=false", "-c", "core.bare=false", "-c", "core.fileMode=true", "-c", "core.symlinks=true",
	"-c", "core.ignoreCase=false", "-c", "core.precomposeUnicode=false",
	"-c", "core.autocrlf=false", "-c", "core.safecrlf=false",
	"-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false",
	"-c", "merge.conflictStyle=merge", "-c", "submodule.recurse=false", "-c", "diff.ignoreSubmodules=none", "-c", "init.defaultBranch=main",
}

// command is a call of git on the clone, ended with its group when ctx is.
func (r *repository) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.git, slices.Concat(overrides, args)...)
	cmd.Env = append(slices.Clone(r.env),
		"GIT_DIR="+filepath.Join(r.dir, ".git"), "GIT_WORK_TREE="+r.dir,
		"GIT_OPTIONAL_LOCKS=0", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C")
	cmd.Dir = r.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// run calls git and returns what it says on standard output.
func (r *repository) run(ctx context.Context, args ...string) (string, error) {
	what := args[0]
	for i := 0; args[i] == "-c"; i += 2 {
		what = args[i+2]
	}
	cmd := r.command(ctx, args...)
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("git %s: %w", what, context.Cause(ctx))
	}
	return "", &gitError{what, err, words(stderr.String())}
}

// gitError is a call of git that failed.
type gitError struct {
	what  string
	err   error
	words string // git's own
}

func (e *gitError) Error() string {
	if e.words == "" {
		return "git " + e.what + ": " + e.err.Error()
	}
	return "git " + e.what + ": " + e.words
}

func (e *gitError) Unwrap() error { return e.err }

// cutOff is what git says, in C's locale, when the way to the repository broke
// in the middle: the host died, or GitHub's end of it.
var cutOff = regexp.MustCompile(`RPC failed|early EOF|hung up unexpectedly|unexpected disconnect|requested URL returned error: 50[234]`)

// attempts bounds how often a command that was cut off is begun.
const attempts = 4

// online is run for a command that fetches. One that was cut off is begun
// again: its first request then waits for the host, and the host for GitHub.
func (r *repository) online(ctx context.Context, args ...string) (said string, err error) {
	for range attempts {
		if said, err = r.run(ctx, args...); err == nil || ctx.Err() != nil || !cutOff.MatchString(err.Error()) {
			break
		}
		wait(ctx, time.Second)
	}
	return said, err
}

// words are what git said that tells most: the remote's own words, if there
// are any, and else the end.
func words(stderr string) string {
	var remote []string
	for line := range strings.Lines(stderr) {
		if said, ok := strings.CutPrefix(line, "remote: "); ok {
			remote = append(remote, strings.TrimSpace(said))
		}
	}
	if remote != nil {
		stderr = strings.Join(remote, " ")
	}
	return strings.TrimPrefix(tailOf(stderr, 1<<10), "fatal: ")
}

// capped keeps the first bytes of a program's output.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.Buffer.Write(p[:min(len(p), max(0, maxMessage-c.Len()))])
	return len(p), nil
}

func (c *capped) String() string { return strings.TrimSpace(headOf(c.Buffer.String(), maxMessage)) }

// clone makes the directory hold exactly the commit, on the branch: anew, or
// from an earlier task's clone, of which ignored files stay. With Keep all of
// that stays. The notes tell what of the repository could not be had.
func (r *repository) clone(ctx context.Context) (notes []string, err error) {
	if r.git == "" {
		return nil, errors.New("the sandbox's image has no git on its PATH")
	}
	if _, err := os.Lstat(filepath.Join(r.dir, ".git")); err == nil {
		if r.spec.Keep && r.whole(ctx) {
			return r.missing(ctx), nil
		}
		if err := r.update(ctx); err == nil {
			return r.missing(ctx), nil
		} else if ctx.Err() != nil {
			return nil, err
		}
	}
	if err := removeAll(r.dir); err != nil { // damaged, or not a clone
		return nil, err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	if _, err := r.run(ctx, "init", "-q"); err != nil {
		return nil, err
	}
	if err := r.update(ctx); err != nil {
		return nil, err
	}
	return r.missing(ctx), nil
}

// whole reports whether a commit was checked out.
func (r *repository) whole(ctx context.Context) bool {
	_, err := r.run(ctx, "rev-parse", "-q", "--verify", "HEAD")
	return err == nil
}

// update fetches the commit and checks it out over whatever there is.
func (r *repository) update(ctx context.Context) error {
	for _, name := range []string{"index.lock", "HEAD.lock", "config.lock", "shallow.lock"} {
		if err := os.Remove(filepath.Join(r.dir, ".git", name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := r.fetch(ctx, r.spec.Commit); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"checkout", "-q", "-f", "--no-track", "-B", r.spec.Branch, r.spec.Commit},
		{"reset", "-q", "--hard", r.spec.Commit},
		{"clean", "-q", "-ffd"},
	} {
		if _, err := r.online(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets a commit, as deep as the clone is.
func (r *repository) fetch(ctx context.Context, commit string) error {
	// FETCH_HEAD would name the loopback address.
	fetch := []string{"fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"}
	if r.spec.Filter != "" {
		fetch = append(fetch, "--filter="+r.spec.Filter)
	}
	if r.spec.Depth > 0 {
		fetch = append(fetch, "--depth="+strconv.Itoa(r.spec.Depth))
	}
	for _, args := range [][]string{
		{"config", "--replace-all", "remote.origin.url", r.spec.URL},
		{"config", "--replace-all", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
		append(fetch, "origin", commit),
	} {
		if _, err := r.online(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// maxNotes bounds what missing says.
const maxNotes = 20

// missing fetches what a clone alone does not hold, and says what it could
// not get.
func (r *repository) missing(ctx context.Context) (notes []string) {
	if _, err := os.Lstat(filepath.Join(r.dir, ".gitmodules")); err == nil {
		paths, err := r.run(ctx, "config", "-z", "-f", ".gitmodules", "--get-regexp", `^submodule\..*\.path$`)
		if err != nil {
			return []string{"submodules are missing: " + err.Error()}
		}
		for entry := range strings.SplitSeq(strings.TrimSuffix(paths, "\x00"), "\x00") {
			_, path, _ := strings.Cut(entry, "\n")
			// One by one: git checks out none if it could not clone all.
			if _, err := r.online(ctx, "submodule", "update", "-q", "--init", "--recursive", "--depth=1", "--", path); err != nil {
				notes = append(notes, headOf("the submodule "+path+" is missing: "+err.Error(), maxNote))
			}
		}
	}
	if patterns := r.lfs(); patterns != nil {
		notes = append(notes, headOf("files in Git LFS ("+strings.Join(patterns, ", ")+") are pointers only: dayclaude does not fetch what they point to", maxNote))
	}
	return notes[:min(len(notes), maxNotes)]
}

// lfs is the patterns of the files that are kept in Git LFS.
func (r *repository) lfs() (patterns []string) {
	data, err := readBounded(filepath.Join(r.dir, ".gitattributes"), 1<<20)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); slices.Contains(fields, "filter=lfs") && fields[0][0] != '#' {
			patterns = append(patterns, fields[0])
		}
	}
	return patterns
}

// removeAll removes a tree, also where it was made read-only.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// copyIndex copies the clone's index, which knows what Claude added by force
// and which files are unchanged. Its time tells git of which files that is not
// sure: those that were changed in the second in which it was written.
func (r *repository) copyIndex(to string) error {
	from, err := openRegular(filepath.Join(r.dir, ".git", "index"))
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	err = replaceFile(to, func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return err
	})
	if err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
