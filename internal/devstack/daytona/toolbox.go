package daytona

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// toolboxRoutes serves /toolbox/{id}/…, what Daytona's proxy leads to the
// daemon in the sandbox. Here the server does the daemon's work with the
// engine's Exec and a few lines of POSIX shell.
func (s *Server) toolboxRoutes() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, h func(*call) error) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" /toolbox/{id}"+path, s.authorised(rateGeneral, func(w http.ResponseWriter, r *http.Request) error {
			// A WebSocket is out of http.Server's sight, but not out of Close's.
			if !s.begin() {
				return ErrStopped
			}
			defer s.work.Done()
			_, tools, err := s.running(r.PathValue("id"), false)
			if err != nil {
				return err
			}
			return h(&call{w: w, r: r, tools: tools})
		}, s.writeToolboxError))
	}
	route("GET /version", func(c *call) error { return c.answer(map[string]string{"version": version}) })
	route("GET /user-home-dir", func(c *call) error { return c.dir("$HOME") })
	route("GET /work-dir", func(c *call) error { return c.dir("$PWD") })

	route("POST /process/execute", (*call).execute)
	route("GET /process/session", (*call).listSessions)
	route("POST /process/session", (*call).createSession)
	route("GET /process/session/{session}", (*call).getSession)
	route("DELETE /process/session/{session}", (*call).deleteSession)
	route("POST /process/session/{session}/exec", (*call).execSession)
	route("GET /process/session/entrypoint", (*call).getEntrypoint)
	route("GET /process/session/entrypoint/logs", (*call).entrypointLogs)
	route("GET /process/session/{session}/command/{command}", (*call).getCommand)
	route("GET /process/session/{session}/command/{command}/logs", (*call).commandLogs)
	route("POST /process/session/{session}/command/{command}/input", (*call).sendInput)
	route("GET /process/pty", (*call).listPTYs)
	route("POST /process/pty", (*call).createPTY)
	route("GET /process/pty/{pty}", (*call).getPTY)
	route("DELETE /process/pty/{pty}", (*call).deletePTY)
	route("GET /process/pty/{pty}/connect", (*call).connectPTY)
	route("POST /process/pty/{pty}/resize", (*call).resizePTY)

	fileRoutes(route)
	gitRoutes(route)

	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeToolboxError(w, r, problemf(http.StatusNotFound, "the embedded Daytona does not have %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// call is one toolbox request to a started sandbox.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	tools *tools
}

func (c *call) answer(body any) error {
	writeJSON(c.w, http.StatusOK, body)
	return nil
}

// silent makes an error one that v0.190 answers without a body.
func (c *call) silent(err error) error {
	if err == nil {
		return nil
	}
	p := *asProblem(err)
	p.silent = true
	return &p
}

func (c *call) dir(variable string) error {
	dir, err := c.tools.expand(c.r.Context(), variable)
	if err != nil {
		return err
	}
	return c.answer(map[string]string{"dir": dir})
}

// tools is the toolbox of one sandbox while it runs.
type tools struct {
	engine Engine
	id     string
	ctx    context.Context // ends when the sandbox stops
	cancel context.CancelFunc
	work   *sync.WaitGroup // the server's
	now    func() time.Time

	mu        sync.Mutex
	sessions  map[string]*session
	terminals map[string]*terminal
}

func (s *Server) newTools(id string) *tools {
	t := &tools{
		engine: s.opts.Engine, id: id, work: &s.work, now: s.now,
		sessions: make(map[string]*session), terminals: make(map[string]*terminal),
	}
	t.ctx, t.cancel = context.WithCancel(s.ctx)
	return t
}

// tied returns a context that ends with the sandbox or the server: what runs
// in it is killed then, also where sandboxes outlive the server.
func (t *tools) tied() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	stop := context.AfterFunc(t.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// close ends the sessions and the terminals.
func (t *tools) close() { t.cancel() }

// anyShell is the shell that commands run in: the first of these that the
// sandbox has, as Daytona's daemon chooses it.
const anyShell = `"$(command -v zsh || command -v bash || command -v sh)"`

// Exit codes with which a script names what is wrong.
const (
	exitNotFound = 44
	exitBad      = 45
	exitConflict = 46
)

// scriptWait bounds a script of ours that moves no data.
const scriptWait = time.Minute

// script runs a POSIX shell script of ours with arguments, without input.
func (t *tools) script(ctx context.Context, text string, args []string, out *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, scriptWait)
	defer cancel()
	return t.run(ctx, text, args, Command{Stdout: &bounded{buffer: out, left: maxOutput}})
}

// expand returns what a shell makes of a variable, such as "$HOME".
func (t *tools) expand(ctx context.Context, variable string) (string, error) {
	var out bytes.Buffer
	err := t.script(ctx, `printf %s "`+variable+`"`, nil, &out)
	return out.String(), err
}

// run runs a script of ours; its failure becomes the answer's status.
func (t *tools) run(ctx context.Context, text string, args []string, c Command) error {
	var complaint bytes.Buffer
	c.Args = append([]string{"/bin/sh", "-c", text, "toolbox"}, args...)
	c.Stderr = &bounded{buffer: &complaint, left: 4096}
	exit, err := t.engine.Exec(ctx, t.id, c)
	message := strings.TrimSpace(complaint.String())
	switch {
	case err != nil:
		return err
	case exit == 0:
		return nil
	case t.ctx.Err() != nil: // killed with the sandbox
		return ErrStopped
	case exit == exitNotFound:
		return problemf(http.StatusNotFound, "file not found: %s", strings.Join(args[:min(1, len(args))], ""))
	case exit == exitConflict:
		return problemf(http.StatusConflict, "destination already exists")
	case strings.Contains(message, "Permission denied"):
		return problemf(http.StatusForbidden, "%s", message)
	case exit == exitBad:
		return problemf(http.StatusBadRequest, "%s", message)
	}
	return problemf(http.StatusBadRequest, "exit code %d: %s", exit, message)
}

// maxOutput bounds what is kept of a command's output, in bytes.
const maxOutput = 16 << 20

// bounded keeps the first bytes written to it and drops the rest.
type bounded struct {
	buffer *bytes.Buffer
	left   int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer != nil {
		keep := min(len(p), b.left)
		b.left -= keep
		b.buffer.Write(p[:keep])
	}
	return len(p), nil
}
