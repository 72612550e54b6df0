package term

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// story is a run's log with a bit of everything.
func story() []run.Entry {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	var all []run.Entry
	add := func(kind run.EntryKind, text string) *run.Entry {
		all = append(all, run.Entry{Time: noon.Add(time.Duration(len(all)) * time.Second), Kind: kind, Text: text})
		return &all[len(all)-1]
	}
	spent := func(in, out int64, usd float64) {
		add(run.Spent, "").Cost = &run.Cost{InputTokens: in, OutputTokens: out, USD: usd}
	}
	add(run.Began, "reading octo/shop#42")
	add(run.Began, "cloning octo/shop at 29ef32320d")
	add(run.Output, "Cloning into 'shop'...\n")
	add(run.Began, "setting up: npm ci")
	for i := range 30 {
		add(run.Output, fmt.Sprintf("added package %d of 30\twith a line that is longer than most terminals are wide, as they are\n", i+1))
	}
	add(run.Began, "Claude is at work (claude-sonnet-5-5)")
	spent(8100, 60, 0.01)
	add(run.Said, "I'll look at the cart first, and then at everything that uses it, to see where the discount is lost.\n\n- `cart.sh`\n- `tests/run.sh`")
	add(run.Called, "Read cart.sh")
	add(run.Called, "Bash bash tests/run.sh")
	add(run.Gave, "48 lines")
	add(run.Gave, "not ok 12 - ten pieces").Failed = true
	add(run.Retry, "a call of the model failed (overloaded, 529); retry 1 follows in 2s")
	spent(17_000, 120, 0.025)
	add(run.Called, "Edit cart.sh")
	add(run.Gave, "")
	add(run.Notice, "going on with run r_0123456789, which was left while working")
	spent(26_000, 200, 0.03)
	add(run.Said, "Give the bulk discount from exactly ten pieces on\n\n日本語の説明も折り返されます。とても長い行なので、端末の幅に合わせて折り返されるはずです。")
	add(run.Began, "checking: bash tests/run.sh")
	for i := range outputHead + outputTail {
		add(run.Output, fmt.Sprintf("ok %d\n", i+1))
	}
	add(run.Ended, "done")
	return all
}

func TestLog(t *testing.T) {
	for name, c := range map[string]struct {
		width int
		all   bool
		plain bool
	}{
		"80": {width: 80, plain: true}, "50": {width: 50, plain: true}, "50-colour": {width: 50},
		"pipe": {}, "all": {all: true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := Streams{Out: &out, Plain: c.plain}
			if c.width > 0 {
				s.OutSize = func() (int, int) { return c.width, 24 }
			}
			l := s.NewLog(c.all)
			for _, e := range story() {
				if err := l.Show(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			testenv.Golden(t, "testdata/log-"+name+".txt", out.String())
			for line := range strings.Lines(out.String()) {
				if w := ansi.StringWidth(strings.TrimRight(line, "\n")); c.width > 0 && w > c.width {
					t.Errorf("%d cells wide: %q", w, line)
				}
			}
			if colour := strings.Contains(out.String(), "\x1b"); colour != (c.width > 0 && !c.plain) {
				t.Errorf("colour: %v", colour)
			}
		})
	}
}

func TestLogSaysThatItsFileIsFull(t *testing.T) {
	l := Streams{Out: full{}}.NewLog(false)
	for _, e := range story() {
		_ = l.Show(e)
	}
	if err := l.Flush(); !errors.Is(err, errFull) {
		t.Errorf("error: %v", err)
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestReflow(t *testing.T) {
	for text, want := range map[string]string{
		"one\ntwo\n\nthree\n`four`":                    "one two\n\nthree `four`",
		"# Title\nwords":                               "# Title\nwords",
		"A list:\n- one\n  more\n- two\n* three":       "A list:\n- one\n  more\n- two\n* three",
		"1. one\n2. two":                               "1. one\n2. two",
		"> quoted\nwords":                              "> quoted\nwords",
		"see\n```go\nfunc f() {\nreturn\n```\nand\nso": "see\n```go\nfunc f() {\nreturn\n```\nand so",
		"| a |\n| b |":                                 "| a |\n| b |",
		"a break  \nstays":                             "a break\nstays",
		"**Bold**\n**words**":                          "**Bold** **words**",
		"":                                             "",
	} {
		if got := reflow(text); got != want {
			t.Errorf("reflow(%q) = %q, want %q", text, got, want)
		}
	}
}
