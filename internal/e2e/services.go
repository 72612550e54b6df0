package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Sandboxes are Daytona's sandboxes by their names.
func (s *Stack) Sandboxes() map[string]*client.Sandbox {
	s.t.Helper()
	all := map[string]*client.Sandbox{}
	s.WithDaytona(func(c *client.Client) {
		for sandbox, err := range c.List(s.t.Context(), client.Filter{}) {
			if err != nil {
				s.t.Fatal(err)
			}
			all[sandbox.Name] = sandbox
		}
	})
	return all
}

// DeleteSandboxes deletes all of Daytona's sandboxes.
func (s *Stack) DeleteSandboxes() {
	s.t.Helper()
	s.WithDaytona(func(c *client.Client) {
		for _, sandbox := range s.Sandboxes() {
			s.check("delete a sandbox", c.Delete(s.t.Context(), sandbox.ID))
		}
	})
}

// WithDaytona lends a client of Daytona's API.
func (s *Stack) WithDaytona(do func(*client.Client)) {
	s.t.Helper()
	idle := &http.Transport{}
	defer idle.CloseIdleConnections()
	c, err := client.New(client.Config{
		BaseURL: s.Daytona.URL(), Key: secret.New(s.Canaries["DAYTONA_API_KEY"]), HTTP: &http.Client{Transport: idle},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	do(c)
}

// Model stands between the command line and the Messages API: it sees what
// Claude is told, and can make it wait.
type Model struct {
	next http.Handler

	mu      sync.Mutex
	prompts []string
	held    chan struct{} // closed by release; nil while nothing is held
	waiting int
}

// WatchModel puts a Model before the Messages API.
func (s *Stack) WatchModel() *Model {
	m := &Model{next: s.Anthropic}
	s.Env["ANTHROPIC_BASE_URL"] = s.front(m)
	return m
}

// WrapModel puts a handler around the Messages API, as the broker sees it.
func (s *Stack) WrapModel(around func(http.Handler) http.Handler) {
	s.t.Helper()
	s.Env["ANTHROPIC_BASE_URL"] = s.front(around(s.Anthropic))
}

// Prompts are the first message of each call, oldest call first.
func (m *Model) Prompts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.prompts...)
}

// Hold keeps calls waiting until release is called.
func (m *Model) Hold() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := make(chan struct{})
	m.held = held
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		close(held)
		m.held = nil
	})
}

// Waiting reports whether a call is kept waiting.
func (m *Model) Waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting > 0
}

func (m *Model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	m.mu.Lock()
	m.prompts = append(m.prompts, firstMessage(body))
	held := m.held
	if held != nil {
		m.waiting++
	}
	m.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
		}
		m.mu.Lock()
		m.waiting--
		m.mu.Unlock()
	}
	m.next.ServeHTTP(w, r)
}

// firstMessage is the text that begins a conversation, with all that Claude
// Code adds to it.
func firstMessage(body []byte) string {
	var call struct {
		Messages []struct{ Content json.RawMessage }
	}
	if json.Unmarshal(body, &call) != nil || len(call.Messages) == 0 {
		return ""
	}
	var text string
	if json.Unmarshal(call.Messages[0].Content, &text) == nil {
		return text
	}
	var blocks []struct{ Text string }
	if json.Unmarshal(call.Messages[0].Content, &blocks) != nil {
		return ""
	}
	texts := make([]string, len(blocks))
	for i, b := range blocks {
		texts[i] = b.Text
	}
	return strings.Join(texts, "\n")
}

// WrapDaytona puts a handler around Daytona's API, as the command line sees
// it.
func (s *Stack) WrapDaytona(around func(http.Handler) http.Handler) {
	s.t.Helper()
	base, err := url.Parse(s.Daytona.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: base.Scheme, Host: base.Host}) },
		Transport: transport,
	}
	s.Env["DAYTONA_API_URL"] = s.front(around(proxy)) + base.Path
}

// front serves a handler for the length of the test.
func (s *Stack) front(h http.Handler) string {
	server := httptest.NewServer(h)
	s.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
