package daytona

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/coder/websocket"
)

// commandView is a session's command as the toolbox shows it.
type commandView struct {
	ID       string `json:"id"`
	Command  string `json:"command"`
	ExitCode *int   `json:"exitCode,omitempty"`
}

func (c *sessionCommand) view() commandView {
	v := commandView{ID: c.id, Command: c.text}
	if _, ended, exit, _ := c.log.read(0); ended {
		v.ExitCode = &exit
	}
	return v
}

type sessionView struct {
	SessionID string        `json:"sessionId"`
	Commands  []commandView `json:"commands"`
}

func (s *session) view() sessionView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := sessionView{SessionID: s.id, Commands: []commandView{}}
	for _, c := range s.commands {
		v.Commands = append(v.Commands, c.view())
	}
	return v
}

func (c *call) listSessions() error {
	c.tools.mu.Lock()
	defer c.tools.mu.Unlock()
	views := []sessionView{}
	for _, s := range c.tools.sessions {
		views = append(views, s.view())
	}
	return c.answer(views)
}

func (c *call) createSession() error {
	var request struct {
		SessionID string `json:"sessionId"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	if request.SessionID == "" {
		return problemf(http.StatusBadRequest, "sessionId is required")
	}
	c.tools.mu.Lock()
	defer c.tools.mu.Unlock()
	if c.tools.sessions[request.SessionID] != nil {
		return problemf(http.StatusConflict, "session already exists")
	}
	if c.tools.ctx.Err() != nil {
		return ErrStopped
	}
	c.tools.open(request.SessionID)
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *call) getSession() error {
	s, err := c.tools.session(c.r.PathValue("session"))
	if err != nil {
		return err
	}
	return c.answer(s.view())
}

// deleteSession kills the shell and what runs in it.
func (c *call) deleteSession() error {
	s, err := c.tools.session(c.r.PathValue("session"))
	if err != nil {
		return err
	}
	c.tools.mu.Lock()
	delete(c.tools.sessions, s.id)
	c.tools.mu.Unlock()
	s.cancel()
	select {
	case <-s.ended:
	case <-c.r.Context().Done():
		return c.r.Context().Err()
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) execSession() error {
	var request struct {
		Command  string `json:"command"`
		RunAsync bool   `json:"runAsync"`
		Async    bool   `json:"async"` // its older name
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	if strings.TrimSpace(request.Command) == "" {
		return problemf(http.StatusBadRequest, "command is required")
	}
	s, err := c.tools.session(c.r.PathValue("session"))
	if err != nil {
		return err
	}
	command, err := s.exec(request.Command)
	if err != nil {
		return err
	}
	if request.RunAsync || request.Async {
		writeJSON(c.w, http.StatusAccepted, map[string]string{"cmdId": command.id})
		return nil
	}
	ignore := func([]byte) error { return nil }
	if err := command.log.follow(c.r.Context(), s.ended, ignore); err != nil {
		return err
	}
	text, ended, exit, _ := command.log.read(0)
	if !ended {
		return problemf(http.StatusInternalServerError, "session ended before the command did")
	}
	out, errs := split(text)
	return c.answer(map[string]any{
		"cmdId": command.id, "exitCode": exit, "output": string(text), "stdout": out, "stderr": errs,
	})
}

// command finds the session and the command that the path names.
func (c *call) command() (*session, *sessionCommand, error) {
	s, err := c.tools.session(c.r.PathValue("session"))
	if err != nil {
		return nil, nil, err
	}
	command, err := s.command(c.r.PathValue("command"))
	return s, command, err
}

func (c *call) getCommand() error {
	_, command, err := c.command()
	if err != nil {
		return err
	}
	return c.answer(command.view())
}

func (c *call) commandLogs() error {
	s, command, err := c.command()
	if err != nil {
		return err
	}
	return c.logs(s, command)
}

// entrypointLogs is the log of the entrypoint's one command.
func (c *call) entrypointLogs() error {
	s, err := c.tools.session(c.r.PathValue("session"))
	if err != nil {
		return err
	}
	command := s.at(0)
	if s.id != entrypointSession || command == nil {
		return problemf(http.StatusNotFound, "entrypoint session not found")
	}
	return c.logs(s, command)
}

// logs answers with JSON only to SDKs that know it, else with plain text.
func (c *call) logs(s *session, command *sessionCommand) error {
	if c.r.URL.Query().Get("follow") == "true" {
		return c.followLogs(s, command)
	}
	text, _, _, _ := command.log.read(0)
	if !knowsStreams(c.r.Header.Get("X-Daytona-SDK-Version")) {
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := c.w.Write(unmarked(text))
		return err
	}
	out, errs := split(text)
	return c.answer(map[string]string{"output": string(text), "stdout": out, "stderr": errs})
}

// knowsStreams reports whether an SDK is at least 0.167, or a "dev" one.
func knowsStreams(sdk string) bool {
	major, rest, _ := strings.Cut(strings.TrimPrefix(sdk, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, errMajor := strconv.Atoi(major)
	n, errMinor := strconv.Atoi(minor)
	return sdk == "dev" || errMajor == nil && errMinor == nil && (m > 0 || n >= 167)
}

// followLogs streams the log with its marks. A WebSocket ends with the
// command; a plain response does not, as in Daytona: the client hangs up.
func (c *call) followLogs(s *session, command *sessionCommand) error {
	if strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket") {
		conn, err := websocket.Accept(c.w, c.r, nil)
		if err != nil {
			return nil // Accept has answered
		}
		defer func() { _ = conn.CloseNow() }()
		ctx := conn.CloseRead(c.r.Context())
		err = command.log.follow(ctx, s.ended, func(text []byte) error {
			return conn.Write(ctx, websocket.MessageBinary, text)
		})
		if err == nil {
			conn.Close(websocket.StatusNormalClosure, "")
		}
		return nil
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(c.w).Flush
	if err := flush(); err != nil {
		return err
	}
	err := command.log.follow(c.r.Context(), s.ended, func(text []byte) error {
		_, err := c.w.Write(text)
		return errors.Join(err, flush())
	})
	if err == nil {
		select {
		case <-c.r.Context().Done():
		case <-c.tools.ctx.Done():
		}
	}
	return nil
}
