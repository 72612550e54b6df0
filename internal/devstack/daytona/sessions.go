package daytona

import (
	"cmp"
	"crypto/rand"
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
	for id, s := range c.tools.sessions {
		if id != entrypointSession {
			views = append(views, s.view())
		}
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
	if request.SessionID == entrypointSession {
		return problemf(http.StatusBadRequest, "provided session ID is reserved and cannot be created/overridden")
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
	s, err := c.session("delete")
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

// session finds the session that the path names, to do more than look at it:
// the entrypoint's is not for that.
func (c *call) session(do string) (*session, error) {
	id := c.r.PathValue("session")
	if id == entrypointSession {
		return nil, problemf(http.StatusBadRequest, "can't %s entrypoint session", do)
	}
	return c.tools.session(id)
}

func (c *call) execSession() error {
	var request struct {
		Command           string `json:"command"`
		RunAsync          bool   `json:"runAsync"`
		Async             bool   `json:"async"` // its older name
		SuppressInputEcho bool   `json:"suppressInputEcho"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return c.silent(err)
	}
	if strings.TrimSpace(request.Command) == "" {
		return c.silent(problemf(http.StatusBadRequest, "command cannot be empty"))
	}
	s, err := c.session("execute command in")
	if hasStatus(err, http.StatusNotFound) {
		// v0.190 wraps this one and what follows, and so forgets the status.
		return problemf(http.StatusInternalServerError, "failed to execute command: %v", err)
	}
	if err != nil {
		return err
	}
	async := request.RunAsync || request.Async
	command := &sessionCommand{id: rand.Text(), text: request.Command, quiet: request.SuppressInputEcho}
	if err := s.exec(command, async); err != nil {
		return problemf(http.StatusInternalServerError, "failed to execute command: %v", err)
	}
	if async {
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
	answer := map[string]any{"cmdId": command.id, "exitCode": exit, "output": string(c.known(text))}
	if c.splits() {
		answer["stdout"], answer["stderr"] = split(text)
	}
	return c.answer(answer)
}

// sendInput gives an asynchronous command a line of input.
func (c *call) sendInput() error {
	var request struct {
		Data string `json:"data"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	s, err := c.session("send input to")
	if err != nil {
		return err
	}
	command, err := s.command(c.r.PathValue("command"))
	if err != nil {
		return err
	}
	line := request.Data
	if !strings.HasSuffix(line, "\n") {
		line += "\n"
	}
	if err := c.tools.send(c.r.Context(), s, command, line); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
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

// getEntrypoint and entrypointLogs are of the session that the toolbox keeps
// from all other uses.
func (c *call) getEntrypoint() error {
	s, err := c.tools.session(entrypointSession)
	if err != nil {
		return err
	}
	return c.answer(s.view())
}

func (c *call) entrypointLogs() error {
	s, err := c.tools.session(entrypointSession)
	if err != nil {
		return err
	}
	command, err := s.command(entrypointCommand)
	if err != nil {
		return err
	}
	return c.logs(s, command)
}

// logs answers with JSON only to SDKs that know it, else with plain text.
func (c *call) logs(s *session, command *sessionCommand) error {
	if follow := c.r.URL.Query().Get("follow") == "true"; follow || c.upgrades() {
		ended := s.ended
		if !follow {
			now := make(chan struct{}) // a WebSocket gets what there is, too
			close(now)
			ended = now
		}
		return c.followLogs(ended, command)
	}
	text, _, _, _ := command.log.read(0)
	if !c.splits() {
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := c.w.Write(c.known(text))
		return err
	}
	out, errs := split(text)
	return c.answer(map[string]string{"output": string(text), "stdout": out, "stderr": errs})
}

// sdkProtocol is how an SDK that cannot set headers tells its version as it
// opens a WebSocket.
const sdkProtocol = "X-Daytona-SDK-Version~"

// sdkVersion returns the version that the caller's SDK tells, or "".
func (c *call) sdkVersion() string {
	return cmp.Or(c.r.Header.Get("X-Daytona-SDK-Version"), strings.TrimPrefix(c.versionProtocol(), sdkProtocol))
}

func (c *call) versionProtocol() string {
	for protocol := range strings.SplitSeq(c.r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if protocol = strings.TrimSpace(protocol); strings.HasPrefix(protocol, sdkProtocol) {
			return protocol
		}
	}
	return ""
}

// splits reports whether the caller's SDK, at least 0.167 or a "dev" one,
// gets standard output and error apart.
func (c *call) splits() bool { return sdkSince(c.sdkVersion(), 167, false) }

// known returns a log as the caller knows it: before 0.27 without marks.
func (c *call) known(text []byte) []byte {
	sdk := c.sdkVersion()
	if sdk == "" && c.r.Header.Get("X-Daytona-Split-Output") != "true" || !sdkSince(sdk, 27, true) {
		return unmarked(text)
	}
	return text
}

// sdkSince reports whether an SDK's version is at least 0.minor, or a "dev"
// one.
func sdkSince(sdk string, minor int, otherwise bool) bool {
	major, rest, _ := strings.Cut(strings.TrimPrefix(sdk, "v"), ".")
	text, _, _ := strings.Cut(rest, ".")
	m, errMajor := strconv.Atoi(major)
	n, errMinor := strconv.Atoi(text)
	switch {
	case strings.Contains(sdk, "dev"):
		return true
	case errMajor != nil || errMinor != nil:
		return otherwise
	}
	return m > 0 || n >= minor
}

// upgrade makes the connection a WebSocket. On an error it has answered.
func (c *call) upgrade() (*websocket.Conn, error) {
	return websocket.Accept(c.w, c.r, &websocket.AcceptOptions{Subprotocols: []string{c.versionProtocol()}})
}

// upgrades reports whether the caller asks for a WebSocket.
func (c *call) upgrades() bool { return strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket") }

// followLogs streams the log with its marks, until the command or ended. A
// WebSocket then ends; a plain response does not, as in Daytona: the client
// hangs up.
func (c *call) followLogs(ended <-chan struct{}, command *sessionCommand) error {
	if c.upgrades() {
		conn, err := c.upgrade()
		if err != nil {
			return nil // it has answered
		}
		defer func() { _ = conn.CloseNow() }()
		ctx := conn.CloseRead(c.r.Context())
		err = command.log.follow(ctx, ended, func(text []byte) error {
			return conn.Write(ctx, websocket.MessageBinary, c.known(text))
		})
		if err == nil && c.tools.ctx.Err() == nil { // a sandbox that stops says nothing
			conn.Close(websocket.StatusNormalClosure, "")
		}
		return nil
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(c.w).Flush
	if err := flush(); err != nil {
		return err
	}
	err := command.log.follow(c.r.Context(), ended, func(text []byte) error {
		_, err := c.w.Write(c.known(text))
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
