package remote

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testbox"
)

// screen is one without anybody before it: it types when it sees something.
type screen struct {
	mu      sync.Mutex
	seen    bytes.Buffer
	answers map[string]func() // done once it was seen
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Write(b)
	for text, do := range s.answers {
		if strings.Contains(s.seen.String(), text) {
			delete(s.answers, text)
			do()
		}
	}
	return len(b), nil
}

// keyboard is a Screen's In, and where to type.
func keyboard() (in func(context.Context) io.Reader, typing io.Writer) {
	from, to := io.Pipe()
	return func(ctx context.Context) io.Reader {
		context.AfterFunc(ctx, func() { from.Close() })
		return from
	}, to
}

func TestTerminal(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		in, typing := keyboard()
		resized := make(chan os.Signal, 1)
		cols, rows := 101, 33
		var size sync.Mutex
		s := &screen{}
		s.answers = map[string]func(){
			"name? ": func() { go func() { _, _ = io.WriteString(typing, "it's me\r") }() },
			"wider? ": func() {
				size.Lock()
				cols, rows = 77, 22
				size.Unlock()
				resized <- os.Interrupt
			},
		}
		command := Command{Env: []string{"A=1 2"}, Dir: "/", Args: []string{"sh", "-c", `test -t 0 && test -t 1 || exit 1
stty size; printf '%s|%s|%s|%s\n' "$TERM" "$A" "$PWD" "$1"
printf 'name? '; read name; echo "<$name>"
printf 'wider? '; until [ "$(stty size)" = "22 77" ]; do sleep 0.05; done; echo yes
exit 5`, "sh", "!! \t'\""}}
		exit, err := Terminal(t.Context(), box, command, Screen{In: in, Out: s, Type: "vt100", Resized: resized, Size: func() (int, int) {
			size.Lock()
			defer size.Unlock()
			return cols, rows
		}})
		if err != nil || exit != 5 {
			t.Errorf("exit code %d, %v", exit, err)
		}
		want := "33 101\r\nvt100|1 2|/|!! \t'\"\r\nname? it's me\r\n<it's me>\r\nwider? yes\r\n"
		if got := s.seen.String(); got != want {
			t.Errorf("the screen shows %q, want %q", got, want)
		}
		if got := testbox.Run(t, box, "ls -A | grep dayclaude-exec || true"); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

// TestTerminalWithAShell is without a command.
func TestTerminalWithAShell(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		in, typing := keyboard()
		var typed sync.WaitGroup
		typed.Go(func() { _, _ = io.WriteString(typing, "exit 9\r") })
		exit, err := Terminal(t.Context(), box, Command{}, Screen{In: in, Out: io.Discard, Type: "dumb", Size: func() (int, int) { return 80, 24 }})
		if err != nil || exit != 9 {
			t.Errorf("exit code %d, %v", exit, err)
		}
		typed.Wait()
	})
}

func TestTerminalEnds(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in, _ := keyboard()
		s := &screen{answers: map[string]func(){"here": cancel}}
		_, err := Terminal(ctx, box, Command{Args: []string{"sh", "-c", "echo $$ >pid; echo here; exec sleep 1000"}}, Screen{In: in, Out: s, Size: func() (int, int) { return 80, 24 }})
		if fault.KindOf(err) != fault.Cancelled {
			t.Errorf("got %v", err)
		}
		if got := testbox.Run(t, box, `for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$(cat pid)" 2>/dev/null || exit 0; sleep 0.2; done; echo still there`); got != "" {
			t.Error(got)
		}
	})
}
