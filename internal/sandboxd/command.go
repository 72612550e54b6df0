package sandboxd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// Bounds of a command's output and of its end.
const (
	maxOutput      = 4 << 10 // of one Output event
	maxOutputs     = 1 << 20 // of one command altogether
	interruptGrace = 2 * time.Second
	terminateGrace = 3 * time.Second
	outputGrace    = 500 * time.Millisecond
)

// errTimeout is why a command that took too long was ended.
var errTimeout = errors.New("time-out")

// command is a program in a process group of its own, with nothing on its
// standard input.
func command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// runCommand starts cmd, passes on what it prints, and waits for it. When ctx
// is done its group is interrupted, terminated, killed; the error is then
// ctx's cause and the exit code -1. What it leaves running in the background
// goes on with its output discarded, until the outlet is closed.
func runCommand(ctx context.Context, cmd *exec.Cmd, emit func(string)) (exit int, _ *outlet, err error) {
	if ctx.Err() != nil {
		return -1, nil, context.Cause(ctx)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return -1, nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return -1, nil, err
	}
	out := newOutlet(r, emit)
	exited := make(chan struct{})
	go func() {
		err = cmd.Wait()
		close(exited)
	}()
	select {
	case <-exited:
		out.settle()
	case <-ctx.Done():
		stopGroup(cmd.Process.Pid, exited)
		out.settle()
		return -1, out, context.Cause(ctx)
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return -1, out, err
	}
	return cmd.ProcessState.ExitCode(), out, nil // -1 if a signal ended it
}

// stopGroup ends a process group, the harder the longer it takes, and returns
// once its leader was waited for.
func stopGroup(leader int, exited <-chan struct{}) {
	defer func() { _ = syscall.Kill(-leader, syscall.SIGKILL) }() // members that the leader left behind
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGINT, interruptGrace}, {syscall.SIGTERM, terminateGrace}} {
		_ = syscall.Kill(-leader, step.signal)
		timer := time.NewTimer(step.grace)
		select {
		case <-exited:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	_ = syscall.Kill(-leader, syscall.SIGKILL)
	<-exited
}

// outlet reads a command's output for as long as anything may write it, so
// that no background process ends by a broken pipe.
type outlet struct {
	r    *os.File
	done chan struct{}

	mu   sync.Mutex
	emit func(string) // nil once nobody listens
	left int
	rest []byte // the beginning of a rune
}

func newOutlet(r *os.File, emit func(string)) *outlet {
	o := &outlet{r: r, done: make(chan struct{}), emit: emit, left: maxOutputs}
	go o.read()
	return o
}

func (o *outlet) read() {
	defer close(o.done)
	buf := make([]byte, maxOutput-utf8.UTFMax)
	for {
		n, err := o.r.Read(buf)
		o.pass(buf[:n])
		if err != nil {
			return
		}
	}
}

// pass emits p as text, without splitting a rune.
func (o *outlet) pass(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.emit == nil || o.left <= 0 {
		return
	}
	p = append(o.rest, p...)
	whole := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if b := p[len(p)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(p[len(p)-i:]) {
				whole = len(p) - i
			}
			break
		}
	}
	o.rest = append([]byte(nil), p[whole:]...)
	if whole == 0 {
		return
	}
	o.left -= whole
	o.emit(strings.ToValidUTF8(string(p[:whole]), "?"))
	if o.left <= 0 {
		o.emit("\n[the rest of the output is left out]\n")
	}
}

// settle waits for the output of a command that ended, and stops listening:
// at once unless something in the background holds the pipe.
func (o *outlet) settle() {
	timer := time.NewTimer(outputGrace)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.emit = nil
}

// close stops reading.
func (o *outlet) close() {
	_ = o.r.Close()
	<-o.done
}

// tailBuffer keeps the end of a text.
type tailBuffer struct{ text string }

func (t *tailBuffer) add(s string)   { t.text = tailOf(t.text+s, maxTail) }
func (t *tailBuffer) String() string { return t.text }

// headOf and tailOf cut valid UTF-8 text to at most most bytes.
func headOf(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func tailOf(s string, most int) string {
	if len(s) <= most {
		return s
	}
	from := len(s) - most
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	return s[from:]
}
