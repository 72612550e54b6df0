package daytona

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

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

// Execute runs a command and waits for it, and for every process it leaves that
// holds its output. A command that ran and failed is a Result, not an error;
// one that ran out of time is a fault of kind Sandbox. Unless the command says
// Again it is not repeated: when the answer is lost, it may have run.
//
// It calls POST /process/execute.
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

// Quote makes a word of a POSIX shell's.
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// subshell fences a command line: the toolbox feeds it to a shell's standard
// input, where a command that reads would eat the rest, and "exit" would end
// the session.
func subshell(line string) string { return "(\n" + line + "\n) </dev/null" }
