package daytona

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The session that the image's entrypoint runs in, and its one command.
const (
	entrypointSession = "entrypoint"
	entrypointCommand = "entrypoint_command"
)

// session is one shell that runs commands one after the other. A command that
// ends the shell ends the session: its exit code is never recorded and later
// commands meet a broken pipe.
type session struct {
	id     string
	cancel context.CancelFunc
	queue  chan string   // scripts the shell has yet to read
	ended  chan struct{} // closed when the shell is gone

	mu       sync.Mutex
	pid      int // the shell's, once it runs
	commands []*sessionCommand
}

// sessionCommand is one command of a session.
type sessionCommand struct {
	id, text string
	quiet    bool   // its input is not in its log
	key      string // what nobody in the sandbox can guess
	log      *commandLog
}

// maxQueue bounds the commands that wait for their turn.
const maxQueue = 256

// sessionShell starts the shell with copies of its outputs that no command
// can close.
const sessionShell = "exec 8>&1 9>&2; exec " + anyShell

// frame runs a command in the session's own shell and marks its end on both
// outputs. Its parameters: what comes before the group, what its first line
// is, the command, the group's input.
const frame = `%s {
%s%s
} %s >&8 2>&9 8>&- 9>&-
{ printf '%s%%d%s' "$?" >&8; printf '%s0%s' >&9; }
`

// A command that is waited for has no input. Any other reads what is sent to
// it from a pipe that never ends: it is the shell's own input while the
// command runs, has no name any more, and goes with the command.
const (
	noInput   = "</dev/null"
	inputPipe = ".session-input-"
	// sendInput writes to the input of the shell "$1", if that is the pipe
	// "$2".
	sendInput = `case $(readlink "/proc/$1/fd/0") in
*/"$2"*) exec cat >"/proc/$1/fd/0" ;;
esac
echo "no such file or directory" >&2
exit 1`
)

func (c *sessionCommand) script(input bool) string {
	begin, end := mark(c.key)
	before, first, source := "", "", noInput
	if input {
		pipe := `"${TMPDIR:-/tmp}/` + inputPipe + c.key + `"`
		before, first, source = "mkfifo -m 600 "+pipe+" &&", "command rm -f "+pipe+"\n", "<>"+pipe
	}
	return fmt.Sprintf(frame, before, first, c.text, source, begin, end, begin, end)
}

// open starts a session's shell. The caller holds t.mu.
func (t *tools) open(id string) *session {
	ctx, cancel := context.WithCancel(t.ctx)
	s := &session{id: id, cancel: cancel, queue: make(chan string, maxQueue), ended: make(chan struct{})}
	t.sessions[id] = s
	input, feed := io.Pipe()
	t.work.Go(func() {
		// However the shell ends: what remains is a session that says so.
		_, _ = t.engine.Exec(ctx, t.id, Command{
			Args:   []string{"/bin/sh", "-c", sessionShell},
			Stdin:  input,
			Stdout: &demux{session: s, stream: stdout},
			Stderr: &demux{session: s, stream: stderr},
			Started: func(p Process) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.pid = p.PID
			},
		})
		input.Close()
		close(s.ended)
		cancel()
	})
	t.work.Go(func() {
		defer feed.Close()
		for {
			select {
			case <-s.ended:
				return
			case script := <-s.queue:
				if _, err := io.WriteString(feed, script); err != nil {
					return
				}
			}
		}
	})
	return s
}

// exec hands a command to the shell. Only a command with input can be sent
// any.
func (s *session) exec(c *sessionCommand, input bool) error {
	c.log, c.key = newCommandLog(), rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return errors.New("failed to write command: write |1: broken pipe")
	default:
	}
	select {
	case s.queue <- c.script(input):
		s.commands = append(s.commands, c)
		return nil
	default:
		return errors.New("too many commands wait in this session")
	}
}

// send gives a running command a line of input.
func (t *tools) send(ctx context.Context, s *session, c *sessionCommand, line string) error {
	if _, ended, exit, _ := c.log.read(0); ended {
		return problemf(http.StatusGone, "command has already completed with exit code %d", exit)
	}
	s.mu.Lock()
	pid := strconv.Itoa(s.pid)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, scriptWait)
	defer cancel()
	err := t.run(ctx, sendInput, []string{pid, inputPipe + c.key}, Command{Stdin: strings.NewReader(line)})
	if hasStatus(err, http.StatusBadRequest) {
		return problemf(http.StatusInternalServerError, "failed to open input pipe: %v", err)
	}
	if err == nil && !c.quiet {
		c.log.echo(line)
	}
	return err
}

// mark returns what surrounds the exit code at a command's end.
func mark(key string) (begin, end string) { return "\x1e" + key + " ", "\x1e" }

// at returns the session's nth command, or nil.
func (s *session) at(n int) *sessionCommand {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < len(s.commands) {
		return s.commands[n]
	}
	return nil
}

func (s *session) command(id string) (*sessionCommand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.commands, func(c *sessionCommand) bool { return c.id == id }); i >= 0 {
		return s.commands[i], nil
	}
	return nil, problemf(http.StatusNotFound, "command not found")
}

// demux gives one output of a session's shell to the commands that wrote it.
type demux struct {
	session *session
	stream  stream
	next    int    // the command that writes now
	rest    []byte // what may be the beginning of its mark
}

func (d *demux) Write(p []byte) (int, error) {
	d.rest = append(d.rest, p...)
	for len(d.rest) > 0 {
		c := d.session.at(d.next)
		if c == nil { // a child that outlived its command
			d.rest = nil
			break
		}
		begin, end := mark(c.key)
		text, mark, found := bytes.Cut(d.rest, []byte(begin))
		if !found {
			keep := overlap(d.rest, begin)
			c.log.add(d.stream, d.rest[:len(d.rest)-keep])
			d.rest = bytes.Clone(d.rest[len(d.rest)-keep:])
			break
		}
		code, after, found := bytes.Cut(mark, []byte(end))
		if !found {
			c.log.add(d.stream, text)
			d.rest = bytes.Clone(d.rest[len(text):])
			break
		}
		c.log.add(d.stream, text)
		exit, _ := strconv.Atoi(string(code)) // our own printf %d
		c.log.finish(d.stream, exit)
		d.next++
		d.rest = bytes.Clone(after)
	}
	return len(p), nil
}

// overlap returns how many bytes at the end of text may begin the mark.
func overlap(text []byte, mark string) int {
	for n := min(len(mark)-1, len(text)); n > 0; n-- {
		if string(text[len(text)-n:]) == mark[:n] {
			return n
		}
	}
	return 0
}

// runEntrypoint starts the entrypoint in the background, in its session.
func (t *tools) runEntrypoint(entrypoint []string) {
	if len(entrypoint) == 0 {
		return
	}
	words := make([]string, len(entrypoint))
	for i, word := range entrypoint {
		words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// A session just opened takes a first command.
	_ = t.open(entrypointSession).exec(&sessionCommand{id: entrypointCommand, text: strings.Join(words, " ")}, true)
}

func (t *tools) session(id string) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[id]; s != nil {
		return s, nil
	}
	return nil, problemf(http.StatusNotFound, "session not found")
}
