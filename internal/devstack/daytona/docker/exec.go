package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// named tells the command's process id, by which it can be killed: Docker
// knows only the host's number for it. An exec leads a session.
var named = []string{"/bin/sh", "-c", `echo $$; exec "$@"`, "exec"}

// sized gives the terminal its size first, as Docker before 23 cannot.
const sized = `stty cols "$1" rows "$2" 2>/dev/null; shift 2; echo $$; exec "$@"`

const killWait = 10 * time.Second

// Exec runs the command through Docker's exec as the image's user.
func (e *Engine) Exec(ctx context.Context, id string, c daytona.Command) (int, error) {
	words, terminal := slices.Concat(named, c.Args), c.Terminal != nil
	if terminal {
		words = slices.Concat([]string{"/bin/sh", "-c", sized, "exec",
			strconv.Itoa(int(c.Terminal.Cols)), strconv.Itoa(int(c.Terminal.Rows))}, c.Args)
	}
	created, err := e.docker.ExecCreate(ctx, e.container(id), client.ExecCreateOptions{
		TTY:         terminal,
		AttachStdin: c.Stdin != nil, AttachStdout: true, AttachStderr: true,
		Env: list(c.Env), WorkingDir: c.Dir, Cmd: words,
	})
	switch {
	case errdefs.IsNotFound(err), errdefs.IsConflict(err):
		return 0, daytona.ErrStopped
	case err != nil:
		return 0, fmt.Errorf("create exec: %w", err)
	}
	attached, err := e.docker.ExecAttach(ctx, created.ID, client.ExecAttachOptions{TTY: terminal})
	if err != nil {
		return 0, fmt.Errorf("start exec: %w", err)
	}
	defer attached.Close()

	running := make(chan struct{})
	out := &pidReader{to: orDiscard(c.Stdout), pid: make(chan int, 1), started: func(pid int) {
		close(running)
		if c.Started != nil {
			c.Started(daytona.Process{PID: pid, Resize: e.resizer(ctx, created.ID)})
		}
	}}
	ended, killed := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		defer attached.Close() // a process that left the group may hold the outputs
		if !errors.Is(context.Cause(ctx), daytona.ErrDetached) {
			e.killExec(context.WithoutCancel(ctx), id, out.pid, ended)
		}
	})
	var feeding sync.WaitGroup
	if c.Stdin != nil {
		feeding.Go(func() {
			if terminal { // it would show the input before the process id
				select {
				case <-running:
				case <-ended:
				}
			}
			// A command may end without reading its input.
			_, _ = io.Copy(attached.Conn, c.Stdin)
			_ = attached.CloseWrite()
		})
	}
	if terminal {
		_, err = io.Copy(out, attached.Reader)
	} else {
		_, err = stdcopy.StdCopy(out, orDiscard(c.Stderr), attached.Reader)
	}
	attached.Close()
	close(ended)
	if closer, ok := c.Stdin.(io.Closer); ok {
		_ = closer.Close()
	}
	feeding.Wait()
	if !stop() {
		<-killed
		return 0, ctx.Err()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("exec stream: %w", err)
	}
	return e.exitCode(ctx, created.ID, out)
}

// resizer returns how a command's terminal is resized.
func (e *Engine) resizer(ctx context.Context, exec string) func(daytona.Size) error {
	return func(size daytona.Size) error {
		_, err := e.docker.ExecResize(ctx, exec, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
		return err
	}
}

// exitCode asks Docker for it. A command that could not start has one too,
// but never told its process id.
func (e *Engine) exitCode(ctx context.Context, exec string, out *pidReader) (int, error) {
	for {
		state, err := e.docker.ExecInspect(ctx, exec, client.ExecInspectOptions{})
		switch {
		case errdefs.IsNotFound(err): // the container went
			return 0, daytona.ErrStopped
		case err != nil:
			return 0, fmt.Errorf("inspect exec: %w", err)
		case state.Running: // its outputs are closed but Docker has not noticed the end
		case !out.told:
			return 0, fmt.Errorf("command did not start: %s", bytes.TrimSpace(out.rest))
		default:
			return state.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// killSession kills all processes of the session "$1", also those that have
// groups of their own, as a shell's jobs have.
const killSession = `while :; do
	alive=
	for stat in /proc/[0-9]*/stat; do
		{ read -r line <"$stat"; } 2>/dev/null || continue
		pid=${stat#/proc/}
		set -- "$1" ${line##*) }
		if [ "$5" = "$1" ] && [ "$2" != Z ] && kill -KILL "${pid%/stat}"; then alive=yes; fi
	done
	[ "$alive" ] || exit 0
done`

// killExec kills the session of a command once it has told its id.
func (e *Engine) killExec(ctx context.Context, id string, pid <-chan int, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	select {
	case pid := <-pid:
		// What cannot be killed here ends with its sandbox.
		_, _ = e.Exec(ctx, id, daytona.Command{Args: []string{"/bin/sh", "-c", killSession, "kill", strconv.Itoa(pid)}})
	case <-ended:
	case <-ctx.Done():
	}
}

// maxComplaint bounds what is kept of an output that does not begin with a
// process id: the shell is the image's, and may be anything.
const maxComplaint = 4 << 10

// pidReader takes the process id off the beginning of a command's output.
type pidReader struct {
	to      io.Writer
	pid     chan int
	started func(pid int)
	told    bool
	rest    []byte // before the first newline
}

func (r *pidReader) Write(p []byte) (int, error) {
	if r.told {
		return r.to.Write(p)
	}
	if len(r.rest) > maxComplaint {
		return len(p), nil // no id will come
	}
	r.rest = append(r.rest, p...)
	line, after, found := bytes.Cut(r.rest, []byte("\n"))
	if !found {
		return len(p), nil
	}
	pid, err := strconv.Atoi(string(bytes.TrimSuffix(line, []byte("\r")))) // a terminal's
	if err != nil {
		return len(p), nil // Docker's own words about a command that did not start
	}
	r.told = true
	r.pid <- pid
	r.started(pid)
	if len(after) == 0 {
		return len(p), nil
	}
	_, err = r.to.Write(after)
	return len(p), err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
