package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// maxSide bounds a terminal's columns and rows.
const maxSide = 1000

// loginShell is what a terminal runs.
const loginShell = "exec " + anyShell + " -i -l"

// ptyView is a PTY session as the toolbox shows it.
type ptyView struct {
	ID        string            `json:"id"`
	Cwd       string            `json:"cwd"`
	Envs      map[string]string `json:"envs"`
	Cols      uint16            `json:"cols"`
	Rows      uint16            `json:"rows"`
	CreatedAt time.Time         `json:"createdAt"`
	Active    bool              `json:"active"`
	LazyStart bool              `json:"lazyStart"`
}

// terminal is one PTY session: a shell on a terminal that any number of
// clients look at. What it shows while nobody looks is lost, and it goes with
// its shell.
type terminal struct {
	cancel context.CancelFunc // kills the shell
	ctx    context.Context
	input  *io.PipeReader
	keys   *io.PipeWriter
	ended  chan struct{} // closed when the shell is gone

	starting sync.Mutex // one start at a time

	mu      sync.Mutex
	view    ptyView
	used    bool // the shell was started
	process Process
	clients map[*viewer]bool
}

// viewer is one client of a terminal.
type viewer struct {
	queue  chan []byte          // closed when no more will come
	slow   bool                 // what waits is dropped; the terminal's lock guards it
	status websocket.StatusCode // with reason, set before queue is closed; 0 cuts the client off
	reason string
}

// viewerQueue is how many outputs may wait for a client that reads slowly.
const viewerQueue = 256

func (t *tools) newTerminal(view ptyView) *terminal {
	x := &terminal{view: view, ended: make(chan struct{}), clients: make(map[*viewer]bool)}
	x.ctx, x.cancel = t.tied()
	x.input, x.keys = io.Pipe()
	return x
}

// start runs the shell, once, and returns when it runs.
func (t *tools) start(x *terminal) error {
	x.starting.Lock()
	defer x.starting.Unlock()
	x.mu.Lock()
	view, used := x.view, x.used
	x.used = true
	x.mu.Unlock()
	if view.Active {
		return nil
	}
	if used {
		return errors.New("PTY session has already been used and cannot be restarted")
	}
	runs, failed := make(chan struct{}), make(chan error, 1)
	t.work.Go(func() {
		exit, err := t.engine.Exec(x.ctx, t.id, Command{
			Args: []string{"/bin/sh", "-c", loginShell}, Dir: view.Cwd, Env: view.Envs,
			Stdin: x.input, Stdout: x, Terminal: &Size{Cols: view.Cols, Rows: view.Rows},
			Started: func(p Process) {
				x.mu.Lock()
				x.view.Active, x.process = true, p
				x.mu.Unlock()
				close(runs)
			},
		})
		failed <- err
		if err != nil {
			exit = exitKilled
		}
		t.forget(x)
		x.end(exit, t.ctx.Err() != nil)
	})
	select {
	case <-runs:
		return nil
	case err := <-failed:
		return err
	}
}

// exitKilled is the exit code of what a SIGKILL ended.
const exitKilled = 128 + 9

// Write shows the clients what the shell wrote. A client that does not keep
// up goes.
func (x *terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	text := slices.Clone(p)
	for v := range x.clients {
		select {
		case v.queue <- text:
		default:
			v.slow = true
			x.leave(v, websocket.StatusPolicyViolation, "slow consumer")
		}
	}
	return len(p), nil
}

// leave ends a client's queue. The caller holds x.mu.
func (x *terminal) leave(v *viewer, status websocket.StatusCode, reason string) {
	if x.clients[v] {
		delete(x.clients, v)
		v.status, v.reason = status, reason
		close(v.queue)
	}
}

// end tells the clients how the shell ended, or, when it did so with the
// sandbox, cuts them off.
func (x *terminal) end(exit int, cut bool) {
	x.cancel()
	x.input.Close()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.view.Active = false
	status, reason := websocket.StatusNormalClosure, exitReason(exit)
	switch {
	case cut:
		status, reason = 0, ""
	case exit != 0:
		status = websocket.StatusInternalError
	}
	for v := range x.clients {
		x.leave(v, status, reason)
	}
	close(x.ended)
}

// exitReason is the reason with which the last frame tells the exit code.
func exitReason(exit int) string {
	why := ""
	switch {
	case exit == 0:
	case exit == 130:
		why = "Ctrl+C"
	case exit == exitKilled:
		why = "SIGKILL"
	case exit == 143:
		why = "SIGTERM"
	case exit > 128:
		why = fmt.Sprintf("signal %d", exit-128)
	default:
		why = "non-zero exit"
	}
	text, _ := json.Marshal(struct {
		ExitCode   int    `json:"exitCode"`
		ExitReason string `json:"exitReason,omitempty"`
	}{exit, why})
	return string(text)
}

// resize changes a running terminal's size.
func (x *terminal) resize(size Size) error {
	x.mu.Lock()
	process, active := x.process, x.view.Active
	x.mu.Unlock()
	if !active {
		return errors.New("cannot resize inactive PTY session")
	}
	if err := process.Resize(size); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.view.Cols, x.view.Rows = size.Cols, size.Rows
	return nil
}

func (x *terminal) show() ptyView {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.view
}

// watch adds a client, unless the shell is gone.
func (x *terminal) watch() (*viewer, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.view.Active {
		return nil, false
	}
	v := &viewer{queue: make(chan []byte, viewerQueue)}
	x.clients[v] = true
	return v, true
}

func (x *terminal) unwatch(v *viewer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.leave(v, 0, "")
}

// next returns the client's next output; false means that its end has come.
func (x *terminal) next(v *viewer) ([]byte, bool) {
	text, more := <-v.queue
	x.mu.Lock()
	defer x.mu.Unlock()
	return text, more && !v.slow
}

func (t *tools) terminal(id string) *terminal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.terminals[id]
}

func (t *tools) forget(x *terminal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.terminals, func(_ string, other *terminal) bool { return other == x })
}

// enter finds the terminal and adds a client to it.
func (t *tools) enter(id string) (*terminal, *viewer, error) {
	x := t.terminal(id)
	if x == nil {
		return nil, nil, fmt.Errorf("PTY session %s not found", id)
	}
	if x.show().LazyStart {
		if err := t.start(x); err != nil {
			return nil, nil, fmt.Errorf("failed to start PTY session: %w", err)
		}
	}
	v, ok := x.watch()
	if !ok {
		return nil, nil, fmt.Errorf("PTY session '%s' has terminated and is no longer available", id)
	}
	return x, v, nil
}

// show sends a client what the shell writes, and at last how it ended.
func show(ctx context.Context, conn *websocket.Conn, x *terminal, v *viewer) {
	const writeWait = 10 * time.Second
	for {
		text, more := x.next(v)
		if !more {
			break
		}
		writing, cancel := context.WithTimeout(ctx, writeWait)
		err := conn.Write(writing, websocket.MessageBinary, text)
		cancel()
		if err != nil {
			_ = conn.CloseNow()
			return
		}
	}
	if v.status == 0 {
		_ = conn.CloseNow()
		return
	}
	_ = conn.Close(v.status, v.reason)
}
