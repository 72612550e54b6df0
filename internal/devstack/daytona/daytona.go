// Package daytona is an embedded Daytona: a real server on a loopback port
// that speaks the part of Daytona's API and toolbox that our client and the
// basic use of the official SDKs need, and behaves as a v0.190 platform does,
// oddities included.
//
//	engine, err := process.New(process.Options{})
//	server, err := daytona.New(daytona.Options{Engine: engine, Snapshots: []daytona.Snapshot{{Name: "slim"}}})
//	err = server.Start(ctx)
//	defer server.Close(ctx)
//	// DAYTONA_API_URL=server.URL() DAYTONA_API_KEY=server.Key()
//
// What differs from Daytona: preview URLs are loopback addresses, one per
// sandbox and port; an archived sandbox's files stay where they are; a list
// of allowed domains becomes a full block of the network (Engine.Block);
// Dockerfile builds with files beside the Dockerfile, volumes, and SFTP and
// forwarding through SSH are not there; git must be in the image. A sandbox's
// sessions and their logs end with the server, and an SSH connection with its
// access.
package daytona

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// version is the platform release that the server behaves like.
const version = "v0.190.0"

// Options say how a Server behaves. Engine and one Snapshot are required.
type Options struct {
	Engine    Engine
	Addr      string     // listen address, default 127.0.0.1:0
	Key       string     // the API key; random if empty
	Snapshots []Snapshot // the first is the default
	// AnySnapshot takes any name for a snapshot's, for an engine without images.
	AnySnapshot bool
	Registry    *Registry // to push images to, if there is one
	Storage     *Storage  // to push build contexts to, if there is one
	Quota       Quota
	RateLimit   RateLimit
	// Permissions of the API key; default: those of sandboxes and snapshots.
	Permissions []string
	Delays      Delays
	Log         *slog.Logger     // default: discard
	Now         func() time.Time // default: time.Now

	// Wrap, when set, stands before all that the server serves: the API, the
	// toolboxes and the previews.
	Wrap func(http.Handler) http.Handler

	// RemoveOnClose makes Close delete every sandbox, and the snapshots that
	// were made through the API.
	RemoveOnClose bool
}

// Snapshot is an image that sandboxes are made from.
type Snapshot struct {
	Name       string
	Image      string   // what the engine calls it, e.g. a local image tag; default Name
	Entrypoint []string // replaces the image's own when set
	CPU        int      // cores, default 1
	Memory     int      // GiB, default 1
	Disk       int      // GiB, default 3; reported, not enforced
}

// Delays is how long Daytona takes for what an engine does at once.
type Delays struct {
	Pull    time.Duration // of a snapshot's image, at its first use and when it is activated
	Restore time.Duration // of an archived sandbox
	Archive time.Duration // of a stopped one: its backup runs on a timer
	Hold    time.Duration // at most, of a request to create or start a sandbox, until that runs; default 30 s
}

// Quota is what all sandboxes may use together; zero means no limit. CPU and
// memory count while a sandbox is not stopped, disk until it is archived,
// snapshots while they are not inactive.
type Quota struct {
	CPU, Memory, Disk, Snapshots int
}

// Server is the embedded Daytona. Make it with New.
type Server struct {
	opts    Options
	key     string
	log     *slog.Logger
	now     func() time.Time
	limits  limiter
	started time.Time

	listener net.Listener
	http     *http.Server
	ssh      net.Listener    // of the SSH gateway
	ctx      context.Context // ends when the server closes
	cancel   context.CancelCauseFunc
	work     sync.WaitGroup // state changes, sessions, previews, the sweep

	mu        sync.Mutex
	closing   bool
	suspended string // why the organization is; "" while it is not
	full      bool   // no runner takes a sandbox
	snapshots []*snapshot
	sandboxes map[string]*sandbox // by id, destroyed ones included
	watchers  map[*watcher]struct{}
	sshAccess map[string]sshAccess // by token
}

// New prepares a server; Start makes it answer.
func New(opts Options) (*Server, error) {
	if opts.Engine == nil || len(opts.Snapshots) == 0 {
		return nil, errors.New("embedded daytona: an engine and a snapshot are needed")
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Key == "" {
		opts.Key = "dtn_" + rand.Text()
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Permissions == nil {
		opts.Permissions = []string{writeSandboxes, deleteSandboxes, writeSnapshots, deleteSnapshots}
	}
	opts.Delays.Hold = cmp.Or(opts.Delays.Hold, 30*time.Second)
	if opts.Wrap == nil {
		opts.Wrap = func(h http.Handler) http.Handler { return h }
	}
	snapshots := make([]*snapshot, len(opts.Snapshots))
	for i, p := range opts.Snapshots {
		snapshots[i] = given(p, opts.Now().UTC())
	}
	return &Server{
		opts: opts, key: opts.Key, log: opts.Log, now: opts.Now,
		limits:    newLimiter(opts.RateLimit),
		snapshots: snapshots,
		sandboxes: make(map[string]*sandbox),
		watchers:  make(map[*watcher]struct{}),
		sshAccess: make(map[string]sshAccess),
	}, nil
}

// Start takes over the engine's sandboxes and serves until Close.
func (s *Server) Start(ctx context.Context) error {
	s.started = s.now()
	saved, err := s.opts.Engine.Load(ctx)
	if err != nil {
		return fmt.Errorf("load sandboxes: %w", err)
	}
	s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.opts.Addr)
	if err != nil {
		return fault.New(fault.Unavailable, "embedded Daytona cannot listen: %w", err)
	}
	serveSSH, err := s.listenSSH(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("ssh gateway: %w", err), s.listener.Close())
	}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, one := range saved {
		if strings.HasPrefix(one.ID, recordPrefix) {
			s.adoptSnapshot(one)
		} else {
			s.adopt(one)
		}
	}
	s.http = s.newHTTPServer(s.routes())
	s.work.Go(func() { _ = s.http.Serve(s.listener) })
	s.work.Go(serveSSH)
	s.work.Go(s.sweep)
	if notice := s.opts.Engine.Notice(); notice != "" {
		s.log.Warn("sandbox engine", "notice", notice)
	}
	return nil
}

func (s *Server) newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           s.opts.Wrap(handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// URL returns the API's base URL, as in DAYTONA_API_URL.
func (s *Server) URL() string { return s.origin() + "/api" }

func (s *Server) origin() string { return "http://" + s.listener.Addr().String() }

func (s *Server) toolboxURL() string { return s.origin() + "/toolbox" }

// Key returns the API key, as in DAYTONA_API_KEY.
func (s *Server) Key() string { return s.key }

// Notice is the engine's warning to the user, or "".
func (s *Server) Notice() string { return s.opts.Engine.Notice() }

// Close stops serving, waits for what is under way and closes the engine.
// With RemoveOnClose it deletes the sandboxes and snapshots first.
func (s *Server) Close(ctx context.Context) error {
	if s.cancel == nil {
		return s.opts.Engine.Close()
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel(ErrDetached)
	errs := []error{s.ssh.Close(), s.shutdown(ctx)}
	for _, b := range s.all() {
		s.closePreviews(b)
	}
	s.work.Wait()
	if s.opts.RemoveOnClose {
		for _, b := range s.all() {
			if b.State != stateDestroyed {
				errs = append(errs, s.opts.Engine.Remove(ctx, b.ID))
			}
		}
		for _, p := range s.snapshots {
			errs = append(errs, s.forget(ctx, p))
		}
	}
	return errors.Join(append(errs, s.opts.Engine.Close())...)
}

// shutdown lets requests end, which their context tells them to, but does not
// wait long for clients that stall.
func (s *Server) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// begin counts work that Close waits for; false means it is too late.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.work.Add(1)
	return true
}

func (s *Server) all() []*sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*sandbox, 0, len(s.sandboxes))
	for _, b := range s.sandboxes {
		all = append(all, b)
	}
	return all
}
