package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// git runs git without the machine's settings and returns all it prints.
func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Command(t, "git"), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com"}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "CANARY") {
		t.Errorf("git saw the token: %s", out)
	}
	return string(out), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// gitHost serves Demo/Shop.git, privately, as GitHub does.
func gitHost(t *testing.T, token string) *upstream {
	t.Helper()
	root := t.TempDir()
	work := filepath.Join(root, "work")
	mustGit(t, root, "init", "-q", "-b", "trunk", work)
	if err := os.WriteFile(filepath.Join(work, "README"), []byte(strings.Repeat("hello\n", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	mustGit(t, work, "add", ".")
	mustGit(t, work, "commit", "-q", "-m", "first")
	mustGit(t, root, "clone", "-q", "--bare", work, filepath.Join(root, "Demo", "Shop.git"))
	backend := &cgi.Handler{Path: testenv.Command(t, "git"), Args: []string{"http-backend"},
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	return newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if _, password, ok := r.BasicAuth(); !ok || password != token {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		// The backend learns the protocol from its environment only.
		h := *backend
		h.Env = append(h.Env, "GIT_PROTOCOL="+r.Header.Get("Git-Protocol"))
		h.ServeHTTP(w, r)
	})
}

func TestGit(t *testing.T) {
	t.Parallel()
	const token = "ghs_CANARY"
	host := gitHost(t, token)
	b := serve(t, Config{GitURL: host.URL, Repositories: []string{"Demo/Shop", "demo/gone", "demo/denied"},
		GitToken: func(_ context.Context, repository string) (secret.String, error) {
			if repository == "demo/denied" {
				return secret.String{}, errors.New("not installed there")
			}
			return secret.New(token), nil
		}})
	dir := t.TempDir()

	mustGit(t, dir, "clone", "-q", b.url+"/git/demo/shop", "whole")
	mustGit(t, dir, "clone", "-q", "--depth=1", "--filter=blob:none", b.url+"/git/DEMO/shop.git", "part")
	if text, err := os.ReadFile(filepath.Join(dir, "part", "README")); err != nil || len(text) != 6000 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	mustGit(t, filepath.Join(dir, "whole"), "fetch", "-q")
	for _, r := range host.requests() {
		if !strings.HasPrefix(r.URI, "/Demo/Shop.git/") || r.Header.Get("Git-Protocol") != "version=2" {
			t.Errorf("upstream got %s %v", r.URI, r.Header)
		}
	}

	for _, tt := range []struct{ name, says string }{
		{"demo/other", "this run may not read the repository \"demo/other\""},
		{"demo/gone", "demo/gone does not exist, or dayclaude's GitHub token may not read it"},
		{"demo/denied", "could not get a token to read demo/denied"},
	} {
		out, err := git(t, dir, "clone", b.url+"/git/"+tt.name+".git", "none")
		if err == nil || !strings.Contains(out, "remote: ") || !strings.Contains(out, tt.says) {
			t.Errorf("%s: %v\n%s", tt.name, err, out)
		}
	}
	whole := filepath.Join(dir, "whole")
	mustGit(t, whole, "commit", "-q", "--allow-empty", "-m", "mine")
	if out, err := git(t, whole, "push"); err == nil || !strings.Contains(out, "lets a sandbox only fetch") {
		t.Errorf("push: %v\n%s", err, out)
	}
}

func TestGitUpstreamAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		says   string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/demo/new.git", http.StatusMovedPermanently)
		}, 502, "has moved"},
		"page": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>CANARY") }, 502, "answered 200 instead of git's data"},
		"limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 429, "rate limit"},
		"down": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 502, "answered 503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := newUpstream(t, tt.answer)
			b := serve(t, Config{GitURL: host.URL, Repositories: []string{"demo/shop"}})
			b.outage = 0
			status, header, answer := do(t, http.MethodGet, b.url+"/git/demo/shop.git/info/refs?service=git-upload-pack", "",
				"Git-Protocol", "version=2:object-format=sha256", "Cookie", "x")
			if status != tt.status || !strings.Contains(answer, tt.says) || name == "limit" && header.Get("Retry-After") != "9" {
				t.Errorf("got %d %q %v", status, answer, header)
			}
			got := host.requests()
			if len(got) != 1 || got[0].Header.Get("Authorization") != "" || got[0].Header.Get("Git-Protocol") != "" || got[0].Header.Get("Cookie") != "" {
				t.Errorf("upstream got %+v", got)
			}
		})
	}
}

// TestGitBody: what git asks for passes as it is, compressed and in chunks,
// but not without end.
func TestGitBody(t *testing.T) {
	t.Parallel()
	host := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		fmt.Fprint(w, "0000")
	})
	b := serve(t, Config{GitURL: host.URL, Repositories: []string{"demo/shop"}})
	for _, tt := range []struct {
		size, status int
	}{{70000, 200}, {maxPack + 1, 502}} {
		body := io.LimitReader(endless{}, int64(tt.size)) // of a length that Go's client doesn't know
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/git/demo/shop.git/git-upload-pack", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Content-Encoding", "gzip")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%d bytes: status %d", tt.size, resp.StatusCode)
		}
	}
	got := host.requests()
	if len(got) != 1 || len(got[0].Body) != 70000 || got[0].Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("upstream got %d requests", len(got))
	}
}

// endless reads as zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
