package daytona

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	canary = "dtn_canary_0123456789"
	name   = "dayclaude-1-42-1"
	id     = "9f1c2d3e-0000-4000-8000-000000000001"
)

var ours = map[string]string{"dayclaude/store": "s1"}

// server is a real HTTP server in front of a handler; it remembers requests.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method and path
}

func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// serve starts a server and a client of it that does not really sleep; pauses
// returns what it would have slept.
func serve(t *testing.T, h http.Handler) (c *Client, s *server, pauses func() []time.Duration) {
	t.Helper()
	s = &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c, err := New(Config{BaseURL: s.URL + "/api", Key: secret.New(canary), Target: "eu", Version: "1.2.3", HTTP: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c, s, c.Hurry()
}

// toolbox is the toolbox of a sandbox on s.
func (s *server) toolbox(c *Client) *Toolbox {
	return c.Toolbox(&Sandbox{ID: id, ToolboxProxyURL: s.URL + "/toolbox/"})
}

// record is a sandbox as api.json has it.
func record(state, desired State, reason string) map[string]any {
	return map[string]any{
		"id": id, "name": name, "organizationId": "org", "user": "daytona", "env": map[string]string{}, "labels": ours,
		"public": false, "networkBlockAll": false, "domainAllowList": "pypi.org,*.npmjs.org", "target": "eu",
		"cpu": 1, "gpu": 0, "memory": 1, "disk": 3, "toolboxProxyUrl": "https://proxy.example/toolbox",
		"state": state, "desiredState": desired, "errorReason": reason, "autoStopInterval": 15,
		"createdAt": "2026-11-23T10:00:00.000Z", "updatedAt": "soon", "fieldOfTomorrow": []int{1},
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// started answers everything with a sandbox that is.
func started() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, record(Started, Started, "")) })
}

func asked() CreateSandbox {
	return CreateSandbox{
		Name: name, Labels: ours, Snapshot: "dayclaude/slim:1", Domains: Domains{"*.npmjs.org", "PyPI.org"},
		AutoStop: new(15), AutoArchive: new(0), AutoDelete: new(-1),
	}
}
