package daytona

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Toolbox is Daytona's own server in a sandbox: files and commands, as the
// sandbox's user. What it answers comes from the sandbox and is untrusted.
// Every call counts as activity.
type Toolbox struct {
	c    *Client
	base *url.URL // of the proxy
	id   string   // of the sandbox
	err  error    // of base; every call returns it
}

// Toolbox returns the toolbox of a sandbox that is started. When the sandbox's
// record has no usable address for it, every call fails.
func (c *Client) Toolbox(s *Sandbox) *Toolbox {
	base, err := c.told(s.ToolboxProxyURL)
	if err != nil {
		return &Toolbox{c: c, err: fmt.Errorf("toolbox of sandbox %s: %w", clean(s.ID), err)}
	}
	return &Toolbox{c: c, base: base, id: s.ID}
}

// call is Client.call to this toolbox.
func (t *Toolbox) call(ctx context.Context, r request, out any) error {
	if t.err != nil {
		return t.err
	}
	return t.c.call(ctx, t.route(r), out)
}

// route sends r to this toolbox.
func (t *Toolbox) route(r request) request {
	r.base = t.base
	r.path = append([]string{t.id}, r.path...)
	return r
}

// DefaultCommandTimeout is how long Execute lets a command run unless told
// otherwise.
const DefaultCommandTimeout = time.Minute

// Command is a command line for Execute.
type Command struct {
	Line    string            // for the sandbox's shell; its standard input is empty
	Dir     string            // default: the toolbox's own
	Env     map[string]string // on top of the sandbox's; never a secret
	Timeout time.Duration     // rounded up to seconds; default DefaultCommandTimeout
	Again   bool              // running it twice does no harm
}

// Result is how a command ended.
type Result struct {
	ExitCode int
	Output   string // standard output and error, mixed, as they came; at most 8 MiB
}

// Execute runs a command and waits for it, and for every process it leaves
// that holds its output. A command that ran and failed is a Result, not an
// error; one that ran out of time is a fault of kind Sandbox. Unless the command
// says Again it is not repeated: when the answer is lost, it may have run.
func (t *Toolbox) Execute(ctx context.Context, cmd Command) (Result, error) {
	if cmd.Timeout <= 0 {
		cmd.Timeout = DefaultCommandTimeout
	}
	seconds := int((cmd.Timeout + time.Second - 1) / time.Second)
	var answer struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
	}
	err := t.call(ctx, request{
		op: "run a command in the sandbox", method: http.MethodPost, path: []string{"process", "execute"},
		body: jsonBody(struct {
			Command string            `json:"command"`
			Dir     string            `json:"cwd,omitempty"`
			Env     map[string]string `json:"envs,omitempty"`
			Timeout int               `json:"timeout"`
		}{subshell(cmd.Line), cmd.Dir, cmd.Env, seconds}),
		timeout: time.Duration(seconds)*time.Second + callTimeout/2, safe: cmd.Again,
	}, &answer)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusRequestTimeout {
		err = fault.New(fault.Sandbox, "the command did not end within %d s: %w", seconds, err)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{ExitCode: answer.ExitCode, Output: answer.Result}, nil
}

// subshell fences a command line: the toolbox feeds it to a shell's standard
// input, where a command that reads would eat the rest, and "exit" would end
// the session.
func subshell(line string) string { return "(\n" + line + "\n) </dev/null" }

// HomeDir returns the home directory of the sandbox's user.
func (t *Toolbox) HomeDir(ctx context.Context) (string, error) {
	r := request{op: "look up the sandbox's home directory", method: http.MethodGet, path: []string{"user-home-dir"}, safe: true}
	var answer struct{ Dir string }
	if err := t.call(ctx, r, &answer); err != nil {
		return "", err
	}
	if absolute(answer.Dir) != nil {
		return "", fault.New(fault.Sandbox, "%s: %q is not an absolute path", r.op, clean(answer.Dir))
	}
	return answer.Dir, nil
}

// Spawn starts a command in a session of its own and does not wait for it. The
// command's text and output are kept in the sandbox for all in it to read. A
// session that is there already is used, so take a new id where the old one's
// shell may have ended. The command itself is started at most
// once: when the answer is lost, look whether it runs before asking again.
func (t *Toolbox) Spawn(ctx context.Context, sessionID, command string) error {
	err := t.call(ctx, request{
		op: "open session " + clean(sessionID), method: http.MethodPost, path: []string{"process", "session"},
		body: jsonBody(map[string]string{"sessionId": sessionID}), safe: true,
	}, nil)
	if e, ok := errors.AsType[*Error](err); err != nil && !(ok && e.Status == http.StatusConflict) {
		return err
	}
	return t.call(ctx, request{
		op: "start a command in session " + clean(sessionID), method: http.MethodPost,
		path: []string{"process", "session", sessionID, "exec"},
		body: jsonBody(map[string]any{"command": subshell(command), "runAsync": true}),
	}, nil)
}
