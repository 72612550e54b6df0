// Package github is an embedded GitHub for tests and the demo: the part of
// the REST API that dayclaude uses, on real bare git repositories that it
// also serves over smart HTTP.
//
//	s, err := github.New(github.Options{})
//	err = s.Start()
//	defer s.Close()
//	err = s.AddRepository(github.Repository{Owner: "demo", Name: "shop", Files: files})
//	number, err := s.AddIssue("demo/shop", github.Issue{Title: "Total is wrong", Author: "ann"})
//	err = s.AddToken(github.Token{Value: secret.New("ghp_x"), Login: "demo", Scopes: []string{"repo"}})
//
// The API's base is URL()+"/api/v3/", as on GitHub Enterprise Server; web and
// clone URLs are URL()+"/owner/name". Tokens, permissions, rate limits and
// conflicts are answered as GitHub answers them; where its documentation is
// silent, as its users report them. Metadata lives in memory, repositories in
// a temporary directory that Close removes.
//
// Known to differ: there are no web pages and forks, and of GraphQL only what
// dayclaude asks; commits by an App are called verified without being signed; a
// push over git is not held against rulesets and the workflow permission, and
// sends no webhook.
package github

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options configure a Server; the zero value serves.
type Options struct {
	Addr      string       // where Start listens; default 127.0.0.1:0
	Log       *slog.Logger // default: nothing is logged
	Now       func() time.Time
	RateLimit int // requests per hour and login; default 5000, as on GitHub
	TreeLimit int // entries in a recursive tree before it is truncated; default 100000
	// Wrap, if set, goes around the whole server: tests inject faults with it,
	// before an effect or after it.
	Wrap func(http.Handler) http.Handler
}

// Server is the embedded GitHub. Once it is started, its methods may be called
// from any goroutine.
type Server struct {
	opts    Options
	dir     string // one bare repository per id
	backend string // git http-backend
	routes  []route
	web     *http.ServeMux // git
	handler http.Handler
	http    *http.Server
	url     string // set by Start
	running sync.WaitGroup
	hooks   *hooks
	close   func() error

	mu        sync.Mutex
	closing   bool
	lastID    int64
	users     map[string]*user  // by lower-case login
	tokens    map[string]*Token // by value
	repos     map[string]*repo  // by lower-case owner/name
	limits    map[string]*window
	secondary secondary
	requests  []Request
}

// Request is one request that was answered, without its credentials.
type Request struct {
	Method, Path string
	Query        string
	Login        string // "" if there was no valid token
	Status       int
}

// maxRequests bounds the log that Requests returns.
const maxRequests = 10_000

// New makes a server that does not listen yet. Close must be called.
func New(opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.RateLimit == 0 {
		opts.RateLimit = 5000
	}
	if opts.TreeLimit == 0 {
		opts.TreeLimit = 100_000
	}
	backend, err := httpBackend()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dayclaude-github-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, dir: dir, backend: backend, lastID: 1000,
		users: map[string]*user{}, tokens: map[string]*Token{}, repos: map[string]*repo{}, limits: map[string]*window{},
		hooks: newHooks(opts.Log),
	}
	s.close = sync.OnceValue(s.shutdown)
	s.routes, s.web = allRoutes(), s.gitRoutes()
	s.handler = http.HandlerFunc(s.dispatch)
	if opts.Wrap != nil {
		s.handler = opts.Wrap(s.handler)
	}
	return s, nil
}

// Start begins to serve. Call it once, before all that follows: what the
// server says holds its address.
func (s *Server) Start() error {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.opts.Addr)
	if err != nil {
		return err
	}
	s.url = "http://" + listener.Addr().String()
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	}
	s.running.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Log.Error("embedded GitHub stopped serving", "error", err)
		}
	})
	return nil
}

// URL is the server's address without a trailing slash.
func (s *Server) URL() string { return s.url }

// APIURL is the base of the REST API, with a trailing slash.
func (s *Server) APIURL() string { return s.url + "/api/v3/" }

// Close ends all requests and webhooks, waits for them, and removes the
// repositories.
func (s *Server) Close() error { return s.close() }

func (s *Server) shutdown() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil { // a request still runs: cut it off
			s.http.Close()
		}
	}
	s.running.Wait()
	s.hooks.close()
	return os.RemoveAll(s.dir)
}

// Requests returns the last requests that were answered, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// dispatch hands a request to the API or to git, and logs it.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	a := &answer{ResponseWriter: w}
	entry := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery}
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/v3/"):
		s.serveAPI(a, r)
	case r.URL.Path == "/api/graphql":
		s.serveRoute(a, r, route{do: graphQL})
	default:
		s.web.ServeHTTP(a, r)
	}
	entry.Login, entry.Status = a.login, a.status
	s.opts.Log.Debug("answered", "method", entry.Method, "path", entry.Path, "login", entry.Login, "status", entry.Status)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxRequests {
		s.requests = append(s.requests[:0], s.requests[maxRequests/2:]...)
	}
	s.requests = append(s.requests, entry)
}

// answer notes the status of an answer and whom it was given to.
type answer struct {
	http.ResponseWriter
	status int
	login  string
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// nextID gives out ids for everything; s.mu is held.
func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

// requestID names one answer, as X-GitHub-Request-Id does.
func (s *Server) requestID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("DC:%08X", s.nextID())
}

func (s *Server) now() time.Time { return s.opts.Now().UTC().Truncate(time.Second) }

// repoDir is where the repository with an id is kept: never named by a user.
func (s *Server) repoDir(name string) string { return filepath.Join(s.dir, name) }
