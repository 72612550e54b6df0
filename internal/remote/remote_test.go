package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bytesOfAllKinds are what lines of text can't carry.
var bytesOfAllKinds = func() string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String() + "\x01\x01\x01\x02\x02\x02\r\n\r\n=\n!\n=0"
}()

func TestRun(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		home, err := box.HomeDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := box.Upload(t.Context(), daytona.File{Path: home + "/in put", Content: []byte(bytesOfAllKinds)}, daytona.File{Path: home + "/d's/x"}); err != nil {
			t.Fatal(err)
		}
		hostile := []string{"", "a b", "it's", `"$(id)"`, "`id`", `\`, "$HOME", "*", "-n", "!!", "#", "line\nline", "ü", "'; exit 9; '", ";", "~", "%s", "=x"}
		for name, tt := range map[string]struct {
			command       Command
			out, err      string
			exit          int
			errorContains bool
		}{
			"nothing":       {command: Command{Args: []string{"true"}}},
			"both outputs":  {command: Command{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, out: "out\n", err: "err\n", exit: 3},
			"no last line":  {command: Command{Args: []string{"printf", `a\nb`}}, out: "a\nb"},
			"words":         {command: Command{Args: append([]string{"printf", "<%s>"}, hostile...)}, out: "<" + strings.Join(hostile, "><") + ">"},
			"every byte":    {command: Command{Args: []string{"cat"}, Stdin: home + "/in put"}, out: bytesOfAllKinds},
			"no input":      {command: Command{Args: []string{"cat"}}},
			"environment":   {command: Command{Args: []string{"sh", "-c", `printf '%s|%s' "$A" "$B_2"`}, Env: []string{"A=$x 'y'\nz", "B_2="}}, out: "$x 'y'\nz|"},
			"home":          {command: Command{Args: []string{"pwd"}}, out: home + "\n"},
			"below home":    {command: Command{Args: []string{"ls"}, Dir: "d's"}, out: "x\n"},
			"elsewhere":     {command: Command{Args: []string{"pwd"}, Dir: "/"}, out: "/\n"},
			"no directory":  {command: Command{Args: []string{"pwd"}, Dir: "none"}, err: "none", exit: NotRun, errorContains: true},
			"no program":    {command: Command{Args: []string{"does-not-exist"}}, err: "does-not-exist", exit: 127, errorContains: true},
			"no permission": {command: Command{Args: []string{"/etc/passwd"}}, err: "ermission denied", exit: 126, errorContains: true},
			"killed":        {command: Command{Args: []string{"sh", "-c", "kill -9 $$"}}, exit: 137, errorContains: true},
			"a shell's exit code, and what a session cannot stand": {command: Command{Args: []string{"sh", "-c", "exec 1>&- 2>&-; exit 42"}}, exit: 42},
			"much": {command: Command{Args: []string{"sh", "-c", "yes 0123456789abcde | head -c 1000000"}}, out: strings.Repeat("0123456789abcde\n", 62500)},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var out, errs bytes.Buffer
				exit, err := Run(t.Context(), box, tt.command, &out, &errs)
				if err != nil || exit != tt.exit || out.String() != tt.out {
					t.Errorf("exit code %d, %v, want %d; got %.300q, want %.300q", exit, err, tt.exit, out.String(), tt.out)
				}
				if got := errs.String(); got != tt.err && !(tt.errorContains && strings.Contains(got, tt.err)) {
					t.Errorf("stderr %q, want %q", got, tt.err)
				}
			})
		}
		t.Run("nothing is left", func(t *testing.T) {
			if got := testbox.Run(t, box, "ls"); got != "d's\n" && got != "d's\nin put\n" {
				t.Errorf("the input was not removed: %q", got)
			}
		})
	})
}

// TestRunIsLive has a command wait for what its output brings about.
func TestRunIsLive(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		var once sync.Once
		seen := writer(func(b []byte) (int, error) {
			// Without an end of its line, as a question stands there.
			if strings.Contains(string(b), "ready?") {
				once.Do(func() { testbox.Run(t, box, "touch go") })
			}
			return len(b), nil
		})
		exit, err := Run(t.Context(), box, Command{Args: []string{"sh", "-c", "printf ready?; until [ -e go ]; do sleep 0.05; done; exit 7"}}, seen, io.Discard)
		if err != nil || exit != 7 {
			t.Errorf("exit code %d, %v", exit, err)
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// TestRunEnds holds that nothing runs on once nobody listens.
func TestRunEnds(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		full := errors.New("disk full")
		for name, end := range map[string]func(cancel func()) error{
			"interrupted":    func(cancel func()) error { cancel(); return nil },
			"cannot be kept": func(func()) error { return full },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			out := writer(func(b []byte) (int, error) { return len(b), end(cancel) })
			_, err := Run(ctx, box, Command{Args: []string{"sh", "-c", "echo x; echo $$ >pid; exec sleep 1000"}}, out, io.Discard)
			cancel()
			if fault.KindOf(err) != fault.Cancelled && !errors.Is(err, full) {
				t.Errorf("%s: %v", name, err)
			}
			if got := testbox.Run(t, box, `for i in 1 2 3 4 5 6 7 8 9 10; do [ -s pid ] && kill -0 "$(cat pid)" 2>/dev/null || exit 0; sleep 0.2; done; echo still there`); got != "" {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, bad := range []Command{{Env: []string{"A"}}, {Env: []string{"1=x"}}, {Env: []string{"a b=x"}}, {Args: []string{"a\x00b"}}, {Dir: "\x00"}, {Args: []string{"\xff"}}, {Env: []string{"A=\x00"}}} {
		if err := bad.Check(); fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := (Command{Args: []string{"a"}, Env: []string{"A=b=c", "_=x"}}).Check(); err != nil {
		t.Error(err)
	}
}

// TestGarbled is a sandbox that answers with something else.
func TestGarbled(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"not base64!\n", strings.Repeat("A", 5000), "AAA\n"} {
		d := &decoder{to: io.Discard, ended: func() {}}
		if _, err := io.WriteString(d, text); !errors.Is(err, errGarbled) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// FuzzDecoder feeds it in pieces of any size: nothing panics, nothing grows,
// and nothing comes after the end.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("aGVsbG8=\n=0\nmore"), 3)
	f.Add([]byte("!dd\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		size = max(1, size%4096)
		ends, written := 0, 0
		d := &decoder{ended: func() { ends++ }}
		d.to = writer(func(b []byte) (int, error) {
			written += len(b)
			if ends > 0 {
				t.Error("written after the end")
			}
			return len(b), nil
		})
		for len(text) > 0 && ends == 0 {
			n := min(size, len(text))
			if _, err := d.Write(text[:n]); err != nil {
				return
			}
			if len(d.rest) > maxLine {
				t.Fatalf("%d bytes are kept", len(d.rest))
			}
			text = text[n:]
		}
	})
}
