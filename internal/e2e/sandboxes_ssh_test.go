package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// TestSandboxSSH enters a sandbox with the real ssh.
func TestSandboxSSH(t *testing.T) {
	t.Parallel()
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			testenv.Command(t, "ssh")
			s := e2e.New(t, e2e.Options{Engine: engine, Bare: true})
			id := create(t, s, daytona.CreateSandbox{Name: "box", Labels: map[string]string{"team": "shop"}})
			tokens := watchSSH(t, s)
			ssh := func(args ...string) *e2e.Command {
				return s.Start(append([]string{"sandboxes", "ssh", id, "--all", "--confirm", "box"}, args...)...)
			}

			r := wantExit(t, ssh("--", "echo out; echo err >&2; exit 7").Wait(), 7)
			if r.Stdout != "out\n" || r.Stderr != "err\n" {
				t.Errorf("its streams: %s", r)
			}
			wantExit(t, ssh("--", "true").Wait(), 0)

			c := ssh("--", "echo ready >&2; sleep 600")
			c.WaitFor("ready")
			if token := tokens.last(); strings.Contains(commandLines(t), token) {
				t.Error("the token stands in a process's arguments")
			}
			c.Signal(syscall.SIGINT)
			wantExit(t, c.Wait(), 130)
			for _, token := range tokens.all() {
				if !tokens.revoked(token) {
					t.Errorf("an access stays open")
				}
			}
			if left, _ := filepath.Glob(filepath.Join(s.Env["TMPDIR"], "dayclaude-ssh-*")); len(left) != 0 {
				t.Errorf("left: %v", left)
			}

			r = wantExit(t, ssh("--print", "--expires", "5m").Wait(), 0)
			words := strings.Fields(r.Stdout)
			if len(words) != 4 || words[0] != "ssh" || words[3] != tokens.last()+"@127.0.0.1" {
				t.Fatalf("--print: %s", r)
			}
			holds(t, "--print", r.Stderr, "whoever has this can enter the sandbox until ")
			enter := exec.CommandContext(t.Context(), words[0], append([]string{"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"},
				append(words[1:], "echo from elsewhere")...)...)
			if out, err := enter.Output(); err != nil || string(out) != "from elsewhere\n" {
				t.Errorf("the printed command: %q, %v", out, err)
			}
			v := wantExit(t, ssh("--json").Wait(), 0).JSON()
			if v["id"] != id || v["user"] != tokens.last() || v["host"] != "127.0.0.1" || v["command"] == "" || v["expires_at"] == nil {
				t.Errorf("--json: %v", v)
			}

			wantExit(t, s.Run("sandboxes", "stop", id, "--all", "--confirm", "box"), 0)
			holds(t, "ssh into a stopped one", wantExit(t, ssh().Wait(), 1).Stderr, "sandbox box is stopped, and must be started for that", "`dayclaude sandboxes start box`")
		})
	}
}

// sshTokens are those that Daytona gave away.
type sshTokens struct {
	mu    sync.Mutex
	given []string
	ended map[string]bool
}

func watchSSH(t *testing.T, s *e2e.Stack) *sshTokens {
	t.Helper()
	seen := &sshTokens{ended: map[string]bool{}}
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/ssh-access") {
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			var access struct{ Token string }
			_ = json.Unmarshal(answer.Body.Bytes(), &access)
			seen.mu.Lock()
			if r.Method == http.MethodDelete && answer.Code == http.StatusOK {
				seen.ended[r.URL.Query().Get("token")] = true
			} else {
				seen.given = append(seen.given, access.Token)
			}
			seen.mu.Unlock()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
		})
	})
	return seen
}

func (s *sshTokens) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.given...)
}

func (s *sshTokens) last() string {
	all := s.all()
	return all[len(all)-1]
}

func (s *sshTokens) revoked(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended[token]
}

// commandLines are the arguments of all processes of this machine.
func commandLines(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatal("no processes", err)
	}
	var all strings.Builder
	for _, file := range files {
		b, _ := os.ReadFile(file) // it may have ended
		all.Write(b)
	}
	return all.String()
}
