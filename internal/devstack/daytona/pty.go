package daytona

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/coder/websocket"
)

func (c *call) listPTYs() error {
	c.tools.mu.Lock()
	all := slices.Collect(maps.Values(c.tools.terminals))
	c.tools.mu.Unlock()
	views := make([]ptyView, len(all))
	for i, x := range all {
		views[i] = x.show()
	}
	return c.answer(map[string]any{"sessions": views})
}

func (c *call) createPTY() error {
	request := struct {
		ID         string
		Cwd        string
		Envs       map[string]string
		Cols, Rows uint16
		LazyStart  bool
	}{Cols: 80, Rows: 24}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	switch {
	case request.ID == "":
		return refusef(http.StatusBadRequest, "session ID is required")
	case request.Cols > maxSide:
		return refusef(http.StatusBadRequest, "invalid value for cols - must be less than 1000")
	case request.Rows > maxSide:
		return refusef(http.StatusBadRequest, "invalid value for rows - must be less than 1000")
	}
	if request.Cwd == "" {
		var err error
		if request.Cwd, err = c.tools.expand(c.r.Context(), "$PWD"); err != nil {
			return err
		}
	}
	envs := map[string]string{"TERM": "xterm-256color"}
	maps.Copy(envs, request.Envs)
	x := c.tools.newTerminal(ptyView{
		ID: request.ID, Cwd: request.Cwd, Envs: envs, Cols: request.Cols, Rows: request.Rows,
		CreatedAt: c.tools.now().UTC(), LazyStart: request.LazyStart,
	})
	c.tools.mu.Lock()
	taken := c.tools.terminals[request.ID] != nil
	if !taken {
		c.tools.terminals[request.ID] = x
	}
	c.tools.mu.Unlock()
	if taken {
		return refusef(http.StatusConflict, "PTY session with ID '%s' already exists", request.ID)
	}
	if !request.LazyStart {
		if err := c.tools.start(x); err != nil {
			c.tools.forget(x)
			if c.tools.ctx.Err() != nil {
				return ErrStopped
			}
			return refusef(http.StatusInternalServerError, "failed to start PTY session")
		}
	}
	writeJSON(c.w, http.StatusCreated, map[string]string{"sessionId": request.ID})
	return nil
}

func (c *call) getPTY() error {
	x := c.tools.terminal(c.r.PathValue("pty"))
	if x == nil {
		return refusef(http.StatusNotFound, "PTY session not found")
	}
	return c.answer(x.show())
}

// deletePTY kills the shell and what runs on its terminal.
func (c *call) deletePTY() error {
	x := c.tools.terminal(c.r.PathValue("pty"))
	if x == nil {
		return refusef(http.StatusNotFound, "PTY session not found")
	}
	c.tools.forget(x)
	x.cancel()
	if x.show().Active {
		select {
		case <-x.ended:
		case <-c.r.Context().Done():
			return c.r.Context().Err()
		}
	}
	return c.answer(map[string]string{"message": "PTY session deleted"})
}

func (c *call) resizePTY() error {
	var size Size
	if err := readJSON(c.w, c.r, &size); err != nil {
		return err
	}
	if size.Cols < 1 || size.Rows < 1 || size.Cols > maxSide || size.Rows > maxSide {
		return refusef(http.StatusBadRequest, "cols and rows must be from 1 to 1000")
	}
	id := c.r.PathValue("pty")
	x := c.tools.terminal(id)
	if x == nil {
		return refusef(http.StatusGone, "PTY session %s not found", id)
	}
	if err := x.resize(size); err != nil {
		return refusef(http.StatusInternalServerError, "%v", err)
	}
	return c.answer(x.show())
}

// control is a message of the server's own, told from the shell's output by
// being text.
type control struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

// connectPTY lends the terminal to a WebSocket. All that can be wrong is told
// in a control message; a lazy shell starts now.
func (c *call) connectPTY() error {
	conn, err := c.upgrade()
	if err != nil {
		return nil // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	ctx := c.r.Context()
	say := func(m control) error {
		m.Type = "control"
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return conn.Write(ctx, websocket.MessageText, text)
	}
	x, v, err := c.tools.enter(c.r.PathValue("pty"))
	if err != nil {
		// An error here and below is the client's connection.
		_ = say(control{Status: "error", Error: "Failed to connect to PTY session: " + err.Error()})
		return nil
	}
	if say(control{Status: "connected"}) != nil {
		x.unwatch(v)
		return nil
	}
	var showing sync.WaitGroup
	showing.Go(func() { show(ctx, conn, x, v) })
	defer showing.Wait()
	defer x.unwatch(v)
	conn.SetReadLimit(64 << 10)
	for {
		_, keys, err := conn.Read(ctx)
		if err != nil {
			return nil
		}
		if _, err := x.keys.Write(keys); err != nil {
			<-x.ended // it is about to, and then the client is told how
			return nil
		}
	}
}
