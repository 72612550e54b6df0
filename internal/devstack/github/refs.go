package github

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gitTimeout bounds each run of git.
const gitTimeout = 30 * time.Second

// gitEnv keeps the user's own git settings out.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
	}
}

// gitError is a run of git that failed.
type gitError struct {
	args   []string
	stderr string
	err    error
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: %v: %s", strings.Join(e.args, " "), e.err, e.stderr)
}
func (e *gitError) Unwrap() error { return e.err }

// git runs the system's git on the repository and returns what it prints, at
// most limit bytes of it; errTooLarge if there was more.
func (g gitDir) git(ctx context.Context, limit int64, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir=" + string(g)}, args...)...)
	cmd.Env = gitEnv()
	cmd.WaitDelay = time.Second
	stdout, stderr := &capped{limit: limit}, &capped{limit: 4 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return nil, &gitError{args, strings.TrimSpace(stderr.kept.String()), err}
	}
	if stdout.more {
		return nil, errTooLarge
	}
	return stdout.kept.Bytes(), nil
}

// capped keeps the first limit bytes written to it and drops the rest.
type capped struct {
	kept  bytes.Buffer // not embedded: its ReadFrom would go past Write
	limit int64
	more  bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := min(c.limit-int64(c.kept.Len()), int64(len(p)))
	c.more = c.more || room < int64(len(p))
	c.kept.Write(p[:room])
	return len(p), nil
}

// initGit makes a bare repository that keeps its objects loose, and serves
// what GitHub serves: partial clones and single commits.
func initGit(ctx context.Context, path, branch string) (gitDir, error) {
	g := gitDir(path)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", err
	}
	if _, err := g.git(ctx, 1<<10, "init", "--quiet", "--bare", "--template=", "--initial-branch="+branch); err != nil {
		return "", err
	}
	f, err := os.OpenFile(filepath.Join(path, "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(`
[gc]
	auto = 0
[receive]
	autogc = false
	fsckObjects = true
	unpackLimit = 1000000000
	maxInputSize = 268435456
	denyDeleteCurrent = refuse
[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
`)
	_, treeErr := g.write(kindTree, nil)
	return g, errors.Join(err, f.Close(), treeErr)
}

// ref is a reference with its full name and what it points to.
type ref struct{ name, hash string }

// validRef reports whether name is a full reference name by the rules of git
// check-ref-format; such a name is also safe as a path below the repository.
func validRef(name string) bool {
	if !strings.HasPrefix(name, "refs/") || strings.Count(name, "/") < 2 || len(name) > 250 ||
		strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") ||
		strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// ref returns what a reference points to, "" if there is none of that name.
func (g gitDir) ref(name string) (string, error) {
	if !validRef(name) {
		return "", nil
	}
	data, err := os.ReadFile(filepath.Join(string(g), filepath.FromSlash(name)))
	hash := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return "", nil // absent, below another reference, or above others
	case err == nil && !isHash(hash):
		return "", fmt.Errorf("%s holds no object's name", name)
	}
	return hash, err
}

// refs lists the references whose full name begins with prefix, by name.
func (g gitDir) refs(prefix string) ([]ref, error) {
	var list []ref
	err := filepath.WalkDir(filepath.Join(string(g), "refs"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(string(g), path)
		if name = filepath.ToSlash(name); err != nil || !strings.HasPrefix(name, prefix) || !validRef(name) {
			return err
		}
		hash, err := g.ref(name)
		if hash != "" {
			list = append(list, ref{name, hash})
		}
		return err
	})
	slices.SortFunc(list, func(a, b ref) int { return cmp.Compare(a.name, b.name) })
	return list, err
}

// zeroHash stands for "no object" in update-ref.
var zeroHash = strings.Repeat("0", 40)

// setRef moves a reference from old ("" if it must not exist) to hash ("" to
// delete it), under git's own lock.
func (g gitDir) setRef(ctx context.Context, name, hash, old string) error {
	if hash == "" {
		_, err := g.git(ctx, 1<<10, "update-ref", "-d", name, old)
		return err
	}
	_, err := g.git(ctx, 1<<10, "update-ref", name, hash, cmp.Or(old, zeroHash))
	return err
}

// mergeBase is the best common ancestor of two commits, "" if there is none.
func (g gitDir) mergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := g.git(ctx, 1<<10, "merge-base", a, b)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// count is the number of commits that are reachable from one and not the other.
func (g gitDir) count(ctx context.Context, from, to string) (int, error) {
	out, err := g.git(ctx, 1<<10, "rev-list", "--count", from+".."+to, "--")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// peel follows annotated tags to what they name.
func (g gitDir) peel(hash string) (string, error) {
	for range 8 {
		kind, _, err := g.stat(hash)
		if err != nil || kind != kindTag {
			return hash, err
		}
		data, err := g.read(hash, kindTag)
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(data), "\n")
		hash = strings.TrimPrefix(line, "object ")
	}
	return "", errNoObject
}

// resolve finds the commit that a name means: a full hash, a branch, a tag,
// or a reference's name; errNoObject if it means none.
func (g gitDir) resolve(name string) (string, error) {
	if isHash(name) {
		if _, _, err := g.stat(name); err == nil {
			return g.peel(name)
		}
	}
	for _, full := range []string{"refs/heads/" + name, "refs/tags/" + name, "refs/" + name, name} {
		hash, err := g.ref(full)
		if err != nil {
			return "", err
		}
		if hash != "" {
			return g.peel(hash)
		}
	}
	return "", errNoObject
}

// signature is who made a commit and when.
type signature struct {
	name, email string
	when        time.Time
}

// commit is a parsed commit object.
type commit struct {
	hash, tree        string
	parents           []string
	author, committer signature
	message           string
}

func (s signature) String() string {
	clean := strings.NewReplacer("<", "", ">", "", "\n", "", "\x00", "")
	return fmt.Sprintf("%s <%s> %d %s", clean.Replace(s.name), clean.Replace(s.email), s.when.Unix(), s.when.Format("-0700"))
}

// parseSignature reads "Name <mail> 1700000000 +0100".
func parseSignature(s string) signature {
	name, rest, _ := strings.Cut(s, " <")
	email, when, _ := strings.Cut(rest, "> ")
	unix, _, _ := strings.Cut(when, " ")
	seconds, _ := strconv.ParseInt(unix, 10, 64)
	return signature{name, email, time.Unix(seconds, 0).UTC()}
}

func (g gitDir) commit(hash string) (commit, error) {
	data, err := g.read(hash, kindCommit)
	if err != nil {
		return commit{}, err
	}
	c := commit{hash: hash}
	head, message, _ := strings.Cut(string(data), "\n\n")
	c.message = message
	for line := range strings.SplitSeq(head, "\n") {
		switch key, value, _ := strings.Cut(line, " "); key {
		case "tree":
			c.tree = value
		case "parent":
			c.parents = append(c.parents, value)
		case "author":
			c.author = parseSignature(value)
		case "committer":
			c.committer = parseSignature(value)
		}
	}
	return c, nil
}

// writeCommit stores a commit and returns it with its hash.
func (g gitDir) writeCommit(c commit) (commit, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", c.tree)
	for _, p := range c.parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s", c.author, c.committer, c.message)
	var err error
	c.hash, err = g.write(kindCommit, []byte(b.String()))
	return c, err
}
