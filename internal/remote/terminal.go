package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Screen is a terminal of this machine, in raw mode.
type Screen struct {
	In      func(context.Context) io.Reader // what is typed; a read ends with the context
	Out     io.Writer                       // what comes is written as it is
	Type    string                          // as TERM has it
	Size    func() (cols, rows int)
	Resized <-chan os.Signal // the size may have changed
}

// startLimit is how long the sandbox's shell may take to start a command.
const startLimit = 30 * time.Second

// Terminal runs a command, or without Args the user's shell, in a terminal of
// the sandbox that is shown on a screen, and returns its exit code. When ctx
// ends, the command is ended.
func Terminal(ctx context.Context, box *daytona.Toolbox, c Command, s Screen) (exit int, err error) {
	home, err := box.HomeDir(ctx)
	if err != nil {
		return 0, err
	}
	options := daytona.PTYOptions{Dir: home, Env: map[string]string{"TERM": s.Type}}
	options.Cols, options.Rows = s.Size()
	script, mark := path.Join(home, ".dayclaude-exec-"+rand.Text()[:12]), "\x1e"+rand.Text()+"\x1e"
	if len(c.Args) == 0 {
		for _, e := range c.Env {
			name, value, _ := strings.Cut(e, "=")
			options.Env[name] = value
		}
		if options.Dir = c.Dir; !path.IsAbs(c.Dir) {
			options.Dir = path.Join(home, c.Dir)
		}
	} else if err := box.Upload(ctx, daytona.File{Path: script, Content: []byte(c.typed(mark)), Mode: 0o600}); err != nil {
		return 0, err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	pty, err := box.OpenPTY(ctx, options)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, pty.Close()) }()
	if len(c.Args) > 0 {
		if err := start(pty, " exec /bin/sh "+daytona.Quote(script)+"\r", mark, s.Out); err != nil {
			return 0, err
		}
	}
	var others sync.WaitGroup
	defer others.Wait()
	defer done()
	others.Go(func() { _, _ = io.Copy(pty, s.In(ctx)) }) // a connection that broke is noticed below
	others.Go(func() { resize(ctx, pty, s) })
	if _, err := io.Copy(s.Out, pty); err != nil {
		return 0, err
	}
	return pty.Wait()
}

// typed is the script that a terminal's shell is told to become. The toolbox
// drops what a program writes right before its end: the script ends later.
func (c Command) typed(mark string) string {
	return `rm -f -- "$0"
printf '` + strings.ReplaceAll(mark, "\x1e", `\036`) + `'
trap : INT QUIT
` + c.prepare() + words(c.Args) + `
code=$?
sleep 0.2 || sleep 1
exit $code
`
}

// start types a line and shows nothing until the mark, which is what the
// sandbox's shell says about itself, and the line.
func start(pty *daytona.PTY, line, mark string, out io.Writer) error {
	if _, err := io.WriteString(pty, line); err != nil {
		return err
	}
	late := make(chan struct{})
	timer := time.AfterFunc(startLimit, func() { close(late); _ = pty.Close() })
	defer timer.Stop()
	var said []byte
	for b := make([]byte, 32<<10); ; {
		n, err := pty.Read(b)
		said = append(said, b[:n]...)
		if _, shown, found := bytes.Cut(said, []byte(mark)); found {
			_, err := out.Write(shown)
			return err
		}
		said = bytes.Clone(said[max(0, len(said)-4096):])
		if err == nil {
			continue
		}
		select {
		case <-late:
		default:
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
		return fault.New(fault.Sandbox, "the sandbox's shell did not start the command; it said %q", untrusted.Line(string(said), 300))
	}
}

// resize keeps the sandbox's terminal as large as the screen.
func resize(ctx context.Context, pty *daytona.PTY, s Screen) {
	for {
		select {
		case <-s.Resized:
			cols, rows := s.Size()
			_ = pty.Resize(ctx, cols, rows) // the next time, perhaps
		case <-ctx.Done():
			return
		}
	}
}
