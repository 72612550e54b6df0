// Package sandboxd is the server that runs in a sandbox and does the host's
// tasks there: clone, setup, Claude Code, check, and what came of them. It
// holds no secret: orders carry a token whose hash the host left in the claim
// file, and keys are lent by the host through a tunnel that the host opens.
//
//	server, err := sandboxd.New(sandboxd.Config{Home: home, Environ: os.Environ(), …})
//	err = server.Serve(ctx, listener) // until ctx is done; a task under way is taken up by the next Serve
//
// Package api describes the routes. Everything kept is below HOME/.sandboxd:
//
//	claim.json                 written by the host
//	tasks/ID/task.json         what was asked, as it came
//	tasks/ID/state.json        how far it got, replaced whole
//	tasks/ID/events.jsonl      what happened, one Event a line, only appended to
//	tasks/ID/changeset.json    what Claude left, once it ended
//	tasks/ID/tree/             the same as git's objects
//	reserve                    room for these two, should the disk be full
package sandboxd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// Config is what a Server needs. Home and Environ are required.
type Config struct {
	Home     string   // absolute path of the home directory that state, repositories and Claude's sessions live in
	Environ  []string // our environment; a short list of it reaches the tasks' processes
	Version  string   // of dayclaude, as told by the health routes
	Instance string   // what to call this sandbox there
	Log      *slog.Logger
	Now      func() time.Time // wall clock
	// TunnelWait is how long a request of Claude or git waits for a tunnel
	// before it is answered 503. Zero means five minutes.
	TunnelWait time.Duration
}

// Server does one task at a time.
type Server struct {
	cfg     Config
	started time.Time
	tunnel  *tunnel
	tools   *tools

	mu    sync.Mutex
	tasks map[string]*task // all that are on disk
	busy  *task            // the newest, which may have ended; or nil
	// life is the context that tasks run under; set while serving.
	life    context.Context
	running sync.WaitGroup
}

// errShutdown is the cause that ends a task's work but not the task.
var errShutdown = errors.New("sandboxd is stopping")

// New reads the tasks on disk. It starts nothing.
func New(cfg Config) (*Server, error) {
	if !filepath.IsAbs(cfg.Home) {
		return nil, fmt.Errorf("home directory %q: not an absolute path", cfg.Home)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.TunnelWait == 0 {
		cfg.TunnelWait = 5 * time.Minute
	}
	s := &Server{
		cfg:     cfg,
		started: cfg.Now(),
		tunnel:  newTunnel(cfg.TunnelWait),
		tools:   newTools(cfg.Environ),
		tasks:   map[string]*task{},
	}
	if err := os.MkdirAll(s.tasksDir(), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.stateDir(), 0o700); err != nil {
		return nil, err
	}
	return s, s.load()
}

func (s *Server) stateDir() string { return filepath.Join(s.cfg.Home, api.StateDir) }
func (s *Server) tasksDir() string { return filepath.Join(s.stateDir(), "tasks") }

// load opens the tasks on disk. A directory without a state is one whose
// creation was cut short before anybody was told of it.
func (s *Server) load() error {
	entries, err := os.ReadDir(s.tasksDir())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := filepath.Join(s.tasksDir(), entry.Name())
		t, err := openTask(dir)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			s.cfg.Log.Error("task unreadable", "task", entry.Name(), "error", err)
			continue
		}
		s.tasks[t.spec.ID] = t
		if !t.ended() {
			s.busy = t
		}
	}
	return nil
}

// Serve answers on listener until ctx is done, and goes on with the task that
// an earlier process left. When ctx is done it stops what runs, leaves the
// task to the next Serve, and returns nil once nothing of it runs any more.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	loopback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		listener.Close()
		return err
	}
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(errShutdown)
	log := slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)
	bounded := func(h http.Handler) *http.Server {
		return &http.Server{
			Handler: h, ErrorLog: log, BaseContext: func(net.Listener) context.Context { return life },
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		}
	}
	public, lent := bounded(s.handler()), bounded(s.tunnel.proxy(s.cfg.Log))

	s.begin(life, "http://"+loopback.Addr().String())
	failed := make(chan error, 2)
	var servers sync.WaitGroup
	servers.Go(func() { failed <- public.Serve(listener) })
	servers.Go(func() { failed <- lent.Serve(loopback) })

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop(errShutdown)
	s.stopTasks()
	s.tunnel.close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, server := range []*http.Server{public, lent} {
		if server.Shutdown(grace) != nil {
			_ = server.Close()
		}
	}
	servers.Wait()
	return err
}

// begin lets tasks run, first of all the one that was left unfinished.
func (s *Server) begin(life context.Context, loopback string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = life
	s.tools.loopback = loopback
	if s.busy != nil && !s.busy.ended() {
		s.cfg.Log.Info("task taken up again", "task", s.busy.spec.ID)
		s.start(s.busy)
	}
}

// stopTasks waits for the tasks, whose context is done, and accepts no more.
func (s *Server) stopTasks() {
	s.mu.Lock()
	s.life = nil
	s.mu.Unlock()
	s.running.Wait()
}

// start runs t until it ends or the server stops. s.mu is held.
func (s *Server) start(t *task) {
	life := s.life
	w := &worker{task: t, home: s.cfg.Home, tools: s.tools, now: s.cfg.Now, log: s.cfg.Log}
	s.running.Go(func() { w.run(life) })
}

// errConflict is returned for a task that cannot be started beside what there is.
var errConflict = errors.New("conflict")

// create starts spec, or finds it if it was created before.
func (s *Server) create(spec *api.Task) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[spec.ID]; t != nil {
		if same, err := sameTask(t.spec, *spec); err != nil || !same {
			return nil, fmt.Errorf("task %s exists and asks for something else: %w", spec.ID, errors.Join(err, errConflict))
		}
		// Either clock may have been set meanwhile.
		now := s.cfg.Now()
		return t, t.update(func(s *state) { s.Deadline = localDeadline(spec, now) })
	}
	if s.busy != nil && !s.busy.ended() {
		return nil, fmt.Errorf("task %s is under way: %w", s.busy.spec.ID, errConflict)
	}
	if s.life == nil {
		return nil, errShutdown
	}
	s.prune()
	t, err := createTask(filepath.Join(s.tasksDir(), spec.ID), spec, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	s.tasks[spec.ID], s.busy = t, t
	s.start(t)
	return t, nil
}

// maxTasks is how many tasks are kept on disk.
const maxTasks = 5

// prune removes the oldest tasks to make room for one. All have ended. s.mu is
// held.
func (s *Server) prune() {
	oldest := slices.SortedFunc(maps.Values(s.tasks), func(a, b *task) int {
		return a.snapshot().Status.StartedAt.Compare(b.snapshot().Status.StartedAt)
	})
	for _, t := range oldest[:max(0, len(oldest)-maxTasks+1)] {
		delete(s.tasks, t.spec.ID)
		if err := errors.Join(t.events.file.Close(), os.RemoveAll(t.dir)); err != nil {
			s.cfg.Log.Warn("task not removed", "task", t.spec.ID, "error", err)
		}
	}
}

func (s *Server) find(id string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[id]
}
