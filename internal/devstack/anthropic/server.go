// Package anthropic is a scripted Messages API: a real HTTP server that the
// real Claude Code talks to, in which readable scenario files take the place
// of the model (see scenarios/README.md).
//
//	server, err := anthropic.New(anthropic.Options{Key: secret.New("sk-ant-…")})
//	err = server.Start()
//	defer server.Close()
//	// ANTHROPIC_BASE_URL=server.URL()
//
// It answers and refuses as the vendor's documentation says
// (platform.claude.com/docs/en/api), for the part of the API that Claude Code
// uses: messages, streamed or not, their token count, and the models.
package anthropic

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// maxBody is the largest request that the Messages API takes.
const maxBody = 32 << 20

// DefaultModels are the models that a server has unless Options say
// otherwise.
var DefaultModels = []string{
	"claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5",
	"claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5",
}

// Options say how a server behaves. At least one credential is needed.
type Options struct {
	Key   secret.String // accepted as x-api-key
	OAuth secret.String // accepted as bearer token, with the OAuth beta header

	// Scenarios holds scenario files (*.yaml) at its root; nil means the
	// embedded ones.
	Scenarios fs.FS
	// Scenario forces one by name whatever the prompt says.
	Scenario string
	Models   []string     // ids that exist; nil means DefaultModels
	Log      *slog.Logger // nil discards
}

// Server is the API. It is an http.Handler; Start serves it on loopback.
type Server struct {
	options   Options
	log       *slog.Logger
	mux       *http.ServeMux
	scenarios scenarios

	http    *http.Server
	address string
	served  chan error
	cancel  context.CancelFunc // ends answers that stall

	mu       sync.Mutex
	requests []*Request
	broken   []string
	tries    map[string]int // session and step → requests that met it
	cache    map[[32]byte]bool
}

// New makes a server that does not listen yet. It fails on a scenario file
// that is wrong, and on a forced scenario that does not exist.
func New(options Options) (*Server, error) {
	if options.Key.IsZero() && options.OAuth.IsZero() {
		return nil, errors.New("a Messages API needs a key or an OAuth token to accept")
	}
	if options.Models == nil {
		options.Models = DefaultModels
	}
	if options.Scenarios == nil {
		options.Scenarios = embedded()
	}
	loaded, err := loadScenarios(options.Scenarios)
	if err != nil {
		return nil, err
	}
	if _, ok := loaded.named(options.Scenario); !ok && options.Scenario != "" {
		return nil, fmt.Errorf("no scenario is named %q", options.Scenario)
	}
	s := &Server{
		options: options, log: options.Log, scenarios: loaded,
		tries: map[string]int{}, cache: map[[32]byte]bool{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST /v1/messages", s.messages)
	s.mux.HandleFunc("POST /v1/messages/count_tokens", s.countTokens)
	s.mux.HandleFunc("GET /v1/models", s.models)
	s.mux.HandleFunc("GET /v1/models/{id}", s.model)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, &apiError{http.StatusNotFound, "not_found_error", "Not Found"})
	})
	return s, nil
}

// Start serves on a free port of the IPv4 loopback.
func (s *Server) Start() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	base, cancel := context.WithCancel(context.Background())
	s.address, s.cancel, s.served = listener.Addr().String(), cancel, make(chan error, 1)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return nil
}

// URL is the base URL of a started server, without a trailing slash.
func (s *Server) URL() string { return "http://" + s.address }

// Close ends all answers and waits until the server has stopped.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// ServeHTTP answers one request, after what every request needs.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := "req_" + rand.Text()[:24]
	w.Header().Set("Request-Id", id)
	r = s.record(r)
	s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "request_id", id)
	err := s.authorize(r)
	if err == nil && r.Header.Get("Anthropic-Version") == "" {
		err = invalid("anthropic-version: header is required")
	}
	if err != nil {
		refuse(w, err)
		return
	}
	s.update(r, func(q *Request) { q.Authorized = true })
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// authorize holds the request's credential against the ones accepted.
func (s *Server) authorize(r *http.Request) *apiError {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		if same(key, s.options.Key) {
			return nil
		}
		return unauthenticated("invalid x-api-key")
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		return unauthenticated("x-api-key header is required")
	case !same(token, s.options.OAuth):
		return unauthenticated("Invalid bearer token")
	case !strings.Contains(strings.Join(r.Header.Values("Anthropic-Beta"), ","), "oauth-2025-04-20"):
		return unauthenticated("OAuth authentication is currently not supported.")
	}
	return nil
}

func same(given string, wanted secret.String) bool {
	return !wanted.IsZero() && subtle.ConstantTimeCompare([]byte(given), []byte(wanted.Reveal())) == 1
}

// messages answers a call of the model.
func (s *Server) messages(w http.ResponseWriter, r *http.Request) {
	q, err := s.parse(r, true)
	if err != nil {
		refuse(w, err)
		return
	}
	a := s.answer(q, r.Header.Get("X-Claude-Code-Session-Id"))
	reply := a.reply(q.Model, s.usage(q))
	s.update(r, func(rec *Request) {
		if rec.Scenario, rec.Step = a.scenario, a.step; !a.fails() {
			rec.Usage = reply.Usage
		}
	})
	a.send(w, r, reply, q.Stream)
}

func (s *Server) countTokens(w http.ResponseWriter, r *http.Request) {
	q, err := s.parse(r, false)
	if err != nil {
		refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]int64{"input_tokens": s.usage(q).input()})
}

// parse reads and checks a request, and records what it holds.
func (s *Server) parse(r *http.Request, wantMaxTokens bool) (*request, *apiError) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, &apiError{http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size"}
		}
		return nil, invalid("could not read the request body")
	}
	q, refused := parseRequest(body, wantMaxTokens)
	if q != nil {
		s.update(r, func(rec *Request) { rec.Model, rec.Fields = q.Model, q.fields })
	}
	if refused == nil && !slices.Contains(s.options.Models, q.Model) {
		refused = &apiError{http.StatusNotFound, "not_found_error", "model: " + q.Model}
	}
	return q, refused
}

// modelInfo is a model as GET /v1/models lists it.
type modelInfo struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"`
}

func newModelInfo(id string) modelInfo {
	return modelInfo{Type: "model", ID: id, DisplayName: id, CreatedAt: "2026-01-01T00:00:00Z"}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	list := struct {
		Data    []modelInfo `json:"data"`
		HasMore bool        `json:"has_more"`
		FirstID string      `json:"first_id"`
		LastID  string      `json:"last_id"`
	}{Data: []modelInfo{}}
	for _, id := range s.options.Models {
		list.Data = append(list.Data, newModelInfo(id))
	}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = list.Data[0].ID, list.Data[n-1].ID
	}
	writeJSON(w, http.StatusOK, list)
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	if id := r.PathValue("id"); slices.Contains(s.options.Models, id) {
		writeJSON(w, http.StatusOK, newModelInfo(id))
	} else {
		refuse(w, &apiError{http.StatusNotFound, "not_found_error", "model: " + id})
	}
}
