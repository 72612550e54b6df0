package process

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// Exec runs the command in its own session and process group, with nothing
// of the engine's environment.
func (e *Engine) Exec(ctx context.Context, id string, c daytona.Command) (int, error) {
	b, err := e.box(id)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = b.home()
	if c.Dir != "" {
		cmd.Dir = c.Dir
	}
	detach(cmd, b.UID, b.gid(), e.separate)
	streams, err := attach(cmd, c, b)
	if err != nil {
		return 0, err
	}

	// A sandbox that is stopping must not gain a process after the kill.
	b.mu.Lock()
	err = daytona.ErrStopped
	if b.running {
		cmd.Env = b.environment(e.toolsDir(), c.Env)
		err = cmd.Start()
	}
	b.mu.Unlock()
	streams.closeTheirs()
	if err != nil {
		streams.closeOurs()
		return 0, err
	}

	stop := context.AfterFunc(ctx, func() {
		b.killSession(cmd.Process.Pid)
		streams.closeOurs() // a process that left the session may hold them
	})
	defer stop()
	if c.Started != nil {
		c.Started(daytona.Process{PID: cmd.Process.Pid, Resize: streams.resize})
	}
	copied := streams.copy(c)
	err = cmd.Wait()
	copied(c.Stdin)
	streams.closeOurs()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case cmd.ProcessState != nil:
		return exitCode(cmd.ProcessState), nil
	}
	return 0, err
}

// terminalWait is how long the last output of a program that has ended may
// take through its terminal.
const terminalWait = 200 * time.Millisecond

// streams are the pipes to a command. The command's end of its outputs is
// closed once all who inherited it have ended, and Exec waits for that. Or
// they are a terminal, which ends with the command.
type streams struct {
	input          *os.File // nil without input
	output, errors *os.File // errors is nil with a terminal
	theirs         []*os.File
	resize         func(daytona.Size) error // nil without a terminal
}

func attach(cmd *exec.Cmd, c daytona.Command, b *box) (*streams, error) {
	if c.Terminal != nil {
		return attachTerminal(cmd, *c.Terminal, b)
	}
	s := &streams{}
	pipe := func(to **os.File, from **os.File) error {
		reader, writer, err := os.Pipe()
		*to, *from = reader, writer
		return err
	}
	var outs [2]*os.File
	err := errors.Join(pipe(&s.output, &outs[0]), pipe(&s.errors, &outs[1]))
	cmd.Stdout, cmd.Stderr = outs[0], outs[1]
	s.theirs = outs[:]
	if c.Stdin != nil {
		var in *os.File
		err = errors.Join(err, pipe(&in, &s.input))
		cmd.Stdin = in
		s.theirs = append(s.theirs, in)
	}
	if err != nil {
		s.closeTheirs()
		s.closeOurs()
		return nil, err
	}
	return s, nil
}

// Files are closed more than once; the errors of that say nothing.

func (s *streams) closeTheirs() {
	for _, file := range s.theirs {
		_ = file.Close()
	}
}

func (s *streams) closeOurs() {
	for _, file := range []*os.File{s.input, s.output, s.errors} {
		_ = file.Close()
	}
}

// copy moves data until the function that it returns has been called, after
// the command ended, and has returned.
func (s *streams) copy(c daytona.Command) (finish func(stdin io.Reader)) {
	var input, outputs sync.WaitGroup
	if s.input != nil && c.Stdin != nil {
		input.Go(func() {
			// A command may end without reading its input.
			_, _ = io.Copy(s.input, c.Stdin)
			if s.resize == nil {
				_ = s.input.Close()
			}
		})
	}
	drain := func(to io.Writer, from *os.File) {
		if to == nil {
			to = io.Discard
		}
		if _, err := io.Copy(to, from); err != nil {
			_, _ = io.Copy(io.Discard, from) // who cannot be told must not be blocked
		}
	}
	outputs.Go(func() { drain(c.Stdout, s.output) })
	if s.errors != nil {
		outputs.Go(func() { drain(c.Stderr, s.errors) })
	}
	return func(stdin io.Reader) {
		if s.resize != nil {
			// Who still holds the terminal is not waited for.
			_ = s.output.SetReadDeadline(time.Now().Add(terminalWait))
			outputs.Wait()
		}
		if s.input != nil {
			_ = s.input.Close()
		}
		if closer, ok := stdin.(io.Closer); ok {
			_ = closer.Close()
		}
		input.Wait()
		outputs.Wait()
	}
}

// environment is everything that the sandbox's processes see of the machine.
// The caller holds b.mu.
func (b *box) environment(tools string, extra map[string]string) []string {
	env := map[string]string{
		"PATH":          tools + ":" + systemPath,
		"HOME":          b.home(),
		"TMPDIR":        b.temp(),
		"USER":          "daytona",
		"LOGNAME":       "daytona",
		"LANG":          "C.UTF-8",
		"SANDBOXD_ADDR": "127.0.0.1:" + strconv.Itoa(b.port),
	}
	maps.Copy(env, b.Env)
	maps.Copy(env, extra)
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}
