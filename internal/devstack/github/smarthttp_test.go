package github

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// git runs the real git as a client. A token goes into a header, as the
// broker would put it, and not into the URL.
func git(t *testing.T, dir, token string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(gitEnv(), "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
	if token != "" {
		req, _ := http.NewRequest("GET", "/", nil)
		req.SetBasicAuth("x-access-token", token)
		cmd.Env = append(cmd.Env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: "+req.Header.Get("Authorization"))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCloneAndPush(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	dir := filepath.Join(t.TempDir(), "shop")
	if out, err := git(t, "", "", "clone", "--quiet", s.URL()+"/demo/shop", dir); err != nil {
		t.Fatalf("a public repository needs no token: %v\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "run.sh"))
	if err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("run.sh: %v %v", info, err)
	}
	if target, err := os.Readlink(filepath.Join(dir, "docs", "readme-link")); target != "../README.md" {
		t.Errorf("docs/readme-link: %q %v", target, err)
	}
	if out, err := git(t, dir, "", "fsck", "--strict"); err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}

	// More objects than git would leave loose by itself, and a body that is
	// large enough to come in chunks.
	for i := range 150 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), fmt.Appendf(nil, "%d\n", i), 0o644))
	}
	random, err := exec.Command("head", "-c", "2000000", "/dev/urandom").Output()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "large"), random, 0o644))
	for _, args := range [][]string{{"checkout", "--quiet", "-b", "work"}, {"add", "."}, {"commit", "--quiet", "-m", "many"}} {
		if out, err := git(t, dir, "", args...); err != nil {
			t.Fatal(out)
		}
	}
	if out, err := git(t, dir, "", "push", "origin", "work"); err == nil {
		t.Errorf("pushed without a token:\n%s", out)
	}
	if out, err := git(t, dir, "owner", "push", "--quiet", "origin", "work"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	content, _, err := s.File("demo/shop", "work", "large") // through the server's own reader
	if err != nil || !bytes.Equal(content, random) {
		t.Errorf("large: %d bytes, %v", len(content), err)
	}

	// As sandboxd clones: without blobs, or one commit alone.
	for _, args := range [][]string{{"--filter=blob:none"}, {"--depth=1", "--branch=work"}} {
		to := filepath.Join(t.TempDir(), "c")
		if out, err := git(t, "", "", append(append([]string{"clone", "--quiet"}, args...), s.URL()+"/demo/shop.git", to)...); err != nil || strings.Contains(out, "warning") {
			t.Errorf("clone %v: %v\n%s", args, err, out)
		}
	}
	branches, err := s.Branches("demo/shop")
	must(t, err)
	to := t.TempDir()
	for _, args := range [][]string{{"init", "--quiet"}, {"fetch", "--quiet", "--depth=1", s.URL() + "/demo/shop", branches["main"]}} {
		if out, err := git(t, to, "", args...); err != nil {
			t.Errorf("git %v: %v\n%s", args, err, out)
		}
	}
}

// TestGitAccess is a table of who may clone and push what.
func TestGitAccess(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := start(t, Options{Now: func() time.Time { return now }})
	read, write := map[string]string{"contents": "read"}, map[string]string{"contents": "write"}
	for _, token := range []Token{
		{Value: secret.New("nothing"), Login: "demo"},
		{Value: secret.New("stranger"), Login: "eve", Scopes: []string{"repo"}},
		{Value: secret.New("reader"), Login: "rita", Scopes: []string{"repo"}},
		{Value: secret.New("fine-read"), Login: "demo", Kind: FineGrained, Permissions: read},
		{Value: secret.New("fine-write"), Login: "wanda", Kind: FineGrained, Permissions: write},
		{Value: secret.New("fine-elsewhere"), Login: "demo", Kind: FineGrained, Permissions: write, Repositories: []string{"demo/shop"}},
		{Value: secret.New("fine-issues"), Login: "demo", Kind: FineGrained, Permissions: map[string]string{"issues": "write"}},
		{Value: secret.New("app"), Login: "dayclaude[bot]", Kind: App, Permissions: write, Repositories: []string{"demo/vault"}},
		{Value: secret.New("expired"), Login: "demo", Scopes: []string{"repo"}, Expires: now},
	} {
		must(t, s.AddToken(token))
	}
	for _, c := range []struct {
		token, repo string
		pull, push  int
	}{
		{"", "demo/shop", 200, 401},
		{"", "demo/vault", 401, 401},
		{"", "demo/absent", 401, 401},
		{"wrong", "demo/shop", 401, 401},
		{"expired", "demo/shop", 401, 401},
		{"owner", "demo/vault", 200, 200},
		{"owner", "demo/absent", 404, 404},
		{"nothing", "demo/shop", 200, 403},
		{"nothing", "demo/vault", 404, 404},
		{"stranger", "demo/shop", 200, 403},
		{"stranger", "demo/vault", 404, 404},
		{"reader", "demo/vault", 200, 403},
		{"fine-read", "demo/vault", 200, 403},
		{"fine-write", "demo/vault", 200, 200},
		{"fine-elsewhere", "demo/vault", 404, 404},
		{"fine-issues", "demo/vault", 403, 403},
		{"fine-issues", "demo/shop", 200, 403},
		{"app", "demo/vault", 200, 200},
		{"app", "demo/shop", 200, 403},
	} {
		for service, want := range map[string]int{"git-upload-pack": c.pull, "git-receive-pack": c.push} {
			for _, request := range []string{"GET /info/refs?service=" + service, "POST /" + service} {
				method, path, _ := strings.Cut(request, " ")
				req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/"+c.repo+".git"+path, strings.NewReader("0000"))
				must(t, err)
				req.Header.Set("Content-Type", "application/x-"+service+"-request")
				if c.token != "" {
					req.SetBasicAuth("x-access-token", c.token)
				}
				res, err := http.DefaultClient.Do(req)
				must(t, err)
				res.Body.Close()
				if res.StatusCode != want {
					t.Errorf("%q on %s, %s: %d, want %d", c.token, c.repo, request, res.StatusCode, want)
				}
				if (want == 401) != (res.Header.Get("WWW-Authenticate") != "") {
					t.Errorf("%q on %s: WWW-Authenticate %q", c.token, c.repo, res.Header.Get("WWW-Authenticate"))
				}
			}
		}
	}
}

// TestGitPaths asks for what lies in and beside a repository.
func TestGitPaths(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, path := range []string{
		"/demo/shop.git/HEAD", "/demo/shop.git/config", "/demo/shop.git/objects/info/packs", "/demo/shop.git/info/refs",
		"/demo/..%2f1001/info/refs?service=git-upload-pack", "/..%2f..%2fetc/passwd/info/refs?service=git-upload-pack",
		"/1001/info/refs?service=git-upload-pack", "/demo/shop.git/info/refs?service=git-upload-archive",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL()+path, nil)
		must(t, err)
		req.SetBasicAuth("x", "owner")
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != 404 && res.StatusCode != 403 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}
