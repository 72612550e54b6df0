package term

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Asks reports whether there is somebody to be asked.
func (s Streams) Asks() bool { return s.Terminal() && s.In != nil && IsTerminal(s.In) }

// Ask puts a question whose answer is yes or no to whoever sits at the
// terminal, and reports a yes, which is also what an empty answer means. Once
// ctx is done, the answer is no.
func (s Streams) Ask(ctx context.Context, question string) bool {
	answer, ok := s.AskText(ctx, question+" [Y/n]")
	answer = strings.ToLower(answer)
	return ok && (answer == "" || answer == "y" || answer == "yes")
}

// AskText puts a question to whoever sits at the terminal and returns the line
// that is typed, without blanks around it; false when ctx is done or the input
// ends first.
func (s Streams) AskText(ctx context.Context, question string) (string, bool) {
	fmt.Fprint(s.Err, question+" ")
	var line strings.Builder
	for b := make([]byte, 1); ; {
		if !s.readable(ctx) {
			fmt.Fprintln(s.Err)
			return "", false
		}
		// A byte at a time: what follows the line is not ours.
		if n, err := s.In.Read(b); n == 0 || err != nil {
			fmt.Fprintln(s.Err)
			return "", false
		}
		if b[0] == '\n' {
			return strings.TrimSpace(line.String()), true
		}
		line.WriteByte(b[0])
	}
}

// readable waits until In has something to read. A read cannot be broken off,
// so none begins before that.
func (s Streams) readable(ctx context.Context) bool {
	const look = 100 * time.Millisecond
	fd := int(s.In.Fd())
	for ctx.Err() == nil {
		var fds unix.FdSet
		fds.Set(fd)
		timeout := unix.NsecToTimeval(look.Nanoseconds())
		n, err := unix.Select(fd+1, &fds, nil, nil, &timeout)
		if n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
	return false
}
