package hub

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's own object names
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-github/v62/github"
	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// ModeDirectory is the mode of a directory in an Entry.
const ModeDirectory = "040000"

// MaxFile bounds what File reads, in bytes.
const MaxFile = 1 << 20

// parallel bounds the calls that one method makes at a time. GitHub's
// secondary limit is on concurrent calls of all clients together.
const parallel = 4

// Entry is what stands at a path.
type Entry struct {
	Mode string // as in changeset, or ModeDirectory
	SHA  string
	Size int64 // of a file, in bytes; 0 for everything else
}

// Entries returns what stands in a commit at the given paths, at the
// directories that lead to them and beside each of these: enough to see every
// collision. Paths that are not there are not in the map.
func (c *Client) Entries(ctx context.Context, repo run.Repository, commit string, paths []string) (map[string]Entry, error) {
	wanted := map[string]bool{"": true} // directories to list
	for _, p := range paths {
		for dir := p; strings.Contains(dir, "/"); {
			dir = dir[:strings.LastIndexByte(dir, '/')]
			wanted[dir] = true
		}
	}
	all, err := c.tree(ctx, repo, commit, true)
	if err != nil {
		return nil, err
	}
	if all.GetTruncated() {
		return c.walk(ctx, repo, commit, wanted)
	}
	found := make(map[string]Entry)
	for _, e := range all.Entries {
		if p := e.GetPath(); wanted[parent(p)] {
			found[p] = entryOf(e)
		}
	}
	return found, nil
}

// walk lists the wanted directories one by one, each level at once: for
// repositories whose recursive tree GitHub cuts off.
func (c *Client) walk(ctx context.Context, repo run.Repository, commit string, wanted map[string]bool) (map[string]Entry, error) {
	found := make(map[string]Entry)
	level := map[string]string{"": commit} // directory → its tree
	for len(level) > 0 {
		next := make(map[string]string)
		var mu sync.Mutex
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for dir, sha := range level {
			g.Go(func() error {
				t, err := c.tree(ctx, repo, sha, false)
				if err != nil {
					return err
				}
				if t.GetTruncated() {
					return tooManyEntries(repo, dir)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, e := range t.Entries {
					p := path.Join(dir, e.GetPath())
					found[p] = entryOf(e)
					if wanted[p] && e.GetMode() == ModeDirectory {
						next[p] = e.GetSHA()
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		level = next
	}
	return found, nil
}

func tooManyEntries(repo run.Repository, dir string) error {
	return fault.New(fault.Failed, "reading directory %q of %s: it has too many entries for GitHub's API", dir, repo.FullName())
}

// parent is the directory a path is in, "" for the root.
func parent(p string) string {
	return p[:max(0, strings.LastIndexByte(p, '/'))]
}

func entryOf(e *github.TreeEntry) Entry {
	return Entry{Mode: e.GetMode(), SHA: e.GetSHA(), Size: int64(e.GetSize())}
}

// tree reads the tree of a commit or a tree.
func (c *Client) tree(ctx context.Context, repo run.Repository, sha string, recursive bool) (*github.Tree, error) {
	o := read(repo, fmt.Sprintf("reading tree %.12s of %s", sha, repo.FullName()), contentsRead)
	if !shaPattern.MatchString(sha) {
		return nil, fault.New(fault.Failed, "%s: not an object's name", o.does)
	}
	t, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Tree, *github.Response, error) {
		return gh.Git.GetTree(ctx, repo.Owner, repo.Name, sha, recursive)
	})
	if err == nil && t.GetSHA() == "" {
		return nil, incomplete(o.does)
	}
	return t, err
}

// File reads a file of at most MaxFile bytes at a branch or commit. There is
// none (found is false) only if GitHub lists its directory without it: a
// repository or branch that cannot be read is an error. What is not a plain
// file is refused; this is why it reads trees instead of the contents API,
// which answers a symlink with the file it points to.
func (c *Client) File(ctx context.Context, repo run.Repository, ref, name string) (content []byte, found bool, err error) {
	if !shaPattern.MatchString(ref) {
		if ref, err = c.Head(ctx, repo, ref); err != nil {
			return nil, false, err
		}
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		t, err := c.tree(ctx, repo, ref, false)
		if err != nil {
			return nil, false, err
		}
		at := slices.IndexFunc(t.Entries, func(e *github.TreeEntry) bool { return e.GetPath() == part })
		if at < 0 && t.GetTruncated() {
			return nil, false, tooManyEntries(repo, path.Join(parts[:i]...))
		}
		if at < 0 {
			return nil, false, nil
		}
		e := t.Entries[at]
		ref = e.GetSHA()
		if i < len(parts)-1 {
			if e.GetMode() != ModeDirectory {
				return nil, false, nil
			}
			continue
		}
		if e.GetMode() != changeset.ModeFile && e.GetMode() != changeset.ModeExecutable {
			return nil, false, fault.New(fault.Failed, "reading %s of %s: it is not a plain file", name, repo.FullName()).
				WithHint("make it a plain file: links and directories are not followed")
		}
	}
	content, err = c.Blob(ctx, repo, ref, MaxFile)
	return content, err == nil, err
}

// Blob reads a file's content by its object name and checks it against it. One
// of more than limit bytes is ErrTooLarge.
func (c *Client) Blob(ctx context.Context, repo run.Repository, sha string, limit int64) ([]byte, error) {
	o := read(repo, fmt.Sprintf("reading blob %.12s of %s", sha, repo.FullName()), contentsRead)
	if !shaPattern.MatchString(sha) {
		return nil, fault.New(fault.Failed, "%s: not an object's name", o.does)
	}
	content, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) ([]byte, *github.Response, error) {
		req, err := gh.NewRequest(http.MethodGet, fmt.Sprintf("repos/%s/%s/git/blobs/%s", repo.Owner, repo.Name, sha), nil)
		if err != nil {
			return nil, nil, err
		}
		req.Header.Set("Accept", "application/vnd.github.raw+json")
		w := &capped{limit: limit}
		resp, err := gh.Do(ctx, req, w)
		return w.b.Bytes(), resp, err
	})
	if err != nil {
		return nil, err
	}
	if blobSHA(content) != sha {
		return nil, fault.New(fault.Unavailable, "%s: GitHub's answer is not that blob", o.does)
	}
	return content, nil
}

// capped takes at most limit bytes.
type capped struct {
	b     bytes.Buffer
	limit int64
}

// Write fails with ErrTooLarge beyond the limit.
func (w *capped) Write(p []byte) (int, error) {
	if int64(w.b.Len()+len(p)) > w.limit {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, w.limit)
	}
	return w.b.Write(p)
}

// blobSHA is git's object name of a file with this content.
func blobSHA(content []byte) string {
	h := sha1.New() //nolint:gosec // git's own object names
	fmt.Fprintf(h, "blob %d\x00", len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}
