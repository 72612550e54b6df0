// Package cmd is the command line. Each command is an options struct, a
// constructor that parses flags into it, and a run function; this package is
// also the one place where the parts are wired together.
package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/term"
)

// Version is set by the release build.
var Version = "0.0.0-dev"

// app is what every command is given.
type app struct {
	streams    term.Streams
	env        func(string) string
	checkpoint func(run.State, engine.Moment) // of engine.Config
	touchEvery time.Duration                  // likewise
	farewell   atomic.Pointer[func()]         // done by whoever leaves at once
}

// Option changes how Main runs.
type Option func(*app)

// WithCheckpoint tells f of each moment at which the engine's process may die.
// It is for tests that kill it there.
func WithCheckpoint(f func(run.State, engine.Moment)) Option {
	return func(a *app) { a.checkpoint = f }
}

// WithTouchEvery sets how often a sandbox that is worked in shows activity. It
// is for tests that can't wait for a minute.
func WithTouchEvery(d time.Duration) Option {
	return func(a *app) { a.touchEvery = d }
}

// Main runs the command line and returns the process's exit code.
func Main(options ...Option) int {
	a := &app{streams: term.System(os.Getenv), env: os.Getenv}
	for _, o := range options {
		o(a)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	return a.run(ctx, os.Args[1:])
}

// untilSignal returns a context that the first Ctrl-C or SIGTERM cancels. The
// second one ends the process at once.
func (a *app) untilSignal() (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		for range 2 {
			select {
			case <-signals:
			case <-ended:
				return
			}
			if ctx.Err() != nil {
				if do := a.farewell.Load(); do != nil {
					(*do)()
				}
				os.Exit(fault.ExitCode(ctx.Err()))
			}
			cancel()
		}
	})
	return ctx, func() { signal.Stop(signals); close(ended); listening.Wait(); cancel() }
}

// setFarewell sets what is said if the process is made to leave at once, until
// the function that it returns is called.
func (a *app) setFarewell(words string) (unset func()) {
	return a.beforeLeaving(func() { fmt.Fprintln(a.streams.Err, "dayclaude:", words) })
}

// beforeLeaving sets what is done in that case.
func (a *app) beforeLeaving(do func()) (unset func()) {
	before := a.farewell.Swap(&do)
	return func() { a.farewell.Store(before) }
}

// run executes one command line and prints its error, once.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if code := exited(0); errors.As(err, &code) {
		return int(code)
	}
	var told *toldError
	if err != nil && !errors.As(err, &told) {
		a.printError(err, slices.Contains(args, "--json"))
	}
	return fault.ExitCode(err)
}

// exited is the exit code, not 0, of a program that ran for the user, in a
// sandbox say: it is dayclaude's own, too, and the program has said why.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// toldError is an error that the command has shown by itself.
type toldError struct{ error }

func (t *toldError) Unwrap() error { return t.error }

func (a *app) printError(err error, asJSON bool) {
	hint := fault.HintOf(err)
	if asJSON {
		_ = writeJSON(a.streams.Err, map[string]string{"error": err.Error(), "kind": string(fault.KindOf(err)), "hint": hint})
		return
	}
	fmt.Fprintln(a.streams.Err, "dayclaude:", err)
	if hint != "" {
		fmt.Fprintln(a.streams.Err, "hint:", hint)
	}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (a *app) newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dayclaude",
		Short: "Turn GitHub issues into pull requests",
		Long: `dayclaude turns GitHub issues into pull requests: it makes a Daytona sandbox,
runs Claude Code in it on the repository, and publishes what comes out.

Try it without any account: dayclaude demo`,
		Version:       Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newRunIssue(a, a.runIssue),
		newRuns(a),
		newSandboxes(a),
		newDoctor(a, a.doctor),
		newDemo(a, a.demo),
		newDev(a),
	)
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultHelpCmd()
	usageErrors(root)
	return root
}

// newHelp is Cobra's own help command, but for a command that does not exist.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		Args: func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("%s has no command %q", about.CommandPath(), rest[0])
			}
			return err
		},
		RunE: func(_ *cobra.Command, args []string) error {
			about, _, err := root.Find(args)
			if err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}

// one wants exactly one argument, which usage calls name.
func one(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return fmt.Errorf("%s takes one %s, not %d", c.CommandPath(), name, len(args))
	}
}

// usageErrors makes every error that comes before a command's own work one of
// kind Usage: wrong flags, wrong counts of arguments, unknown commands.
func usageErrors(c *cobra.Command) {
	see := func(c *cobra.Command, err error) error {
		return fault.New(fault.Usage, "%w", err).WithHint("`%s --help` shows how it is used", c.CommandPath())
	}
	c.SetFlagErrorFunc(see)
	if c.HasSubCommands() && c.Args == nil {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if c.HasSubCommands() && len(args) > 0 {
				return see(c, fmt.Errorf("%s has no command %q", c.CommandPath(), args[0]))
			}
			if err := check(c, args); err != nil {
				return see(c, err)
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}
