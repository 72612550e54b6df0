package sandboxd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
)

// request asks sandboxd as anybody could.
func (s *sandbox) request(method, path, bearer, body string) (status int, answer map[string]any) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		s.t.Errorf("%s %s: not JSON: %v", method, path, err)
	}
	return resp.StatusCode, answer
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	good, err := json.Marshal(s.task("true"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		changed := strings.Replace(string(good), old, new, 1)
		if changed == string(good) {
			t.Errorf("%s is not in the task", old)
		}
		return changed
	}
	for _, test := range []struct {
		method, path, bearer, body string
		status                     int
		says                       string
	}{
		{"GET", "/", "", "", 200, "healthy"},
		{"GET", "/container", "", "", 200, "git version"},
		{"GET", "/healthz", "", "", 200, fmt.Sprint("protocol:", api.Protocol)},
		{"GET", "/error", "", "", 500, "always answers 500"},
		{"GET", "/nowhere", "", "", 404, "no such route"},
		{"POST", "/", "", "", 404, "no such route"},
		{"GET", "/v1/nowhere", token, "", 404, "no such route"},
		{"GET", "/v1/tasks/t1", "", "", 401, "not the one of the claim file"},
		{"GET", "/v1/tasks/t1", "wrong", "", 401, "not the one of the claim file"},
		{"GET", "/v1/tunnel", "wrong", "", 401, "not the one of the claim file"},
		{"GET", "/v1/tasks/t1", token, "", 404, "no such task"},
		{"POST", "/v1/tasks", token, "", 400, "not a task: EOF"},
		{"POST", "/v1/tasks", token, "{}", 400, "claude.prompt: missing: the task has no issue"},
		{"POST", "/v1/tasks", token, string(good) + "{}", 400, "something follows"},
		{"POST", "/v1/tasks", token, with(`"id":`, `"idd":`), 400, "unknown field"},
		{"POST", "/v1/tasks", token, with(`"t1"`, `"../t1"`), 400, "id:"},
		{"POST", "/v1/tasks", token, with(`"shop"`, `".."`), 400, "repository.name"},
		{"POST", "/v1/tasks", token, with(`"dayclaude/issue-1"`, `"-x"`), 400, "repository.branch"},
		{"POST", "/v1/tasks", token, with(`"dayclaude/issue-1"`, `"a..b"`), 400, "repository.branch"},
		{"POST", "/v1/tasks", token, with(s.base, "--upload-pack=x"), 400, "repository.commit"},
		{"POST", "/v1/tasks", token, with(`"https://github.example/shop.git"`, `"ext::sh"`), 400, "repository.url"},
		{"POST", "/v1/tasks", token, with(`"repository":{`, `"env":{"ANTHROPIC_BASE_URL":"x"},"repository":{`), 400, "env: ANTHROPIC_BASE_URL"},
		{"POST", "/v1/tasks", token, `{"check":"` + strings.Repeat("x", 5<<20) + `"}`, 400, "too large"},
	} {
		status, answer := s.request(test.method, test.path, test.bearer, test.body)
		if says := fmt.Sprint(answer); status != test.status || !strings.Contains(says, test.says) {
			t.Errorf("%s %s %.80s: %d %s", test.method, test.path, test.body, status, says)
		}
	}
}

// The claim file is read for each request: the host may replace its token.
func TestClaim(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	path := filepath.Join(s.home, api.ClaimFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for content, says := range map[string]string{
		"": "no such file", "{}": "not a SHA-256", `{"token_sha256":"00"}`: "not a SHA-256", `{"token":1}`: "unknown field",
	} {
		if content != "" {
			s.write(api.ClaimFile, content, 0o600)
		}
		_, err := s.Task(t.Context(), "t1")
		if !errors.Is(err, client.ErrClaim) || fault.KindOf(err) != fault.Auth || !strings.Contains(err.Error(), says) {
			t.Errorf("claim %q: %v", content, err)
		}
		if content == "" {
			continue
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if health, err := s.Health(t.Context()); err != nil || !health.OK || !health.Tools["git"] || health.Instance != "sb" {
		t.Errorf("health %+v, %v", health, err)
	}
}

// Requests of Claude wait for a tunnel, are streamed both ways, and go through
// the newest one.
func TestLoopback(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	first := make(chan struct{})
	s.model = func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s\n", r.Method, r.URL, body)
		_ = http.NewResponseController(w).Flush()
		<-first
		fmt.Fprint(w, "end\n")
	}
	closeTunnel := s.open()
	task := s.task(`curl -sN -d '{"a":1}' "$ANTHROPIC_BASE_URL/v1/messages?beta=true" | while read -r line; do echo "$line" >>$HOME/got; touch $HOME/streamed; done; touch $HOME/finished
		until [ -e $HOME/closed ]; do sleep 0.05; done
		touch $HOME/asking; curl -s "$ANTHROPIC_BASE_URL/v1/again" >$HOME/again; touch $HOME/answered
		until [ -e $HOME/replaced ]; do sleep 0.05; done
		curl -s "$ANTHROPIC_BASE_URL/v1/newest" >$HOME/newest`)
	if _, err := s.CreateTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	s.appears("streamed") // before the answer ended
	close(first)
	s.appears("finished")
	closeTunnel()
	s.write("closed", "", 0o600)
	s.appears("asking")
	s.open()
	s.appears("answered")
	s.open() // replaces it
	s.write("replaced", "", 0o600)
	if _, ended := s.follow("t1", 0); ended.Failure != nil {
		t.Fatalf("failure %+v", ended.Failure)
	}
	if got := s.read("got"); got != "POST /anthropic/v1/messages?beta=true {\"a\":1}\nend\n" {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{"again", "newest"} {
		if got, want := s.read(name), "GET /anthropic/v1/"+name+" \nend\n"; got != want {
			t.Errorf("got %q through a new tunnel, want %q", got, want)
		}
	}
}

func TestNoTunnel(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve(func(c *sandboxd.Config) { c.TunnelWait = 20 * time.Millisecond })
	_, ended := s.do(s.task("true"))
	if ended.Failure == nil || ended.Failure.Kind != "clone_failed" || !strings.Contains(ended.Failure.Message, "503") {
		t.Errorf("failure %+v", ended.Failure)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The program that goes into every sandbox stays small: nothing of the host,
// and few modules.
func TestProgram(t *testing.T) {
	t.Parallel()
	const module = "github.com/dayclaude/dayclaude/"
	goTool := func(env []string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	allowed := map[string]bool{
		"github.com/coder/websocket": true, "github.com/coder/websocket/internal/bpool": true, "github.com/coder/websocket/internal/errd": true,
		"github.com/coder/websocket/internal/util": true, "github.com/coder/websocket/internal/xsync": true, "github.com/hashicorp/yamux": true,
		module + "snapshot/sandboxd": true, module + "internal/sandboxd": true, module + "internal/sandboxd/api": true,
		module + "internal/claude": true, module + "internal/changeset": true,
	}
	deps := goTool([]string{"GOOS=linux", "CGO_ENABLED=0"}, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./snapshot/sandboxd")
	for _, dep := range strings.Fields(deps) {
		if !allowed[dep] {
			t.Errorf("sandboxd links %s", dep)
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(t.TempDir(), "sandboxd")
		goTool([]string{"GOOS=linux", "CGO_ENABLED=0", "GOARCH=" + arch}, "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./snapshot/sandboxd")
		gzip := exec.CommandContext(t.Context(), "gzip", "-9", "-c", path)
		var packed bytes.Buffer
		gzip.Stdout = &packed
		if err := gzip.Run(); err != nil {
			t.Fatal(err)
		}
		if packed.Len() > 4_000_000 {
			t.Errorf("%s: %d bytes compressed", arch, packed.Len())
		}
	}
}
