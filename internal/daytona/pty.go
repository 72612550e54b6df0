package daytona

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// PTYOptions say what terminal OpenPTY opens.
type PTYOptions struct {
	ID         string            // default: a new one
	Dir        string            // default: the toolbox's own
	Env        map[string]string // on top of the sandbox's; TERM is xterm-256color unless it is set
	Cols, Rows int               // at most 1000; default 80 and 24
}

// PTY is a terminal in the sandbox with the user's login shell in it. Read and
// Write may be used by two goroutines at a time. What it reads is untrusted.
type PTY struct {
	t    *Toolbox
	id   string
	ctx  context.Context // of the whole terminal, as Read and Write have none
	ws   *websocket.Conn
	stop func() // of keepAwake

	mu       sync.Mutex // of reading, and of what follows
	message  io.Reader  // at hand
	end      error      // of reading; io.EOF once the shell ended
	exitCode int

	waiting atomic.Bool // for something to read
}

const (
	maxCells   = 1000     // columns or rows that the toolbox takes
	maxTyped   = 32 << 10 // bytes of one message to the toolbox, which takes 64 KiB
	maxControl = 4 << 10  // bytes of a control message
)

// OpenPTY opens a terminal and connects to it; the one of the id that is there
// already is used as it is. ctx bounds all of the terminal's life, not only the
// opening; Close ends it.
//
// It calls POST /process/pty and GET /process/pty/{id}/connect, a WebSocket;
// where that fails, DELETE /process/pty/{id}.
func (t *Toolbox) OpenPTY(ctx context.Context, o PTYOptions) (*PTY, error) {
	p := &PTY{t: t, id: cmp.Or(o.ID, "dayclaude-"+rand.Text()), ctx: ctx}
	err := t.call(ctx, request{
		op: "open a terminal in the sandbox", method: http.MethodPost, path: []string{"process", "pty"},
		body: jsonBody(struct {
			ID        string            `json:"id"`
			Dir       string            `json:"cwd,omitempty"`
			Env       map[string]string `json:"envs,omitempty"`
			Cols      int               `json:"cols"`
			Rows      int               `json:"rows"`
			LazyStart bool              `json:"lazyStart"` // else what it writes before we connect is lost
		}{p.id, o.Dir, o.Env, cells(cmp.Or(o.Cols, 80)), cells(cmp.Or(o.Rows, 24)), true}),
		safe: true,
	}, nil)
	if e, ok := errors.AsType[*Error](err); err != nil && !(ok && e.Status == http.StatusConflict) {
		return nil, err
	}
	if p.ws, err = t.c.dial(ctx, t.route(p.request("connect to", http.MethodGet, "connect"))); err != nil {
		_ = p.remove() // which meets the same trouble
		return nil, err
	}
	p.stop = keepAwake(ctx, p.ws, pingEvery, func() bool { return !p.waiting.Load() })
	late := time.AfterFunc(callTimeout, func() { _ = p.ws.CloseNow() })
	defer late.Stop()
	if err := p.next(); err != nil {
		_ = p.Close() // it may have ended already
		return nil, err
	}
	return p, nil
}

// Read reads what the terminal shows; io.EOF says that its shell ended. The
// toolbox cuts the connection of those who read too slowly, and what a shell
// writes right before its end may not come.
func (p *PTY) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.message == nil {
			if err := p.next(); err != nil {
				return 0, err
			}
			continue // with what may have been a control message
		}
		p.waiting.Store(true)
		n, err := p.message.Read(b)
		p.waiting.Store(false)
		switch {
		case errors.Is(err, io.EOF):
			p.message = nil
		case err != nil:
			return n, p.ended(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// next waits for a message. Output comes in binary ones; text ones are the
// toolbox's own words about the connection.
func (p *PTY) next() error {
	if p.end != nil {
		return p.end
	}
	p.waiting.Store(true)
	kind, message, err := p.ws.Reader(p.ctx)
	p.waiting.Store(false)
	if err != nil {
		return p.ended(err)
	}
	if kind == websocket.MessageBinary {
		p.message = message
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(message, maxControl))
	if err != nil {
		return p.ended(err)
	}
	var control struct{ Type, Status, Error string }
	if json.Unmarshal(text, &control) == nil && control.Type == "control" && control.Status == "error" {
		p.end = fault.New(fault.Sandbox, "the terminal in the sandbox: %s", clean(control.Error))
	}
	return p.end
}

// ended keeps how the connection ended. The exit code is in the reason of its
// close.
func (p *PTY) ended(err error) error {
	closed, _ := errors.AsType[websocket.CloseError](err)
	var reason struct{ ExitCode *int }
	switch {
	case json.Unmarshal([]byte(closed.Reason), &reason) == nil && reason.ExitCode != nil:
		p.exitCode, p.end = *reason.ExitCode, io.EOF
	case closed.Code == websocket.StatusNormalClosure:
		p.end = io.EOF
	case closed.Code == websocket.StatusPolicyViolation:
		p.end = fault.New(fault.Unavailable, "the sandbox's terminal was read too slowly: the toolbox cut it off")
	default:
		p.end = p.t.route(p.request("read from", http.MethodGet, "connect")).unanswered(p.ctx, err)
	}
	return p.end
}

// Write types.
func (p *PTY) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n = min(n+maxTyped, len(b)) {
		if err := p.ws.Write(p.ctx, websocket.MessageBinary, b[n:min(n+maxTyped, len(b))]); err != nil {
			return n, p.t.route(p.request("write to", http.MethodGet, "connect")).unanswered(p.ctx, err)
		}
	}
	return len(b), nil
}

// Resize tells the terminal how large it is now.
//
// It calls POST /process/pty/{id}/resize.
func (p *PTY) Resize(ctx context.Context, cols, rows int) error {
	r := p.request("resize", http.MethodPost, "resize")
	r.body = jsonBody(map[string]int{"cols": cells(cols), "rows": cells(rows)})
	return p.t.call(ctx, r, nil)
}

// Wait waits for the shell's end, without what it still writes, and returns
// its exit code.
func (p *PTY) Wait() (exit int, err error) {
	if _, err := io.Copy(io.Discard, p); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exitCode, nil
}

// Close ends the terminal with what runs in it, even if ctx has ended before.
//
// It calls DELETE /process/pty/{id}.
func (p *PTY) Close() error {
	p.stop() // which ends a Read that is under way
	p.mu.Lock()
	ended := errors.Is(p.end, io.EOF)
	p.mu.Unlock()
	if ended {
		return nil
	}
	return p.remove()
}

// remove deletes the terminal in the sandbox.
func (p *PTY) remove() error {
	r := p.request("close", http.MethodDelete)
	r.timeout, r.hurried = touchTimeout, true
	if err := p.t.call(context.WithoutCancel(p.ctx), r, nil); !notFound(err) {
		return err
	}
	return nil
}

// request is one to this terminal that may be repeated.
func (p *PTY) request(op, method string, path ...string) request {
	return request{
		op: op + " the sandbox's terminal", method: method, path: append([]string{"process", "pty", p.id}, path...), safe: true,
	}
}

// cells makes a size one that the toolbox takes.
func cells(n int) int { return max(1, min(n, maxCells)) }
