package term

import (
	"context"
	"errors"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Piped reports whether In is a pipe, a file or a socket, not a terminal and
// not nothing.
func (s Streams) Piped() bool {
	if s.In == nil {
		return false
	}
	info, err := s.In.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// Input reads from In until ctx ends.
func (s Streams) Input(ctx context.Context) io.Reader { return &input{s, ctx} }

type input struct {
	s   Streams
	ctx context.Context // of all reads: a Reader's have none
}

func (i *input) Read(p []byte) (int, error) {
	if i.s.readable(i.ctx) {
		return i.s.In.Read(p)
	}
	if err := context.Cause(i.ctx); err != nil {
		return 0, err
	}
	return 0, errors.New("the input cannot be waited for")
}

// Raw hands what is typed on In through as it is, without echo, until restore
// is called, which may be done more than once.
func (s Streams) Raw() (restore func(), err error) {
	fd := int(s.In.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd, before) }, nil
}

// Shown returns a writer to w for what comes from outside: on a terminal
// without what would steer it, elsewhere byte for byte.
func (s Streams) Shown(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && IsTerminal(f) {
		return &cleaner{w: w}
	}
	return w
}

// cleaner writes text without control characters.
type cleaner struct {
	w    io.Writer
	held []byte // may be the beginning of a character, or of a line's end
}

func (c *cleaner) Write(p []byte) (int, error) {
	text := append(c.held, p...)
	whole := len(text)
	if whole > 0 && text[whole-1] == '\r' {
		whole--
	} else {
		for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
			if from := len(text) - back; utf8.RuneStart(text[from]) {
				if !utf8.FullRune(text[from:]) {
					whole = from
				}
				break
			}
		}
	}
	c.held = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(c.w, untrusted.Text(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(p), nil
}
