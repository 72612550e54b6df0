package claude

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long things may take: Claude Code to end after each signal but the
// last; the prompt to be read once Claude Code is gone; and its output to be
// taken in then, which ends by itself unless a stranger holds it open.
const (
	signalGrace = 4 * time.Second
	promptGrace = 2 * time.Second
	outputGrace = 30 * time.Second
)

// Run starts Claude Code and blocks until it and every process that came from
// it are gone. Events are yielded one at a time, all of them before Run
// returns; a slow yield slows Claude down. When ctx is done Claude is
// interrupted, then terminated, then killed; the Result is then Cancelled,
// unless Claude had answered.
//
// Run makes the calling process adopt orphans (PR_SET_CHILD_SUBREAPER) and at
// its end kills all its descendants that are younger than Claude and have
// left its session: so callers start nothing in a session of its own while it
// runs, and Runs of one process take turns.
func Run(ctx context.Context, inv Invocation, yield func(Event)) Result {
	begin := time.Now()
	result := run(ctx, inv, yield)
	result.Duration = time.Since(begin)
	return result
}

func run(ctx context.Context, inv Invocation, yield func(Event)) Result {
	refused := func(err error) Result {
		if ctx.Err() != nil {
			return Result{Ending: Cancelled, ExitCode: -1, Message: reason(err)}
		}
		return Result{Ending: NotStarted, ExitCode: -1, Message: reason(err)}
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return refused(ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return refused(err)
	}
	if err := cleanHome(inv.Home); err != nil {
		return refused(err)
	}
	p, err := start(inv)
	if err != nil {
		return refused(err)
	}
	return p.wait(ctx, &stream{dir: inv.Dir, yield: yield})
}

// turn is held by the one Run under way: which orphans are whose cannot be
// told apart within a process.
var turn = make(chan struct{}, 1)

// process is a Claude Code under way.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File // our ends
	family         family
	grace          time.Duration // after each signal
}

// start starts Claude Code. The calling goroutine stays on its thread until
// wait returns, because PDEATHSIG goes by the thread.
func start(inv Invocation) (*process, error) {
	p := &process{cmd: exec.Command(inv.Path, inv.args()...), grace: signalGrace}
	var err error
	var outWriter, errWriter *os.File
	if p.stdout, outWriter, err = os.Pipe(); err != nil {
		return nil, err
	}
	defer outWriter.Close()
	if p.stderr, errWriter, err = os.Pipe(); err != nil {
		p.stdout.Close()
		return nil, err
	}
	defer errWriter.Close()
	p.cmd.Dir, p.cmd.Env = inv.Dir, inv.environ()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = strings.NewReader(inv.Prompt), outWriter, errWriter
	p.cmd.WaitDelay = promptGrace
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}

	runtime.LockOSThread()
	if err = adopt(); err == nil {
		err = p.cmd.Start()
	}
	if err == nil {
		if p.family, err = familyOf(p.cmd.Process.Pid); err != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	}
	if err != nil {
		runtime.UnlockOSThread()
		p.stdout.Close()
		p.stderr.Close()
		return nil, err
	}
	return p, nil
}

// wait reads the process's output to its end and cleans up after it.
func (p *process) wait(ctx context.Context, s *stream) Result {
	defer runtime.UnlockOSThread()
	defer p.stdout.Close()
	defer p.stderr.Close()
	var readers sync.WaitGroup
	var complaint tail
	readers.Go(func() { _ = s.read(p.stdout) }) // cut short or not, what came is what counts
	readers.Go(func() { _, _ = io.Copy(&complaint, p.stderr) })

	exited := make(chan struct{})
	signalled := make(chan bool, 1)
	go func() { signalled <- p.stop(ctx, exited) }()
	err := p.cmd.Wait()
	close(exited)
	cancelled := <-signalled

	p.family.kill()
	deadline := time.Now().Add(outputGrace)
	_ = p.stdout.SetReadDeadline(deadline)
	_ = p.stderr.SetReadDeadline(deadline)
	readers.Wait()
	return s.conclude(p.cmd.ProcessState, err, cancelled, complaint.String())
}

// stop ends the process when ctx is done, the harder the longer it takes. It
// returns once the process exited: whether it sent it a signal.
func (p *process) stop(ctx context.Context, exited <-chan struct{}) bool {
	select {
	case <-exited:
		return false
	case <-ctx.Done():
	}
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		_ = p.cmd.Process.Signal(signal) // one that is gone will show as exited
		timer := time.NewTimer(p.grace)
		select {
		case <-exited:
			timer.Stop()
			return true
		case <-timer.C:
		}
	}
	_ = p.cmd.Process.Kill()
	<-exited
	return true
}

// conclude makes the Result out of what the stream said and how the process
// ended.
func (s *stream) conclude(state *os.ProcessState, waitErr error, cancelled bool, complaint string) Result {
	r := s.result
	r.ExitCode = -1
	var signal syscall.Signal
	if state != nil {
		r.ExitCode = state.ExitCode()
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			signal = status.Signal()
			r.ExitCode = 128 + int(signal)
		}
	}
	if !s.ended {
		r.Turns, r.InputTokens, r.OutputTokens = s.turns, s.sum.Input, s.sum.Output
		r.Message = complaint
	}
	switch {
	case s.ended && r.Ending == Answered:
	case cancelled:
		r.Ending = Cancelled
	case s.ended && s.begun:
	case s.ended: // an error result alone: it never got as far as a session
		r.Ending = NotStarted
	case signal != 0 || r.ExitCode == 128+int(syscall.SIGTERM):
		r.Ending = Killed
	case !s.begun && r.ExitCode != 0:
		r.Ending = NotStarted
	default:
		r.Ending = NoResult
	}
	if r.Message == "" && waitErr != nil && r.Ending != Answered {
		r.Message = reason(waitErr)
	}
	return r
}

// tail keeps the last bytes that were written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxMessage; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(clip(string(t.kept), maxMessage)) }
