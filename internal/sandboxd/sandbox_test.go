package sandboxd_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/sandboxd"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

const (
	token    = "token-of-the-host"
	session  = "0b3c6d1e-1111-4222-8333-123456789abc"
	patience = 30 * time.Second
)

// fakeClaude stands for Claude Code where only sandboxd's handling of a
// process is at stake: it runs its prompt as a shell script, keeps a
// transcript, and says what Claude Code says.
const fakeClaude = `#!/bin/bash
if [ "$1" = --version ]; then echo "0.0.0 (fake)"; exit; fi
while [ $# -gt 0 ]; do
  case "$1" in --session-id|--resume) how=$1 id=$2 ;; esac; shift
done
transcript="$HOME/.claude/projects/${PWD//[^A-Za-z0-9]/-}/$id.jsonl"
mkdir -p "${transcript%/*}"
prompt=$(cat)
printf '%s\n' "$how" >>"$HOME/calls"
printf '{"prompt":true}\n' >>"$transcript"
printf '%s\n' "$prompt" >"$HOME/prompt"
printf '{"type":"system","subtype":"init","session_id":"%s","model":"m"}\n' "$id"
trap 'exit 130' INT
bash -c "$prompt" >&2 & wait $!
printf '{"type":"result","subtype":"success","is_error":false,"result":"did it","session_id":"%s","num_turns":1}\n' "$id"
`

// sandbox is a home directory, a repository that only the host can read, and
// a client of the sandboxd that serves them.
type sandbox struct {
	t      *testing.T
	home   string
	origin string // bare repository
	base   string // its only commit
	*client.Client
	address string
	model   http.HandlerFunc // what the host answers below /anthropic/
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	testenv.Command(t, "git")
	testenv.Command(t, "bash")
	s := &sandbox{t: t, home: filepath.Join(t.TempDir(), "home"), origin: t.TempDir()}
	s.write("bin/claude", fakeClaude, 0o755)
	hash := sha256.Sum256([]byte(token))
	s.write(api.ClaimFile, `{"token_sha256":"`+hex.EncodeToString(hash[:])+`"}`, 0o600)

	tree := t.TempDir()
	s.git(tree, "init", "-q", "-b", "main")
	for name, content := range map[string]string{
		"README.md": "hello\n", "dos.txt": "one\r\ntwo\r\n", "run.sh": "#!/bin/sh\n", "old.txt": "old\n", ".gitignore": "*.log\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.git(tree, "add", "-A")
	s.git(tree, "commit", "-q", "-m", "base")
	s.base = s.git(tree, "rev-parse", "HEAD")
	s.git(tree, "clone", "-q", "--bare", tree, filepath.Join(s.origin, "shop.git"))
	s.git(filepath.Join(s.origin, "shop.git"), "config", "uploadpack.allowFilter", "true")
	return s
}

func (s *sandbox) write(name, content string, mode os.FileMode) {
	s.t.Helper()
	path := filepath.Join(s.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sandbox) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.home, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// git runs git as somebody outside the sandbox.
func (s *sandbox) git(dir string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *sandbox) environ() []string {
	return []string{"PATH=" + s.home + "/bin:" + os.Getenv("PATH"), "HOME=" + s.home, "SECRET_OF_OURS=no"}
}

// serve starts sandboxd in this process; stop ends it as SIGTERM does.
func (s *sandbox) serve(change ...func(*sandboxd.Config)) (stop func()) {
	s.t.Helper()
	cfg := sandboxd.Config{Home: s.home, Environ: s.environ(), Version: "v0", Instance: "sb", TunnelWait: patience}
	for _, c := range change {
		c(&cfg)
	}
	server, err := sandboxd.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	s.connect(listener.Addr().String())
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("serve: %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *sandbox) connect(address string) {
	s.address = address
	s.Client = client.New(client.Config{
		BaseURL: "http://" + address, Token: secret.New(token), Log: slog.New(slog.DiscardHandler),
		HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

// open opens the tunnel and serves the host's end: git and a model.
func (s *sandbox) open() (closeTunnel func()) {
	s.t.Helper()
	listener, err := s.Tunnel(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", http.StripPrefix("/git", &cgi.Handler{
		Path: filepath.Join(s.git("/", "--exec-path"), "git-http-backend"), Root: "/",
		Env: []string{"GIT_PROJECT_ROOT=" + s.origin, "GIT_HTTP_EXPORT_ALL=1"},
	}))
	mux.HandleFunc("/anthropic/", func(w http.ResponseWriter, r *http.Request) { s.model(w, r) })
	server := &http.Server{Handler: mux}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	closeTunnel = sync.OnceFunc(func() {
		_ = server.Close()
		_ = listener.Close()
		<-done
	})
	s.t.Cleanup(closeTunnel)
	return closeTunnel
}

// task is one whose Claude runs script in the repository.
func (s *sandbox) task(script string) api.Task {
	return api.Task{
		ID: "t1",
		Repository: api.Repository{
			URL: "https://github.example/shop.git", WebURL: "https://github.example/", Name: "shop",
			Commit: s.base, Branch: "dayclaude/issue-1",
		},
		Claude:   api.Claude{Prompt: script, Model: "m", SessionID: session},
		Deadline: time.Now().Add(time.Hour), Sent: time.Now(),
		Bounds: api.Bounds{ChangesetBytes: 1 << 20, ChangesetFiles: 100, SetupTimeout: patience, CheckTimeout: patience},
	}
}

// follow reads a task's events to its end.
func (s *sandbox) follow(id string, after int64) (events []api.Event, ended api.Status) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	err := s.Events(ctx, id, after, func(e api.Event) error {
		events = append(events, e)
		return nil
	})
	if err != nil {
		s.t.Fatalf("events after %d: %v, so far %+v", after, err, events)
	}
	return events, *events[len(events)-1].Ended
}

// do runs a task to its end.
func (s *sandbox) do(task api.Task) ([]api.Event, api.Status) {
	s.t.Helper()
	if _, err := s.CreateTask(s.t.Context(), task); err != nil {
		s.t.Fatal(err)
	}
	return s.follow(task.ID, 0)
}

// appears waits for a file that a process in the sandbox makes.
func (s *sandbox) appears(name string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if _, err := os.Stat(filepath.Join(s.home, name)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not appear", name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// changes fetches the changeset, one line a change.
func (s *sandbox) changes(id string) (*changeset.Set, []string) {
	s.t.Helper()
	set, err := s.Changeset(s.t.Context(), id, 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for _, c := range set.Changes {
		if c.Deleted {
			c.Mode = "deleted"
		}
		lines = append(lines, fmt.Sprintf("%s %s %q", c.Mode, c.Path, c.Content))
	}
	return set, lines
}

func output(events []api.Event) string {
	var all strings.Builder
	for _, e := range events {
		all.WriteString(e.Output)
	}
	return all.String()
}
