package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
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
	// tunnel does as it likes with the sandbox's end of the first tunnels, one
	// after another; nil listens only. The end of the task waits for spent.
	tunnel func(net.Conn)
	spent  chan struct{}

	took int // MiB of memory: the command's peak

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
		"GET /v1/tasks/{id}/events": func(w http.ResponseWriter, r *http.Request) {
			if l.tunnel != nil {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-l.spent:
				case <-r.Context().Done():
				}
			}
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
			socket, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer socket.CloseNow()
			conn := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
			if l.tunnel != nil {
				l.tunnel(conn)
			}
			_, _ = io.Copy(io.Discard, conn)
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

// bomb is endless x's that hardly take anything on their way.
func bomb(head string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		out := gzip.NewWriter(w)
		_, err := io.WriteString(out, head)
		for piece := bytes.Repeat([]byte("x"), 1<<16); err == nil; {
			_, err = out.Write(piece)
		}
	}
}

const (
	routeHealth     = "GET /healthz"
	routeTasks      = "POST /v1/tasks"
	routeTask       = "GET /v1/tasks/{id}"
	routeCancel     = "POST /v1/tasks/{id}/cancel"
	routeEvents     = "GET /v1/tasks/{id}/events"
	routeChangeset  = "GET /v1/tasks/{id}/changeset"
	routeTranscript = "GET /v1/tasks/{id}/transcript"
	routeTunnel     = "GET /v1/tunnel"
)

// What the command may take in MiB of memory: when nothing happens, and
// whatever a sandbox does. It reads 32 MiB of changes, or holds 64 MiB of
// request bodies, and takes them apart. The race detector takes its own.
const (
	quietMemory   = 48
	hostileMemory = 384
	raceMemory    = 4
)

// memory is a bound for the command as it was built.
func memory(most int) int {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		most *= raceMemory
	}
	return most
}

// lie runs the command against a liar and holds what comes of it to bounds.
// want is in the run's error, or "" for a run that must succeed.
func (l *liar) lie(t *testing.T, exit int, want string, flags ...string) (*e2e.Stack, *e2e.Result) {
	t.Helper()
	s := onProcess(t, e2e.Options{Light: true})
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
	l.took = peak()
	t.Logf("it took %d MiB of memory", l.took)
	if l.took > memory(hostileMemory) {
		t.Errorf("the command took %d MiB of memory", l.took)
	}
	if kept := sizeOf(t, s.StateDir()); kept > 150<<20 {
		t.Errorf("the command keeps %d MiB", kept>>20)
	}
	problem, _ := r.JSON()["error"].(map[string]any)
	message, _ := problem["message"].(string)
	if r.Exit != exit || !strings.Contains(message, want) || len(message) > 8<<10 {
		t.Errorf("exit code %d, error %q; want %d and %q", r.Exit, message, exit, want)
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
