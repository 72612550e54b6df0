package daytona

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/coder/websocket"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Session is a shell in the sandbox that runs commands one after the other.
// It lives until Close, or the sandbox's stop. The commands' texts and outputs
// are kept in the sandbox for all in it to read.
type Session struct {
	t  *Toolbox
	id string
}

// OpenSession opens a session, or uses the one that is there already.
//
// It calls POST /process/session.
func (t *Toolbox) OpenSession(ctx context.Context, id string) (*Session, error) {
	err := t.call(ctx, request{
		op: "open session " + clean(id), method: http.MethodPost, path: []string{"process", "session"},
		body: jsonBody(map[string]string{"sessionId": id}), safe: true,
	}, nil)
	if e, ok := errors.AsType[*Error](err); err != nil && !(ok && e.Status == http.StatusConflict) {
		return nil, err
	}
	return &Session{t, id}, nil
}

// Spawn starts a command in a session of its own and does not wait for it. Its
// standard input is empty. Take a new id where the old one's shell may have
// ended. The command is started at most once: when the answer is lost, look
// whether it runs before asking again.
//
// It calls POST /process/session and POST /process/session/{id}/exec.
func (t *Toolbox) Spawn(ctx context.Context, sessionID, command string) error {
	s, err := t.OpenSession(ctx, sessionID)
	if err != nil {
		return err
	}
	return s.exec(ctx, subshell(command), nil)
}

// Start starts a command line and returns the command's id. It runs in a
// subshell, so that neither exit nor an error in its syntax ends the session,
// and neither cd nor a variable lasts. Its standard input stays open until it
// ends. It is started at most once: after an answer that is lost it may run.
//
// It calls POST /process/session/{id}/exec.
func (s *Session) Start(ctx context.Context, line string) (commandID string, err error) {
	var answer struct{ CmdID string }
	err = s.exec(ctx, "(eval "+Quote(line)+")", &answer)
	if err == nil && answer.CmdID == "" {
		err = fault.New(fault.Unavailable, "start a command in session %s: the answer has no id", clean(s.id)).WithHint(hintURL)
	}
	return answer.CmdID, err
}

// exec hands a command to the session's shell.
func (s *Session) exec(ctx context.Context, command string, out any) error {
	r := s.request("start a command in", http.MethodPost, "exec")
	r.body = jsonBody(struct {
		Command string `json:"command"`
		Async   bool   `json:"runAsync"`
		NoEcho  bool   `json:"suppressInputEcho"` // else input shows up in the output
	}{command, true, true})
	r.safe = false
	return s.t.call(ctx, r, out)
}

// Follow writes what a command writes, from its beginning, until the command
// ended (ask ExitCode then), its session was closed, or ctx ended. A connection
// that breaks is made anew, and the output goes on where it was. An error of a
// writer is returned as it is.
//
// The output is text: the toolbox marks it line by line. A last line without a
// newline gets one and comes only when it is complete, NUL bytes are lost, and
// three bytes of 1 or 2 in a row are taken for a mark. How lines of the two
// streams follow each other is not exact. What it writes is untrusted.
//
// It calls GET /process/session/{id}/command/{id}/logs, as a WebSocket.
func (s *Session) Follow(ctx context.Context, commandID string, stdout, stderr io.Writer) error {
	r := s.request("follow a command of", http.MethodGet, "command", commandID, "logs")
	r.query = url.Values{"follow": {"true"}}
	return s.t.logs(ctx, r, stdout, stderr)
}

// EntrypointLogs writes what the image's entrypoint has written since the
// sandbox started, and with follow goes on until the entrypoint ends or ctx
// does; see Follow. An image without one is an *Error of kind NotFound.
//
// It calls GET /process/session/entrypoint/logs, as a WebSocket.
func (t *Toolbox) EntrypointLogs(ctx context.Context, follow bool, stdout, stderr io.Writer) error {
	s := &Session{t, "entrypoint"}
	r := s.request("read the log of", http.MethodGet, "logs")
	r.query = url.Values{"follow": {strconv.FormatBool(follow)}}
	return t.logs(ctx, r, stdout, stderr)
}

// Input writes to a command's standard input, with a newline at the end if
// data has none; there is no way to end the input. A command that is not yet
// there, because its turn has not come, is waited for. What may have been
// written is not repeated. A command that has ended is an *Error with status
// 410 or 500.
//
// It calls POST /process/session/{id}/command/{id}/input, and
// GET /process/session/{id}/command/{id} while it waits.
func (s *Session) Input(ctx context.Context, commandID string, data []byte) error {
	r := s.request("write to a command of", http.MethodPost, "command", commandID, "input")
	r.body = jsonBody(map[string]string{"data": string(data)})
	r.safe = false
	waiting := s.t.c.trouble(patience)
	for {
		err := s.t.call(ctx, r, nil)
		e, ok := errors.AsType[*Error](err)
		if !ok || !noPipe.MatchString(e.Message) {
			return err
		}
		if _, ended, lookErr := s.ExitCode(ctx, commandID); ended || lookErr != nil {
			return cmp.Or(lookErr, err)
		}
		if err := waiting.pause(ctx, e); err != nil {
			return err
		}
	}
}

// noPipe is what the toolbox says of a command that does not read its input
// now: the session's shell makes the pipe when the command's turn comes, and
// removes it at its end.
var noPipe = regexp.MustCompile(`(?i)failed to open input pipe`)

// ExitCode returns how a command ended, or that it did not yet.
//
// It calls GET /process/session/{id}/command/{id}.
func (s *Session) ExitCode(ctx context.Context, commandID string) (code int, ended bool, err error) {
	var answer struct{ ExitCode *int }
	err = s.t.call(ctx, s.request("look up a command of", http.MethodGet, "command", commandID), &answer)
	if err != nil || answer.ExitCode == nil {
		return 0, false, err
	}
	return *answer.ExitCode, true, nil
}

// Close ends the session and what runs in it. Closing one that is gone does
// nothing.
//
// It calls DELETE /process/session/{id}.
func (s *Session) Close(ctx context.Context) error {
	err := s.t.call(ctx, s.request("close", http.MethodDelete), nil)
	if notFound(err) {
		return nil
	}
	return err
}

// request is one to this session that may be repeated.
func (s *Session) request(op, method string, path ...string) request {
	return request{
		op: op + " session " + clean(s.id), method: method,
		path: append([]string{"process", "session", s.id}, path...), safe: true,
	}
}

// logs follows a log, which begins anew with each connection, and drops what
// it has had of it before.
func (t *Toolbox) logs(ctx context.Context, r request, stdout, stderr io.Writer) error {
	if t.err != nil {
		return t.err
	}
	r = t.route(r)
	log := &log{demux: demux{stdout: stdout, stderr: stderr}}
	failures := t.c.trouble(patience)
	for {
		ws, err := t.c.dial(ctx, r)
		if err != nil {
			return err
		}
		before := log.had
		err = log.read(ctx, ws)
		switch {
		case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
			return log.flush()
		case log.failed != nil:
			return log.failed
		case ctx.Err() != nil:
			return r.unanswered(ctx, err)
		case log.had > before:
			failures = t.c.trouble(patience)
		}
		if err := failures.pause(ctx, r.unanswered(ctx, err)); err != nil {
			return err
		}
	}
}

// log is the log of one command, read over connections that may break.
type log struct {
	demux
	had    int64 // bytes that were parted
	failed error // of a writer
}

// read reads one connection to its end, whose error it returns.
func (l *log) read(ctx context.Context, ws *websocket.Conn) error {
	defer keepAwake(ctx, ws, pingEvery, func() bool { return false })()
	buf := make([]byte, 32<<10)
	for skip := l.had; ; {
		_, message, err := ws.Reader(ctx)
		if err != nil {
			return err
		}
		for err == nil {
			var n int
			n, err = message.Read(buf)
			again := min(skip, int64(n))
			skip -= again
			fresh := buf[again:n]
			if _, l.failed = l.Write(fresh); l.failed != nil {
				return l.failed
			}
			l.had += int64(len(fresh))
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
	}
}
