package daytona

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// merge runs a shell with both of its outputs in one pipe, and waits until
// nobody holds that pipe: a background child that keeps it keeps the request.
// Docker's exec would stop listening two seconds after the command's end.
const merge = `exec 4>&1
exit "$( { { ` + anyShell + ` 2>&1 3>&- 4>&-; echo $? >&3; } | cat >&4 3>&- 4>&-; } 3>&1 )"`

// execute feeds the command to the shell's standard input: a command that
// reads its input eats the rest of the script. It goes on when its client
// hangs up, and without a timeout to its end.
func (c *call) execute() error {
	var request struct {
		Command string            `json:"command"`
		Cwd     string            `json:"cwd"`
		Envs    map[string]string `json:"envs"`
		Timeout int               `json:"timeout"` // seconds
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	if strings.TrimSpace(request.Command) == "" {
		return problemf(http.StatusBadRequest, "command cannot be empty or whitespace-only")
	}
	ctx := c.tools.ctx
	if request.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(min(request.Timeout, 7*24*3600))*time.Second)
		defer cancel()
	}
	var out, complaint bytes.Buffer
	exit, err := c.tools.engine.Exec(ctx, c.tools.id, Command{
		Args:   []string{"/bin/sh", "-c", merge},
		Dir:    request.Cwd,
		Env:    request.Envs,
		Stdin:  strings.NewReader(request.Command),
		Stdout: &bounded{buffer: &out, left: maxOutput},
		Stderr: &bounded{buffer: &complaint, left: 4096},
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return problemf(http.StatusRequestTimeout, "command execution timeout")
	case errors.Is(err, ErrStopped), c.tools.ctx.Err() != nil && (err != nil || exit != 0): // killed with the sandbox
		return ErrStopped
	case err != nil:
		// The daemon reports a command that did not start, such as one in a
		// directory that is not there, as exit code -1.
		exit = -1
		out.WriteString(err.Error())
	}
	out.Write(complaint.Bytes())
	return c.answer(map[string]any{"exitCode": exit, "result": out.String()})
}
