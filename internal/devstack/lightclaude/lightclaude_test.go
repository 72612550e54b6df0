package lightclaude_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/lightclaude"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

func TestMain(m *testing.M) {
	if lightclaude.Called() {
		os.Exit(lightclaude.Main())
	}
	goleak.VerifyTestMain(m)
}

// Programs that take Claude Code's place, itself among them.
func programs(t *testing.T) map[string]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	light := filepath.Join(t.TempDir(), lightclaude.Name)
	if err := os.Symlink(self, light); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"real": testenv.Claude(t), "light": light}
}

// said is what came of a scenario, as far as both must agree.
type said struct {
	Events []claude.Event
	Result claude.Result
	Tree   string // what git says of the repository
}

// world is a repository and a scripted Messages API.
type world struct {
	t      *testing.T
	inv    claude.Invocation
	server *anthropic.Server
}

func newWorld(t *testing.T, path, scenario string) *world {
	t.Helper()
	key, token := secret.New("sk-ant-api03-key"), secret.New("sk-ant-oat01-token")
	server, err := anthropic.New(anthropic.Options{Key: key, OAuth: token, Scenario: scenario})
	if err != nil {
		t.Fatal(err)
	}
	lender := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "oat01") {
			r.Header.Set("Authorization", "Bearer "+token.Reveal())
		} else {
			r.Header.Del("Authorization")
			r.Header.Set("X-Api-Key", key.Reveal())
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(lender.Close)
	w := &world{t: t, server: server, inv: claude.Invocation{
		Path: path, Dir: filepath.Join(t.TempDir(), "shop"), Home: t.TempDir(),
		Env:    []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"},
		Prompt: "Please resolve the issue.", Model: "claude-sonnet-5-5", MaxTurns: 20,
		SessionID: uuid.NewString(), BaseURL: lender.URL, APITimeout: time.Minute, MaxRetries: 2,
	}}
	if err := os.CopyFS(w.inv.Dir, demo.Shop()); err != nil {
		t.Fatal(err)
	}
	w.git("init", "-q")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "base")
	return w
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), testenv.Command(w.t, "git"), args...)
	cmd.Dir, cmd.Env = w.inv.Dir, w.inv.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// run starts the program and takes out of what it said all that two programs
// cannot agree on.
func (w *world) run(ctx context.Context) said {
	w.t.Helper()
	var s said
	plain := regexp.MustCompile(regexp.QuoteMeta(w.inv.Dir) + `|\d{10}|` + w.inv.SessionID) // \d: a time
	s.Result = claude.Run(ctx, w.inv, func(e claude.Event) {
		e.SessionID, e.Version, e.Delay = "", "", 0
		e.InputTokens, e.OutputTokens = 0, min(e.OutputTokens, 1)
		e.Summary = plain.ReplaceAllString(e.Summary, "…")
		if !e.ResetsAt.IsZero() {
			e.ResetsAt = time.Unix(1, 0)
		}
		s.Events = append(s.Events, e)
	})
	r := &s.Result
	if r.SessionID != w.inv.SessionID && r.Ending != claude.NotStarted || r.Duration <= 0 || (r.InputTokens > 0) != (r.OutputTokens > 0) {
		w.t.Errorf("result: %+v", *r)
	}
	r.SessionID, r.Duration, r.CostUSD, r.InputTokens, r.OutputTokens = "", 0, 0, 0, 0
	if !r.ResetsAt.IsZero() {
		r.ResetsAt = time.Unix(1, 0)
	}
	r.Message = plain.ReplaceAllString(r.Message, "…")
	r.Message, _, _ = strings.Cut(r.Message, " If it persists") // advice, with an address
	r.Message, _, _ = strings.Cut(r.Message, " · resets")       // in words
	s.Tree = w.git("status", "--porcelain", "--ignored") + w.git("log", "--format=%s") + plain.ReplaceAllString(w.git("diff"), "…")
	if broken := w.server.Broken(); broken != nil {
		w.t.Errorf("the scenario went wrong: %v", broken)
	}
	return s
}

// TestLikeTheRealOne holds that with every script both say the same, end the
// same way and leave the same files.
func TestLikeTheRealOne(t *testing.T) {
	for name, change := range map[string]func(*claude.Invocation){
		"shop":        nil,
		"kinds":       nil,
		"cut":         nil,
		"max-turns":   func(inv *claude.Invocation) { inv.MaxTurns = 3 },
		"api-400":     nil,
		"api-401":     nil,
		"api-403":     nil,
		"api-404":     nil,
		"api-529":     nil,
		"usage-limit": func(inv *claude.Invocation) { inv.OAuth = true },
		"no-change":   func(inv *claude.Invocation) { inv.SessionID = "no-uuid" },
		"secret":      func(inv *claude.Invocation) { inv.Resume = true }, // what there is nothing of
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]said{}
			for program, path := range programs(t) {
				w := newWorld(t, path, name)
				if change != nil {
					change(&w.inv)
				}
				got[program] = w.run(t.Context())
			}
			if !reflect.DeepEqual(got["light"], got["real"]) {
				t.Errorf("light: %+v\n\nreal: %+v", got["light"], got["real"])
			}
		})
	}
}

// TestSession kills it in the middle of a tool and in the middle of a call. A
// resumed session goes on where it was.
func TestSession(t *testing.T) {
	for name, path := range programs(t) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, path, "slow-tool")
			w.interrupt(syscall.SIGKILL, claude.Killed)
			w.inv.Resume, w.inv.Prompt = true, "Go on where you were interrupted."
			s := w.run(t.Context())
			if s.Result.Ending != claude.Answered || s.Result.Answer != "The build is done." || s.Result.Turns != 2 {
				t.Errorf("resumed: %+v", s.Result)
			}
			requests := w.server.Requests()
			if last := requests[len(requests)-1]; last.Step != 2 {
				t.Errorf("the last call was step %d", last.Step)
			}
		})
	}
}

// TestSignals interrupts the light one as a person or a sandbox's stop does.
func TestSignals(t *testing.T) {
	w := newWorld(t, programs(t)["light"], "slow-tool")
	w.interrupt(syscall.SIGTERM, claude.Killed)

	w = newWorld(t, programs(t)["light"], "slow-tool")
	ctx, cancel := context.WithCancel(t.Context())
	stop := context.AfterFunc(t.Context(), cancel)
	defer stop()
	wait := w.whenInTool(cancel)
	if s := w.run(ctx); s.Result.Ending != claude.Cancelled || s.Result.ExitCode != 0 || s.Result.Turns != 1 {
		t.Errorf("SIGINT in a tool: %+v", s.Result)
	}
	wait()
}

// interrupt runs the program and sends it a signal while a tool works.
func (w *world) interrupt(signal syscall.Signal, want claude.Ending) {
	w.t.Helper()
	wait := w.whenInTool(func() {
		for _, pid := range w.processes() {
			if err := syscall.Kill(pid, signal); err != nil {
				w.t.Errorf("kill: %v", err)
			}
		}
	})
	if s := w.run(w.t.Context()); s.Result.Ending != want || s.Result.ExitCode != 128+int(signal) {
		w.t.Errorf("%v: %+v", signal, s.Result)
	}
	wait()
}

// whenInTool acts once the scenario slow-tool has begun its command; the
// returned function waits for that.
func (w *world) whenInTool(act func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer act()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(w.inv.Dir, "begun.txt")); err == nil {
				return
			}
		}
		w.t.Error("waited in vain for the tool")
	}()
	return func() { <-done }
}

// processes are the programs that stand in the repository and are called
// claude.
func (w *world) processes() (pids []int) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		w.t.Error(err)
	}
	for _, link := range links {
		if dir, err := os.Readlink(link); err != nil || dir != w.inv.Dir {
			continue
		}
		process := filepath.Dir(link)
		line, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if program, _, _ := strings.Cut(string(line), "\x00"); err == nil && filepath.Base(program) == lightclaude.Name {
			pids = append(pids, pidOf(process))
		}
	}
	return pids
}

func pidOf(process string) int {
	pid, _ := strconv.Atoi(filepath.Base(process)) // the pattern says digits
	return pid
}
