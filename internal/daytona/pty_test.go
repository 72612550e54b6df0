package daytona_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// shows reads what the terminal shows until a text is in it.
func shows(t *testing.T, p *daytona.PTY, want string) {
	t.Helper()
	var all bytes.Buffer
	buf := make([]byte, 7) // so that messages are read in pieces
	for !strings.Contains(all.String(), want) {
		n, err := p.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("no %q in %q: %v", want, all.String(), err)
		}
	}
}

func types(t *testing.T, p *daytona.PTY, text string) {
	t.Helper()
	if n, err := io.WriteString(p, text); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
}

func TestPTY(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	p, err := w.toolbox().OpenPTY(t.Context(), daytona.PTYOptions{Dir: "/", Env: map[string]string{"SAID": "it's me"}, Cols: 70, Rows: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	types(t, p, "stty size; pwd; echo \"<$SAID>\" $((6*7)) $TERM\n")
	shows(t, p, "20 70")
	shows(t, p, "<it's me> 42 xterm-256color")
	if err := p.Resize(t.Context(), 4000, 0); err != nil { // what the toolbox would refuse is bounded
		t.Error(err)
	}
	types(t, p, "stty size\n")
	shows(t, p, "1 1000")
	types(t, p, "stty -icanon -echo; echo g\"\"o; head -c 100000 | wc -c; stty sane\n")
	shows(t, p, "go")
	types(t, p, strings.Repeat("x", 100_000)) // in several messages
	shows(t, p, "100000")
	types(t, p, "exit 5\n")
	if code, err := p.Wait(); code != 5 || err != nil {
		t.Errorf("ended with %d, %v", code, err)
	}
	if n, err := p.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v after the end", n, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestPTYEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box := w.toolbox()

	ctx, cancel := context.WithCancel(t.Context())
	p, err := box.OpenPTY(ctx, daytona.PTYOptions{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := box.OpenPTY(t.Context(), daytona.PTYOptions{ID: "a"}) // the same one
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended: %v", err)
	}
	if err := p.Close(); err != nil { // ends the shell all the same
		t.Errorf("close: %v", err)
	}
	if code, err := other.Wait(); code != 137 || err != nil {
		t.Errorf("the shell ended with %d, %v", code, err)
	}

	p = w.terminal("b")
	if err := w.client.Stop(t.Context(), w.box.ID); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("the sandbox stopped: %d, %v", code, err)
	}
}
