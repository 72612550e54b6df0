package daytona

import (
	"bytes"
	"context"
	"sync"
)

// stream is one of a command's outputs.
type stream int

const (
	stdout stream = iota
	stderr
)

// The marks before each line of a command's log, as Daytona's daemon writes
// them.
const (
	stdoutMark = "\x01\x01\x01"
	stderrMark = "\x02\x02\x02"
)

const (
	maxLog  = 64 << 20
	maxLine = 64 << 10
)

// commandLog is what a session's command wrote, line by line with marks. It
// keeps the first maxLog bytes.
type commandLog struct {
	mu      sync.Mutex
	marked  []byte
	partial [2][]byte
	done    [2]bool
	exit    int
	changed chan struct{} // closed and replaced at each change
}

func newCommandLog() *commandLog { return &commandLog{changed: make(chan struct{})} }

func (l *commandLog) add(from stream, text []byte) {
	if len(text) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	buffer := append(l.partial[from], text...)
	for {
		line, after, found := bytes.Cut(buffer, []byte("\n"))
		if !found && len(buffer) < maxLine {
			break
		}
		l.line(from, line)
		buffer = after
	}
	l.partial[from] = bytes.Clone(buffer)
	l.notify()
}

// line ends each line with a newline, even a last one that had none.
func (l *commandLog) line(from stream, line []byte) {
	if len(l.marked)+len(line) > maxLog {
		return
	}
	l.marked = append(l.marked, [...]string{stdoutMark, stderrMark}[from]...)
	l.marked = append(append(l.marked, line...), '\n')
}

// echo shows a command's input in its log, as output with one mark.
func (l *commandLog) echo(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marked)+len(text) <= maxLog {
		l.marked = append(append(l.marked, stdoutMark...), text...)
		l.notify()
	}
}

// finish records that the command writes no more to a stream. The exit code
// counts with stdout.
func (l *commandLog) finish(from stream, exit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush(from)
	l.done[from] = true
	if from == stdout {
		l.exit = exit
	}
	l.notify()
}

func (l *commandLog) flush(from stream) {
	if len(l.partial[from]) > 0 {
		l.line(from, l.partial[from])
		l.partial[from] = nil
	}
}

func (l *commandLog) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// read returns the marked log from an offset, whether the command has ended,
// its exit code, and a channel that is closed at the next change.
func (l *commandLog) read(from int) (text []byte, ended bool, exit int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.marked[from:]), l.done[stdout] && l.done[stderr], l.exit, l.changed
}

// follow gives yield what the log holds and what is added, until the command
// or its session ended, ctx ended or yield failed.
func (l *commandLog) follow(ctx context.Context, ended <-chan struct{}, yield func([]byte) error) error {
	for offset := 0; ; {
		text, done, _, changed := l.read(offset)
		offset += len(text)
		if len(text) > 0 {
			if err := yield(text); err != nil {
				return err
			}
		}
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// split returns what went to each output, without the marks.
func split(marked []byte) (out, errs string) {
	var to [2]bytes.Buffer
	var current *bytes.Buffer
	for len(marked) > 0 {
		if after, ok := bytes.CutPrefix(marked, []byte(stdoutMark)); ok {
			current, marked = &to[stdout], after
		} else if after, ok := bytes.CutPrefix(marked, []byte(stderrMark)); ok {
			current, marked = &to[stderr], after
		}
		text := marked[:nextMark(marked)]
		if current != nil {
			current.Write(text)
		}
		marked = marked[len(text):]
	}
	return to[stdout].String(), to[stderr].String()
}

// nextMark returns where the next mark is, or the text's end.
func nextMark(text []byte) int {
	for i := range text {
		if rest := text[i:]; bytes.HasPrefix(rest, []byte(stdoutMark)) || bytes.HasPrefix(rest, []byte(stderrMark)) {
			return i
		}
	}
	return len(text)
}

// unmarked returns the log as plain text.
func unmarked(marked []byte) []byte {
	marked = bytes.ReplaceAll(marked, []byte(stdoutMark), nil)
	return bytes.ReplaceAll(marked, []byte(stderrMark), nil)
}
