package github

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestClose cuts off a push that never ends, and leaves nothing behind.
func TestClose(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	s, err := New(Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			next.ServeHTTP(w, r)
		})
	}})
	must(t, err)
	must(t, s.Start())
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "shop", Files: shop}))
	dir, err := s.GitDir("demo/shop")
	must(t, err)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /demo/shop.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-upload-pack-request\r\nContent-Length: 1000\r\n\r\n0000")
	must(t, err)
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for a request that does not end")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the repositories are left: %v", err)
	}
	must(t, s.Close()) // once more does nothing
}

// TestWrap: a fault can come after the effect.
func TestWrap(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == "POST" {
				panic(http.ErrAbortHandler)
			}
		})
	}})
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.APIURL()+"repos/demo/shop/issues/42/comments", strings.NewReader(`{"body":"lost answer"}`))
	must(t, err)
	req.Header.Set("Authorization", "Bearer owner")
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Errorf("an answer came: %d", res.StatusCode)
	}
	comments, err := s.Comments("demo/shop", 42)
	if len(comments) != 1 || err != nil {
		t.Errorf("comments: %v %v", comments, err)
	}
}

func TestRequestsHoldNoToken(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	ask(t, s, "owner", "GET /repos/demo/shop/pulls?state=all", "")
	ask(t, s, "unknown", "GET /user", "")
	want := []Request{
		{Method: "GET", Path: "/api/v3/repos/demo/shop/pulls", Query: "state=all", Login: "demo", Status: 200},
		{Method: "GET", Path: "/api/v3/user", Status: 401},
	}
	got := s.Requests()
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("requests: %+v", got)
	}
}

// TestGitOutput: what git prints is bounded.
func TestGitOutput(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	dir, err := s.GitDir("demo/shop")
	must(t, err)
	if out, err := gitDir(dir).git(t.Context(), 5, "log"); !errors.Is(err, errTooLarge) {
		t.Errorf("%q %v", out, err)
	}
	if out, err := gitDir(dir).git(t.Context(), 41, "rev-parse", "main"); len(out) != 41 || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

func TestSetUpErrors(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for name, err := range map[string]error{
		"the same repository":  s.AddRepository(Repository{Owner: "Demo", Name: "SHOP"}),
		"no name":              s.AddRepository(Repository{Owner: "demo"}),
		"a branch's name":      s.AddRepository(Repository{Owner: "demo", Name: "b", DefaultBranch: "a..b"}),
		"a role":               s.AddRepository(Repository{Owner: "demo", Name: "r", Collaborators: map[string]string{"x": "god"}}),
		"a path":               s.AddRepository(Repository{Owner: "demo", Name: "p", Files: fstest.MapFS{"pipe": {Mode: os.ModeNamedPipe}}}),
		"a token without user": s.AddToken(Token{}),
		"a comment on nothing": second(s.AddComment("demo/shop", 99, "ann", "x")),
		"an issue of nothing":  second(s.AddIssue("demo/absent", Issue{})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzObjects: whatever a push brings is parsed without a panic, and a tree
// that parses is written as it was.
func FuzzObjects(f *testing.F) {
	f.Add([]byte("100644 a\x00aaaaaaaaaaaaaaaaaaaa40000 b\x00bbbbbbbbbbbbbbbbbbbb"))
	f.Add([]byte("40000 a\x00aaaaaaaaaaaaaaaaaaaa100644 a.b\x00bbbbbbbbbbbbbbbbbbbb"))
	f.Add([]byte("tree x\nparent y\nauthor A <a> 1 +0000\n\nm"))
	f.Add([]byte("object 0123456789012345678901234567890123456789\ntype commit\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		g := gitDir(t.TempDir())
		for _, kind := range []string{kindBlob, kindCommit, kindTag, kindTree} {
			hash, err := g.write(kind, data)
			must(t, err)
			if is, size, err := g.stat(hash); is != kind || size != int64(len(data)) || err != nil {
				t.Fatalf("stat: %s %d %v", is, size, err)
			}
			g.commit(hash)
			g.peel(hash)
			g.lookup(hash, "a/b")
			entries, err := g.tree(hash)
			if err != nil || !slices.IsSortedFunc(entries, byGitOrder) {
				continue
			}
			if again, err := g.writeTree(entries); again != hash && canonical(entries) || err != nil {
				t.Errorf("%q was written as another tree (%v)", data, err)
			}
		}
	})
}

// canonical reports whether the entries are such as git writes: each name
// once, and modes as git spells them.
func canonical(entries []treeEntry) bool {
	names := map[string]bool{}
	for _, e := range entries {
		if names[e.name] || !slices.Contains([]string{modeFile, modeExecutable, modeSymlink, modeSubmodule, modeTree}, e.mode) {
			return false
		}
		names[e.name] = true
	}
	return true
}
