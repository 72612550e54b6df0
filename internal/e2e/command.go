package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds whatever a test waits for. It is never reached but by a
// fault: the machine may be slow.
const patience = 3 * time.Minute

// Result is what one command line came to.
type Result struct {
	Args   []string
	Exit   int // 128 + N if signal N ended it
	Stdout string
	Stderr string
	stack  *Stack
}

// Object is a JSON object.
type Object = map[string]any

// JSON parses stdout, or fails the test unless it is exactly one object.
func (r *Result) JSON() Object {
	r.stack.t.Helper()
	var o Object
	if err := json.Unmarshal([]byte(r.Stdout), &o); err != nil {
		r.stack.t.Fatalf("%s: stdout is not one JSON object: %v\n%s", strings.Join(r.Args, " "), err, r)
	}
	return o
}

// String is the result for a failing test's message.
func (r *Result) String() string {
	return "exit code " + jsonText(r.Exit) + "\n--- stdout\n" + r.Stdout + "--- stderr\n" + r.Stderr
}

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// Run runs a command line to its end.
func (s *Stack) Run(args ...string) *Result {
	s.t.Helper()
	return s.Start(args...).Wait()
}

// Command is a command line that runs.
type Command struct {
	stack          *Stack
	args           []string
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has ended
	err            error         // of its end; read it after done
}

// Start starts a command line. It is killed at the end of the test at the
// latest.
func (s *Stack) Start(args ...string) *Command {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	c := &Command{stack: s, args: args, cmd: exec.Command(self, args...), done: make(chan struct{})}
	c.cmd.Env, c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = s.Environ(), s.Dir, &c.stdout, &c.stderr
	if err := c.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	s.t.Cleanup(func() {
		c.Signal(syscall.SIGKILL)
		<-c.done
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", strings.Join(c.args, " "), c.Stderr())
		}
	})
	return c
}

// Environ is Env as a process takes it: whatever executes the test binary with
// it becomes the command line.
func (s *Stack) Environ() []string {
	list := make([]string, 0, len(s.Env))
	for name, value := range s.Env {
		list = append(list, name+"="+value)
	}
	return list
}

// PID is the process's id.
func (c *Command) PID() int { return c.cmd.Process.Pid }

// Ended reports whether the command has ended.
func (c *Command) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal, unless the command has ended.
func (c *Command) Signal(signal os.Signal) {
	c.stack.t.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.stack.t.Errorf("signal %v: %v", signal, err)
	}
}

// Stdout is what the command has written there so far.
func (c *Command) Stdout() string { return c.stdout.String() }

// Stderr is what the command has written there so far.
func (c *Command) Stderr() string { return c.stderr.String() }

// WaitFor waits until stderr holds the text, and fails the test if the
// command ends without having said it.
func (c *Command) WaitFor(text string) {
	c.stack.t.Helper()
	c.stack.Eventually("stderr to hold "+text, func() bool {
		ended := c.Ended() // before the look: what it said last counts
		said := strings.Contains(c.Stderr(), text)
		if ended && !said {
			c.stack.t.Fatalf("%s ended without saying %q\n%s", strings.Join(c.args, " "), text, c.Wait())
		}
		return said
	})
}

// Wait waits for the end.
func (c *Command) Wait() *Result {
	c.stack.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-c.done:
	case <-timeout.C:
		c.Signal(syscall.SIGKILL)
		<-c.done
		c.stack.t.Errorf("%s did not end within %s", strings.Join(c.args, " "), patience)
	}
	r := &Result{Args: c.args, Stdout: c.stdout.String(), Stderr: c.stderr.String(), stack: c.stack}
	if exit := (*exec.ExitError)(nil); errors.As(c.err, &exit) {
		r.Exit = exit.ExitCode()
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			r.Exit = 128 + int(status.Signal())
		}
	} else if c.err != nil {
		c.stack.t.Fatal(c.err)
	}
	return r
}

// Eventually polls until done, and fails the test if that takes for ever.
func (s *Stack) Eventually(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited %s for %s", patience, what)
		}
		select {
		case <-s.t.Context().Done():
			s.t.Fatal(s.t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// output is a buffer that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
