package claude_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testKey   = "sk-ant-api03-CANARY-key"
	testOAuth = "sk-ant-oat01-CANARY-token"
)

// bench is a repository, a home, and a scripted Messages API behind what
// stands for the broker: it puts the real credential in the dummy's place.
type bench struct {
	t      *testing.T
	server *anthropic.Server
	inv    claude.Invocation
	events []claude.Event

	mu     sync.Mutex
	bodies strings.Builder // of all requests
}

func newBench(t *testing.T, scenario string) *bench {
	t.Helper()
	path := testenv.Claude(t)
	testenv.Command(t, "git")
	server, err := anthropic.New(anthropic.Options{
		Key: secret.New(testKey), OAuth: secret.New(testOAuth), Scenario: scenario,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, server: server}
	broker := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(broker.Close)
	b.inv = claude.Invocation{
		Path: path, Dir: filepath.Join(t.TempDir(), "shop"), Home: t.TempDir(),
		Env:    []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"},
		Prompt: "Please resolve the issue.", Model: "claude-sonnet-5-5", MaxTurns: 20,
		SessionID: uuid.NewString(), BaseURL: broker.URL + "/anthropic",
		APITimeout: time.Minute, MaxRetries: 1,
	}
	if err := os.CopyFS(b.inv.Dir, demo.Shop()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", b.inv.Dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	return b
}

func (b *bench) serve(w http.ResponseWriter, r *http.Request) {
	switch token := r.Header.Get("Authorization"); token {
	case "Bearer dayclaude":
		r.Header.Del("Authorization")
		r.Header.Set("X-Api-Key", testKey)
	case "Bearer sk-ant-oat01-dayclaude":
		r.Header.Set("Authorization", "Bearer "+testOAuth)
	default:
		b.t.Errorf("%s %s came with the credential %q", r.Method, r.URL, token)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Errorf("read request: %v", err)
	}
	b.mu.Lock()
	b.bodies.Write(body)
	b.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.URL.Path = strings.TrimPrefix(r.URL.Path, "/anthropic")
	b.server.ServeHTTP(w, r)
}

// run runs Claude Code and holds what must be so however it ends: nothing is
// left of it, and the scenario went as it was written.
func (b *bench) run(ctx context.Context) claude.Result {
	b.t.Helper()
	result := claude.Run(ctx, b.inv, func(e claude.Event) { b.events = append(b.events, e) })
	if left := b.processes(""); len(left) > 0 {
		b.t.Errorf("processes are left: %v", left)
	}
	if broken := b.server.Broken(); broken != nil {
		b.t.Errorf("the scenario went wrong: %v", broken)
	}
	if result.Duration <= 0 {
		b.t.Errorf("duration is %v", result.Duration)
	}
	return result
}

// processes are those that stand in the bench's repository, with a program of
// that name unless it is empty.
func (b *bench) processes(name string) []int {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		b.t.Error(err)
	}
	var found []int
	for _, link := range links {
		if dir, err := os.Readlink(link); err != nil || dir != b.inv.Dir {
			continue
		}
		process := filepath.Dir(link)
		if comm, err := os.ReadFile(filepath.Join(process, "comm")); err == nil && strings.Contains(string(comm), name) {
			pid, _ := strconv.Atoi(filepath.Base(process))
			found = append(found, pid)
		}
	}
	return found
}

// when waits for a condition on another goroutine and then acts, once.
func (b *bench) when(condition func() bool, act func()) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	done := make(chan struct{})
	b.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !condition() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				b.t.Error("waited in vain")
				act()
				return
			}
		}
		act()
	}()
}

// inTool reports whether the scenario slow-tool has begun its command.
func (b *bench) inTool() bool { return b.exists("begun.txt") && len(b.processes("sleep")) == 5 }

func (b *bench) exists(path string) bool {
	_, err := os.Stat(b.path(path))
	return err == nil
}

func (b *bench) path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(b.inv.Dir, path)
}

func (b *bench) write(path, content string, mode fs.FileMode) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(path)), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.path(path), []byte(content), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(path string) string {
	b.t.Helper()
	content, err := os.ReadFile(b.path(path))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(content)
}

func (b *bench) count(kind claude.EventKind) int {
	n := 0
	for _, e := range b.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
