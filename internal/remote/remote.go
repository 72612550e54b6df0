// Package remote runs programs in a sandbox as if they ran here: with their
// arguments as they are, their outputs apart, as they come and byte for byte,
// and their exit code.
//
// The toolbox carries a session's output as lines of text, and loses what is
// none. So the outputs travel as base64, which dd and base64 make in the
// sandbox of whatever there is to be read, and each ends with a line of its
// own. What comes is untrusted.
package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// Command is a program to run.
type Command struct {
	Args  []string // the program and its arguments
	Dir   string   // absolute, or below the home directory; "" is the home directory
	Env   []string // NAME=VALUE, on top of the sandbox's; kept in the sandbox, so never a secret
	Stdin string   // path of a file in the sandbox, which is removed; "": there is no input
}

// NotRun is the exit code of a program that could not be run because its
// directory is not there.
const NotRun = 255

// environmentName is what a shell can export.
var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Check says what is wrong with a command, as a fault of kind Usage.
func (c Command) Check() error {
	for _, e := range c.Env {
		name, _, found := strings.Cut(e, "=")
		if !found || !environmentName.MatchString(name) {
			return fault.New(fault.Usage, "%q is not NAME=VALUE", e)
		}
	}
	for _, word := range append(append([]string{c.Dir}, c.Env...), c.Args...) {
		// The toolbox is told in JSON.
		if strings.ContainsRune(word, 0) || !utf8.ValidString(word) {
			return fault.New(fault.Usage, "%q is no text", word).WithHint("copy it into the sandbox as a file: `dayclaude sandboxes cp --help`")
		}
	}
	return nil
}

// prepare is what a shell script does first to run the command.
func (c Command) prepare() string {
	var b strings.Builder
	b.WriteString("cd || exit 255\n")
	if c.Dir != "" {
		b.WriteString("CDPATH= cd -- " + daytona.Quote(c.Dir) + " || exit 255\n")
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		b.WriteString("export " + name + "=" + daytona.Quote(value) + "\n")
	}
	if c.Stdin != "" {
		b.WriteString("exec <" + daytona.Quote(c.Stdin) + " || exit 255\nrm -f -- " + daytona.Quote(c.Stdin) + "\n")
	}
	return b.String()
}

// words are the arguments as a shell reads them.
func words(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = daytona.Quote(a)
	}
	return strings.Join(quoted, " ")
}

// How a script speaks to decoder: lines of base64, and these.
const (
	endMark  = "=" // behind it stands the exit code, on standard output
	lackMark = "!" // behind it stands what the sandbox has not
)

// encoded runs "$@" with both outputs encoded. dd reads what there is, without
// waiting for more.
const encoded = `command -v dd >/dev/null || { echo "` + lackMark + `dd"; exit; }
command -v base64 >/dev/null || { echo "` + lackMark + `base64"; exit; }
encode() { while text=$(dd bs=32768 count=1 2>/dev/null | base64) && [ -n "$text" ]; do printf '%s\n' "$text"; done; }
exec 3>&1 4>&2
code=$({ { { /bin/sh -c "$@" 3>&- 4>&- 5>&-; echo $? >&5; } | encode >&3 5>&-; } 2>&1 | encode >&4 5>&-; } 5>&1)
echo "` + endMark + `$code"; echo "` + endMark + `" >&2`

// line is the command as a session runs it.
func (c Command) line() string {
	script := []string{"/bin/sh", "-c", encoded, "sh", c.prepare() + `exec "$@"`, "sh"}
	return "exec " + words(append(script, c.Args...)) + " </dev/null"
}

// Run runs a command until it and all that hold its outputs have ended, and
// returns its exit code. When ctx ends, or an output cannot be written any
// more, the command is ended and that error returned.
func Run(ctx context.Context, box *daytona.Toolbox, c Command, stdout, stderr io.Writer) (exit int, err error) {
	session, err := box.OpenSession(ctx, "dayclaude-exec-"+rand.Text())
	if err != nil {
		return 0, err
	}
	defer func() {
		if left := leave(ctx, session); err == nil {
			err = left
		}
	}()
	id, err := session.Start(ctx, c.line())
	if err != nil {
		return 0, err
	}
	// The toolbox notices a second late that a command has ended.
	following, done := context.WithCancel(ctx)
	defer done()
	out, errs := &decoder{to: stdout}, &decoder{to: stderr}
	out.ended = func() {
		if out.end != nil && errs.end != nil {
			done()
		}
	}
	errs.ended = out.ended
	err = session.Follow(following, id, out, errs)
	switch {
	case out.end == nil || errs.end == nil:
		if err == nil {
			err = fault.New(fault.Sandbox, "the command's session ended before the command").WithHint("the sandbox may have been stopped: `dayclaude sandboxes list` tells")
		}
		return 0, err
	case strings.HasPrefix(*out.end, lackMark):
		return 0, fault.New(fault.Sandbox, "the sandbox has no %s", (*out.end)[1:])
	}
	code, err := strconv.ParseUint((*out.end)[1:], 10, 8)
	if err != nil {
		return 0, errGarbled
	}
	return int(code), nil
}

// leaveLimit bounds the end of a session.
const leaveLimit = 20 * time.Second

// leave ends a session and what runs in it, also after an interruption. One
// that went with its sandbox is gone.
func leave(ctx context.Context, session *daytona.Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	return session.Close(ctx)
}

// maxLine is the longest line that a script writes, in bytes, and more.
const maxLine = 1 << 10

var errGarbled = fault.New(fault.Sandbox, "what comes from the sandbox is not what was to be sent")

// decoder writes what one encoded output was.
type decoder struct {
	to    io.Writer
	rest  []byte  // of a line
	end   *string // the last line, once it came
	ended func()  // called then
}

func (d *decoder) Write(p []byte) (int, error) {
	d.rest = append(d.rest, p...)
	var text []byte
	for d.end == nil {
		line, rest, found := bytes.Cut(d.rest, []byte("\n"))
		if !found {
			break
		}
		d.rest = rest
		if s := string(line); strings.HasPrefix(s, endMark) || strings.HasPrefix(s, lackMark) {
			d.end = &s
			break
		}
		var err error
		if text, err = base64.StdEncoding.AppendDecode(text, line); err != nil {
			return 0, errGarbled
		}
	}
	if len(d.rest) > maxLine && d.end == nil {
		return 0, errGarbled
	}
	d.rest = bytes.Clone(d.rest)
	if len(text) > 0 {
		if _, err := d.to.Write(text); err != nil {
			return 0, err
		}
	}
	if d.end != nil {
		d.ended()
	}
	return len(p), nil
}
