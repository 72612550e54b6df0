package daytona_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// large is a file on disk with noise in it.
func large(t *testing.T, size int64) (name string, hash []byte) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "large")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	return name, h.Sum(nil)
}

// A large file goes up, once more after an outage, and down, and is held in
// memory nowhere.
func TestLargeFile(t *testing.T) {
	t.Parallel()
	const size = 48 << 20
	w := newWorld(t, standIn(t))
	box, dir := w.toolbox(), w.dir()
	name, want := large(t, size)
	var opened, closed atomic.Int64
	file := daytona.File{Path: dir + "/large", Size: size, Mode: 0o600, Open: func() (io.ReadCloser, error) {
		opened.Add(1)
		f, err := os.Open(name)
		return &counted{f, &closed}, err
	}}
	w.meet(once(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 5<<20)
		panic(http.ErrAbortHandler)
	}))
	if err := box.Upload(t.Context(), daytona.File{Path: dir + "/small", Content: []byte("small")}, file); err != nil {
		t.Fatal(err)
	}
	if n := opened.Load(); n != 2 || closed.Load() != n {
		t.Errorf("opened %d times, closed %d", n, closed.Load())
	}
	got, err := box.Download(t.Context(), dir+"/large")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	h := sha256.New()
	if n, err := io.Copy(h, got); n != size || err != nil || !bytes.Equal(h.Sum(nil), want) {
		t.Errorf("%d bytes came back, %v; equal: %t", n, err, bytes.Equal(h.Sum(nil), want))
	}
}

type counted struct {
	io.ReadCloser
	closed *atomic.Int64
}

func (c *counted) Close() error {
	c.closed.Add(1)
	return c.ReadCloser.Close()
}

// Trouble with what is to be sent is not Daytona's, and not tried again.
func TestUploadOfWhatChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box, dir := w.toolbox(), w.dir()
	for name, content := range map[string]string{"shrinks": "12", "grows": "12345", "is gone": ""} {
		opened := 0
		err := box.Upload(t.Context(), daytona.File{Path: dir + "/f", Size: 3, Open: func() (io.ReadCloser, error) {
			if opened++; content == "" {
				return nil, os.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(content)), nil
		}})
		if e := (*daytona.Error)(nil); err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), dir+"/f") || opened != 1 {
			t.Errorf("a file that %s: %v after it was opened %d times", name, err, opened)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	ctx, box, dir := t.Context(), w.toolbox(), w.dir()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, kind fault.Kind) {
		t.Helper()
		if fault.KindOf(err) != kind {
			t.Errorf("got %v, want one of kind %s", err, kind)
		}
	}
	do(box.MakeDir(ctx, dir+"/a b/c", 0o700))
	do(box.MakeDir(ctx, dir+"/a b/c", 0o700)) // again
	do(box.Upload(ctx, daytona.File{Path: dir + "/a b/ü&?#.txt", Content: []byte("12345"), Mode: 0o640}))
	list, err := box.List(ctx, dir+"/a b")
	do(err)
	if len(list) != 2 || list[0].Name != "c" || !list[0].IsDir || list[0].Regular() || list[0].Perm() != 0o700 ||
		list[1].Name != "ü&?#.txt" || !list[1].Regular() || list[1].Perm() != 0o640 || list[1].Size != 5 || list[1].ModifiedAt.IsZero() {
		t.Errorf("listed %+v", list)
	}
	do(box.Move(ctx, dir+"/a b/ü&?#.txt", dir+"/moved"))
	info, err := box.Info(ctx, dir+"/moved")
	do(err)
	if info.Size != 5 || info.IsDir {
		t.Errorf("moved: %+v", info)
	}
	_, err = box.Info(ctx, dir+"/a b/ü&?#.txt")
	refused(err, fault.NotFound)
	refused(box.Move(ctx, dir+"/moved", dir+"/a b"), fault.Conflict)
	refused(box.Remove(ctx, dir+"/a b", false), fault.Failed)
	do(box.Remove(ctx, dir+"/a b", true))
	do(box.Remove(ctx, dir+"/a b", true)) // gone
	_, err = box.List(ctx, dir+"/a b")
	refused(err, fault.NotFound)
	_, err = box.Download(ctx, dir)
	refused(err, fault.Failed)
	refused(box.Upload(ctx, daytona.File{Path: dir + "/blank "}), fault.Usage)
	err = box.Upload(ctx, daytona.File{Path: dir + "/moved/below", Content: []byte("x")})
	if refused(err, fault.Failed); !strings.Contains(err.Error(), dir+"/moved") {
		t.Errorf("an upload below a file: %v", err)
	}
}

// A sandbox can't lead who copies its files out of their directory.
func TestListOfHostileNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box := w.toolbox()
	for _, name := range []string{"", ".", "..", "../../etc/passwd", "/etc/passwd", `a\u0000b`} {
		w.meet(always(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `[{"name":"good"},{"name":"`+name+`"}]`)
		}))
		if list, err := box.List(t.Context(), "/"); fault.KindOf(err) != fault.Sandbox {
			t.Errorf("%q: got %v, %v", name, list, err)
		}
	}
}

func TestGit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box, dir := w.repository()
	clone := dir + "-clone"
	if err := box.Clone(t.Context(), daytona.Clone{URL: "file://" + dir, Path: clone}); err != nil {
		t.Fatal(err)
	}
	if err := box.Upload(t.Context(), daytona.File{Path: clone + "/b c", Content: []byte("new")}, daytona.File{Path: clone + "/a", Content: []byte("two\n")}); err != nil {
		t.Fatal(err)
	}
	status, err := box.GitStatus(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(status.Files, func(a, b daytona.GitFile) int { return strings.Compare(a.Name, b.Name) })
	if status.Branch != "main" || !status.Published || status.Ahead != 0 || status.Behind != 0 || len(status.Files) != 2 ||
		status.Files[0].Name != "a" || status.Files[0].Worktree != "Modified" || status.Files[1].Name != "b c" || status.Files[1].Worktree != "Untracked" {
		t.Errorf("status %+v", status)
	}
	if branches, err := box.GitBranches(t.Context(), clone); err != nil || !slices.Equal(branches, []string{"main"}) {
		t.Errorf("branches %q, %v", branches, err)
	}
}

// A password for a clone is in the request's body alone.
func TestClonePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box := w.toolbox()
	const password = "hunter2-canary"
	w.meet(always(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Count(string(body), password) != 1 || strings.Contains(r.RequestURI, password) {
			t.Errorf("%s with %s", r.RequestURI, body)
		}
		daytona.Refuse(rw, 401, "authentication required for https://me:"+password+"@example.com/x.git")
	}))
	err := box.Clone(t.Context(), daytona.Clone{URL: "https://example.com/x.git", Path: "/tmp/x", Username: "me", Password: secret.New(password)})
	if fault.KindOf(err) != fault.Auth || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "repository's host") {
		t.Errorf("got %v", err)
	}
	if err := box.Clone(t.Context(), daytona.Clone{URL: "https://me:" + password + "@example.com/x.git", Path: "/tmp/x"}); fault.KindOf(err) != fault.Usage || strings.Contains(err.Error(), password) {
		t.Errorf("a password in the URL: %v", err)
	}
}
