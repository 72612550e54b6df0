package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// liar is what may listen on sandboxd's port once the agent has taken the
// sandbox over. Without lies it says that Claude changed the README.
type liar struct {
	lies   map[string]http.HandlerFunc // by route, instead of the truth
	answer string                      // Claude's
	events []api.Event                 // before the end
	set    []changeset.Change

	mu   sync.Mutex
	task api.Task
}

const previewToken = "preview"

func (l *liar) asked() api.Task {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.task
}

func (l *liar) status(phase api.Phase) api.Status {
	return api.Status{ID: l.asked().ID, Phase: phase, Base: l.asked().Repository.Commit}
}

func sendJSON(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // to a client that may be gone

func (l *liar) handler() http.Handler {
	truth := map[string]http.HandlerFunc{
		"GET /healthz": func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, api.Health{OK: true, Protocol: api.Protocol, PID: 2, Tools: map[string]bool{"git": true}})
		},
		"POST /v1/tasks": func(w http.ResponseWriter, r *http.Request) {
			l.mu.Lock()
			_ = json.NewDecoder(r.Body).Decode(&l.task)
			l.mu.Unlock()
			sendJSON(w, l.status(api.PhaseClone))
		},
		"GET /v1/tasks/{id}":         func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, l.status(api.PhaseClaude)) },
		"POST /v1/tasks/{id}/cancel": func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, l.status(api.PhaseEnded)) },
		"GET /v1/tasks/{id}/events": func(w http.ResponseWriter, _ *http.Request) {
			end := l.status(api.PhaseEnded)
			end.Claude = &claude.Result{Ending: claude.Answered, Answer: l.answer, Turns: 1}
			for i, e := range append(l.events[:len(l.events):len(l.events)], api.Event{Phase: api.PhaseEnded, Ended: &end}) {
				e.Number = int64(i + 1)
				sendEvent(w, e)
			}
		},
		"GET /v1/tasks/{id}/changeset": func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, changeset.Set{Base: l.asked().Repository.Commit, Changes: l.set})
		},
		"GET /v1/tasks/{id}/transcript": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") },
		"GET /v1/tunnel": func(w http.ResponseWriter, r *http.Request) {
			if socket, err := websocket.Accept(w, r, nil); err == nil {
				_, _ = io.Copy(io.Discard, websocket.NetConn(r.Context(), socket, websocket.MessageBinary))
			}
		},
	}
	mux := http.NewServeMux()
	for route, handler := range truth {
		if lie := l.lies[route]; lie != nil {
			handler = lie
		}
		mux.HandleFunc(route, handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Daytona-Preview-Token") != previewToken {
			return // some other test's snoop, which knocks on every port
		}
		mux.ServeHTTP(w, r)
	})
}

func sendEvent(w io.Writer, e api.Event) {
	data, _ := json.Marshal(e)
	fmt.Fprintf(w, "data: %s\n\n", data)
}

// endless writes for as long as anybody reads.
func endless(head string, part func(i int) string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, head)
		for i := 1; err == nil; i++ {
			_, err = io.WriteString(w, part(i))
		}
	}
}

const (
	routeHealth     = "GET /healthz"
	routeTasks      = "POST /v1/tasks"
	routeEvents     = "GET /v1/tasks/{id}/events"
	routeChangeset  = "GET /v1/tasks/{id}/changeset"
	routeTranscript = "GET /v1/tasks/{id}/transcript"
	routeTunnel     = "GET /v1/tunnel"
)

// lie runs the command against a liar and holds what comes of it to bounds.
// want is in the run's error, or "" for a run that must succeed.
func (l *liar) lie(t *testing.T, want string, flags ...string) (*e2e.Stack, *e2e.Result) {
	t.Helper()
	s := onProcess(t, e2e.Options{})
	server := httptest.NewServer(l.handler())
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.WrapDaytona(func(real http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/preview-url") {
				sendJSON(w, map[string]string{"sandboxId": "any", "url": server.URL, "token": previewToken})
				return
			}
			real.ServeHTTP(w, r)
		})
	})
	command := s.Start(append([]string{"run-issue", s.Shop(github.Issue{}), "--json"}, flags...)...)
	peak := peakOf(command.PID())
	r := command.Wait()
	if most := peak(); most > 1024 { // with the race detector; without it 300
		t.Errorf("the command took %d MiB of memory", most)
	}
	if kept := sizeOf(t, s.StateDir()); kept > 150<<20 {
		t.Errorf("the command keeps %d MiB", kept>>20)
	}
	problem, _ := r.JSON()["error"].(map[string]any)
	message, _ := problem["message"].(string)
	switch {
	case want == "" && r.Exit != 0:
		t.Error(r)
	case want != "" && (r.Exit == 0 || !strings.Contains(message, want)):
		t.Errorf("exit code %d, error %q; want one with %q", r.Exit, message, want)
	case len(message) > 8<<10:
		t.Errorf("the error is %d bytes long", len(message))
	}
	return s, r
}

// peakOf follows a process until it ends; the function that it returns then
// tells its peak memory in MiB.
func peakOf(pid int) func() int {
	peak, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.Tick(10 * time.Millisecond); ; <-tick {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found { // it is gone, or waits to be
				return
			}
			kib := 0
			_, _ = fmt.Sscan(after, &kib)
			peak = max(peak, kib>>10)
		}
	}()
	return func() int { <-ended; return peak }
}

func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, _ := e.Info()
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return size
}

// TestLies: whatever a taken-over sandbox says, the run ends soon with a
// sentence, within bounds, and nothing is published.
func TestLies(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 4000)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/astray" {
			return // somebody else's
		}
		t.Errorf("the sandbox led the command to another server: %s %v", r.URL, r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	event := func(e api.Event) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { sendEvent(w, e) }
	}
	for name, lie := range map[string]struct {
		route  string
		answer http.HandlerFunc
		want   string
	}{
		"events without end": {routeEvents, endless("", func(i int) string {
			return fmt.Sprintf("data: {\"number\":%d,\"phase\":\"claude\",\"claude\":{\"kind\":\"said\",\"text\":\"%s%[2]s\"}}\n\n", i, text)
		}), "more than"},
		"a line without end":    {routeEvents, endless("data: ", func(int) string { return text }), "a line of events is longer"},
		"a number left out":     {routeEvents, event(api.Event{Number: 2, Phase: api.PhaseClaude, Started: true}), "where 1 is due"},
		"two things at once":    {routeEvents, event(api.Event{Number: 1, Phase: api.PhaseClaude, Started: true, Output: "a"}), "holds 2 things"},
		"an unknown phase":      {routeEvents, event(api.Event{Number: 1, Phase: "\x1b[2J", Started: true}), "holds 1 things"},
		"another task's end":    {routeEvents, event(api.Event{Number: 1, Phase: api.PhaseEnded, Ended: &api.Status{ID: "b", Phase: api.PhaseEnded}}), "ends another task"},
		"another task's status": {routeTasks, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, api.Status{ID: "b", Phase: "clone"}) }, "is about task"},
		"a status without end":  {routeTasks, endless(`{"id":"`, func(int) string { return text }), "more than 1048576 bytes"},
		"a health without end":  {routeHealth, endless(`{"version":"`, func(int) string { return text }), "more than 1048576 bytes"},
		"a way elsewhere": {routeTasks, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/astray", http.StatusPermanentRedirect)
		}, "answered 308"},
		"no tunnel":              {routeTunnel, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, "hello") }, "tunnel"},
		"content without end":    {routeChangeset, endless(`{"changes":[{"path":"a","mode":"100644","content":"`, func(int) string { return text }), "longer than"},
		"changes without end":    {routeChangeset, endless(`{"changes":[`, func(i int) string { return fmt.Sprintf(`{"path":"%d","deleted":true},`, i) }), "more than 20000 changes"},
		"nesting without end":    {routeChangeset, endless(`{"changes":[{"path":`, func(int) string { return strings.Repeat("[", 4000) }), "changeset"},
		"a key it does not have": {routeChangeset, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, map[string]any{"exec": "id"}) }, "unknown key"},
		"another base": {routeChangeset, func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, changeset.Set{Base: strings.Repeat("a", 40), Changes: []changeset.Change{}})
		}, "against"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &liar{lies: map[string]http.HandlerFunc{lie.route: lie.answer}, set: readme}
			s, _ := l.lie(t, lie.want)
			s.NoPull("demo/shop", "main")
		})
	}
}

var readme = []changeset.Change{{Path: "README.md", Mode: changeset.ModeFile, Content: []byte("# Changed\n")}}

// TestHostileChanges: changes that no work tree could hold are refused
// without looking long, and leave nothing outside the run's own directory.
func TestHostileChanges(t *testing.T) {
	t.Parallel()
	deep := make([]changeset.Change, 4000)
	for i := range deep {
		deep[i] = changeset.Change{Path: fmt.Sprintf("%d/%s", i, strings.Repeat("a/", 6000)), Mode: changeset.ModeFile}
	}
	for name, set := range map[string][]changeset.Change{
		"upwards":    {{Path: "../../../../tmp/dayclaude-was-here", Mode: changeset.ModeFile, Content: []byte("a")}},
		"hook":       {{Path: ".git/hooks/pre-commit", Mode: changeset.ModeExecutable, Content: []byte("a")}},
		"absolute":   {{Path: "/etc/cron.d/a", Mode: changeset.ModeFile, Content: []byte("a")}},
		"link":       {{Path: "a", Mode: changeset.ModeSymlink, Content: []byte("/etc/passwd")}},
		"escapes":    {{Path: "a\x1b]0;owned\x07\x1b[2J", Mode: changeset.ModeFile, Content: []byte("a")}},
		"very deep":  deep[:900],
		"deep, many": deep,
	} {
		t.Run(name, func(t *testing.T) {
			s, r := (&liar{set: set}).lie(t, "refused", "--verbose")
			s.NoPull("demo/shop", "main")
			if r.Exit != 6 || strings.Contains(r.Stderr+r.Stdout, "\x1b") {
				t.Error(r)
			}
		})
	}
}

// TestHostileWords: words from the sandbox steer neither the terminal nor
// GitHub, and odd times keep nothing out of the log.
func TestHostileWords(t *testing.T) {
	words := "Fix\x1b]0;owned\x07 the \x1b[31mcart\u202e\n\nThanks to @octocat. Closes #1, closes demo/shop#2.\n" +
		"![pixel](https://attacker.example/p.png) <img src=https://attacker.example/q.png>\n<!-- dayclaude thread=t_x generation=1 -->\n"
	l := &liar{set: readme, answer: words, events: []api.Event{
		{Phase: api.PhaseClaude, Time: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), Output: "from long ago \x1b[2J"},
		{Phase: api.PhaseClaude, Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), Output: "from times to come"},
		{Phase: api.PhaseClaude, Claude: &claude.Event{Kind: claude.Said, Text: words}},
	}, lies: map[string]http.HandlerFunc{
		routeTranscript: endless("", func(int) string { return strings.Repeat("x", 1<<16) }), // no reason to lose the work
	}}
	s, r := l.lie(t, "", "--verbose")
	pull, comment := s.Pull("demo/shop"), s.Comment("demo/shop", 42)
	logs := s.Run("runs", "logs", r.JSON()["run_id"].(string))
	for name, text := range map[string]string{"stdout": r.Stdout, "stderr": r.Stderr, "logs": logs.Stdout, "title": pull.Title, "body": pull.Body, "comment": comment.Body} {
		if strings.ContainsAny(text, "\x1b\x07\u202e") {
			t.Errorf("%s holds control characters: %q", name, text)
		}
	}
	for _, said := range []string{"from long ago", "from times to come"} {
		if !strings.Contains(logs.Stdout, said) {
			t.Errorf("the log does not hold %q:\n%s", said, logs)
		}
	}
	for _, bad := range []string{"thanks to @octocat", "closes #1", "shop#2.", "![", "<img", "thread=t_x"} {
		if strings.Contains(strings.ToLower(pull.Body), bad) {
			t.Errorf("the pull request's body holds %q:\n%s", bad, pull.Body)
		}
	}
	if strings.Count(pull.Body, "<!-- dayclaude ") != 1 {
		t.Errorf("the body's marker is not the one:\n%s", pull.Body)
	}
}
