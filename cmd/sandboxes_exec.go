package cmd

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/remote"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
)

type sandboxesExecOptions struct {
	target
	remote.Command
	terminal bool
	noInput  bool
	timeout  time.Duration
	json     bool
}

func newSandboxesExec(a *app, do func(context.Context, *sandboxesExecOptions) error) *cobra.Command {
	o := &sandboxesExecOptions{}
	c := &cobra.Command{
		Use: "exec SANDBOX -- CMD [ARGS...]", Short: "Run a program in a sandbox",
		Long: `Run a program in a sandbox. Its arguments arrive as they are, its outputs as they
come, each byte of them; its exit code is dayclaude's. What dayclaude itself could
not do is exit code 255, and Ctrl-C, which ends the program, 130.

What is piped in becomes the program's input, once all of it is there. On a
terminal, its output is shown without control characters. With -t the program gets
a terminal of its own, which this one then shows as it is: full screen, colours,
Ctrl-C and all. Without CMD that is a shell.

CMD and what -e sets can be read by whatever runs in the sandbox: no place for a
secret.

` + targetWords,
		Example: `  dayclaude sandboxes exec octo/shop#42 -w shop -- git log -3
  dayclaude sandboxes exec octo/shop#42 -t`,
		Args:              sandboxAndCommand,
		ValidArgsFunction: a.completeSandbox,
		RunE: func(c *cobra.Command, args []string) error {
			o.what, o.Args = args[0], args[1:]
			switch {
			case len(o.Args) == 0 && !o.terminal:
				return fault.New(fault.Usage, "nothing to run: write a CMD behind --").WithHint("`%s %s -t` enters the sandbox", c.CommandPath(), o.what)
			case o.terminal && o.json:
				return fault.New(fault.Usage, "a terminal (-t) has no --json")
			case o.timeout < 0:
				return fault.New(fault.Usage, "--timeout must not be negative")
			}
			if err := o.Check(); err != nil {
				return err
			}
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().StringVarP(&o.Dir, "workdir", "w", "", "run in `DIR`, which is below the home directory unless it begins with a slash")
	c.Flags().StringArrayVarP(&o.Env, "env", "e", nil, "set an environment variable: `NAME=VALUE`; never a secret")
	c.Flags().BoolVarP(&o.terminal, "tty", "t", false, "with a terminal")
	c.Flags().BoolVarP(&o.noInput, "no-input", "n", false, "read no input, as in a loop that reads its own")
	c.Flags().DurationVar(&o.timeout, "timeout", 0, "end the program after that `TIME`, such as 90s or 10m")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object at the end")
	return c
}

// sandboxAndCommand wants a sandbox and, behind --, what is to be run in it.
func sandboxAndCommand(c *cobra.Command, args []string) error {
	if dash := c.ArgsLenAtDash(); len(args) == 0 || len(args) > 1 && dash != 1 || dash == 0 {
		return fmt.Errorf("%s takes one SANDBOX, and -- before a COMMAND", c.CommandPath())
	}
	return nil
}

// exitOwn is the exit code of exec for what is dayclaude's own failure, as
// ssh's: programs rarely use it.
const exitOwn = 255

func (a *app) sandboxesExec(ctx context.Context, o *sandboxesExecOptions) error {
	if o.terminal && (!a.streams.Asks() || a.streams.OutSize == nil) {
		return fault.New(fault.Usage, "-t needs a terminal").WithHint("without -t, input and output can be piped")
	}
	// When nobody reads our output any more, the program must end, too.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fault.New(fault.Limit, "the program did not end within %s", o.timeout))
		defer cancel()
	}
	exit := 0
	err := a.withSandbox(ctx, o.target, func(k *sandboxes.Keeper, s sandboxes.Sandbox) (err error) {
		if err := running(s); err != nil {
			return err
		}
		defer a.keepAwake(ctx, k, s)()
		box := k.Daytona.Toolbox(s.Sandbox)
		switch {
		case o.terminal:
			exit, err = a.execTerminal(ctx, box, o)
		case o.json:
			exit, err = a.execJSON(ctx, box, o, s.ID)
		default:
			out, errs := a.streams.Shown(a.streams.Out), a.streams.Shown(a.streams.Err)
			exit, err = a.exec(ctx, box, o, out, errs)
		}
		return meanwhile(ctx, k, s, err)
	})
	switch {
	case err == nil && exit == 0:
		return nil
	case err == nil:
		return exited(exit)
	case errors.Is(context.Cause(ctx), context.Canceled):
		return exited(fault.ExitCode(context.Canceled))
	case errors.Is(err, syscall.EPIPE):
		return exited(128 + syscall.SIGPIPE)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	a.printError(err, o.json)
	return exited(exitOwn)
}

// exec runs the program without a terminal.
func (a *app) exec(ctx context.Context, box *daytona.Toolbox, o *sandboxesExecOptions, out, errs io.Writer) (exit int, err error) {
	c := o.Command
	if o.noInput || !a.streams.Piped() {
		return remote.Run(ctx, box, c, out, errs)
	}
	home, err := box.HomeDir(ctx)
	if err != nil {
		return 0, err
	}
	c.Stdin = path.Join(home, ".dayclaude-exec-"+rand.Text()[:12])
	defer func() {
		if err != nil { // else the program's shell has removed it
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = box.Remove(ctx, c.Stdin, false)
		}
	}()
	if err := a.sendInput(ctx, box, c.Stdin); err != nil {
		return 0, err
	}
	return remote.Run(ctx, box, c, out, errs)
}

// sendInput puts what is piped in into a file of the sandbox. The toolbox could
// type it to the program, but it knows no end of it.
func (a *app) sendInput(ctx context.Context, box *daytona.Toolbox, name string) error {
	content, err := os.CreateTemp("", "dayclaude-exec-")
	if err != nil {
		return err
	}
	defer content.Close()
	if err := os.Remove(content.Name()); err != nil {
		return err
	}
	const patience = 2 * time.Second
	waiting := time.AfterFunc(patience, func() { fmt.Fprintln(a.streams.Err, "note: waiting for the end of the input; with -n there is none") })
	size, err := io.Copy(content, a.streams.Input(ctx))
	waiting.Stop()
	if err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	return box.Upload(ctx, daytona.File{Path: name, Mode: 0o600, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(content, 0, size)), nil
	}})
}

// execView is the documented object of sandboxes exec --json: docs/sandboxes.md.
type execView struct {
	ID        string `json:"id"`
	ExitCode  int    `json:"exit_code"`
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated"`
}

func (a *app) execJSON(ctx context.Context, box *daytona.Toolbox, o *sandboxesExecOptions, id string) (int, error) {
	var out, errs head
	exit, err := a.exec(ctx, box, o, &out, &errs)
	if err != nil {
		return 0, err
	}
	return exit, writeJSON(a.streams.Out, execView{id, exit, out.String(), errs.String(), out.more || errs.more})
}

// head keeps the beginning of an output.
type head struct {
	bytes.Buffer
	more bool
}

func (h *head) Write(p []byte) (int, error) {
	const most = 8 << 20
	room := min(len(p), most-h.Len())
	h.more = h.more || room < len(p)
	h.Buffer.Write(p[:room])
	return len(p), nil
}

// execTerminal runs the program in a terminal that is shown on this one.
func (a *app) execTerminal(ctx context.Context, box *daytona.Toolbox, o *sandboxesExecOptions) (int, error) {
	restore, err := a.streams.Raw()
	if err != nil {
		return 0, err
	}
	defer restore()
	defer a.beforeLeaving(restore)()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	ctx = notice.With(ctx, func(string) {}) // the screen is the program's
	return remote.Terminal(ctx, box, o.Command, remote.Screen{
		In: a.streams.Input, Out: a.streams.Out, Type: cmp.Or(a.env("TERM"), "xterm-256color"), Size: a.streams.OutSize, Resized: changed,
	})
}

// meanwhile is why something in a sandbox failed: err, unless the sandbox does
// not run any more.
func meanwhile(ctx context.Context, k *sandboxes.Keeper, s sandboxes.Sandbox, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	now, unknown := k.Daytona.Get(ctx, s.ID)
	if unknown != nil || now.State == daytona.Started {
		return err
	}
	return running(sandboxes.Sandbox{Sandbox: now})
}

// keepAwake posts a sandbox's activity until the function that it returns is
// called: what runs in it does not count as such.
func (a *app) keepAwake(ctx context.Context, k *sandboxes.Keeper, s sandboxes.Sandbox) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var posting sync.WaitGroup
	posting.Go(func() {
		tick := time.NewTicker(cmp.Or(a.touchEvery, time.Minute))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = k.Daytona.Touch(ctx, s.ID) // the next time, perhaps
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); posting.Wait() }
}
