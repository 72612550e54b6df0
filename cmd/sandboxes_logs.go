package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/remote"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

type sandboxesLogsOptions struct {
	target
	follow bool
	json   bool
}

func newSandboxesLogs(a *app, do func(context.Context, *sandboxesLogsOptions) error) *cobra.Command {
	o := &sandboxesLogsOptions{}
	c := &cobra.Command{
		Use: "logs SANDBOX", Short: "Print the log of a sandbox's sandboxd", Args: one("SANDBOX"),
		Long: `Print what sandboxd, dayclaude's server in the sandbox, has written: since the
sandbox's start if it came with the image, else all of it. What happened in a run
is told by ` + "`dayclaude runs logs`" + `.

` + targetWords,
		ValidArgsFunction: a.completeSandbox,
		RunE: func(c *cobra.Command, args []string) error {
			o.what = args[0]
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the sandbox stops")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object a line")
	return c
}

func (a *app) sandboxesLogs(ctx context.Context, o *sandboxesLogsOptions) error {
	// When nobody reads our output any more, nothing must go on in the sandbox.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	err := a.withSandbox(ctx, o.target, func(k *sandboxes.Keeper, s sandboxes.Sandbox) error {
		if err := running(s); err != nil {
			return err
		}
		show := func(line []byte) error { return showLogLine(a.streams.Out, line) }
		if o.json {
			show = func(line []byte) error { return writeJSON(a.streams.Out, logObject(line)) }
		}
		out := &lines{each: show}
		err := errors.Join(sandboxdLog(ctx, k.Daytona.Toolbox(s.Sandbox), nameOf(s), o.follow, out), out.flush())
		if !o.follow || ctx.Err() != nil {
			return err
		}
		now, unknown := k.Daytona.Get(ctx, s.ID)
		switch {
		case unknown == nil && now.State != daytona.Started:
			fmt.Fprintf(a.streams.Err, "sandbox %s is %s\n", nameOf(s), untrusted.Line(string(now.State), 40))
			return nil
		case err == nil:
			fmt.Fprintln(a.streams.Err, "sandboxd has ended")
		}
		return err
	})
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return nil // enough was seen
	case errors.Is(err, syscall.EPIPE):
		return exited(128 + syscall.SIGPIPE)
	}
	return err
}

// sandboxdLog writes what sandboxd wrote: to its file, if a run put it into the
// sandbox, else as the image's entrypoint.
func sandboxdLog(ctx context.Context, box *daytona.Toolbox, name string, follow bool, out io.Writer) error {
	home, err := box.HomeDir(ctx)
	if err != nil {
		return err
	}
	file := path.Join(home, api.StateDir, "sandboxd.log")
	switch _, err := box.Info(ctx, file); {
	case err == nil:
		program := []string{"cat", file}
		if follow {
			program = []string{"tail", "-c", "+1", "-f", file}
		}
		exit, err := remote.Run(ctx, box, remote.Command{Args: program}, out, out)
		if err == nil && exit != 0 {
			err = fault.New(fault.Sandbox, "%s ended with exit code %d in the sandbox", program[0], exit)
		}
		return err
	case fault.KindOf(err) != fault.NotFound:
		return err
	}
	err = box.EntrypointLogs(ctx, follow, out, out)
	if fault.KindOf(err) == fault.NotFound {
		return fault.New(fault.NotFound, "no sandboxd runs in sandbox %s: its image starts none, and no run has put one there", name)
	}
	return err
}

// lines calls each with the lines that are written to it, without their ends.
type lines struct {
	each func([]byte) error
	rest []byte
}

// maxLogLine bounds a line; a longer one is several.
const maxLogLine = 64 << 10

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(line) < maxLogLine {
			l.rest = bytes.Clone(line)
			return len(p), nil
		}
		if !found {
			line, rest = line[:maxLogLine], line[maxLogLine:]
		}
		if err := l.each(line); err != nil {
			return 0, err
		}
		l.rest = rest
	}
}

func (l *lines) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	defer func() { l.rest = nil }()
	return l.each(l.rest)
}

// logObject is a line as an object: sandboxd writes such, what else speaks on
// its outputs does not.
func logObject(line []byte) map[string]any {
	var o map[string]any
	if json.Unmarshal(line, &o) != nil || o == nil {
		o = map[string]any{"msg": strings.ToValidUTF8(string(line), "\uFFFD")}
	}
	return o
}

// showLogLine prints a line for reading: time, message and the rest as
// name=value.
func showLogLine(w io.Writer, line []byte) error {
	o := logObject(line)
	text := untrusted.Text(fmt.Sprint(o["msg"]))
	if level, _ := o["level"].(string); level != "" && level != "INFO" {
		text = untrusted.Line(level, 10) + "  " + text
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(o["time"])); err == nil {
		text = at.Local().Format("2006-01-02 15:04:05") + "  " + text
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name != "time" && name != "level" && name != "msg" {
			text += "  " + untrusted.Quote(name, 100) + "=" + untrusted.Quote(fmt.Sprint(o[name]), 2000)
		}
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
