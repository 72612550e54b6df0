package term

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
)

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Duration(400 * time.Millisecond): "0.4s", Duration(12 * time.Second): "12s",
		Duration(185 * time.Second): "3m05s", Duration(130 * time.Minute): "2h10m",
		Tokens(940): "940", Tokens(12_345): "12.3k", Tokens(999_949): "999.9k", Tokens(999_950): "1.0M", Tokens(1_200_000): "1.2M",
		USD(0): "$0.00", USD(0.0042): "$0.0042", USD(1.256): "$1.26",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// screen applies what the live view writes the way a terminal does: cursor
// up, carriage return, erase below, new lines.
func screen(t *testing.T, out string) []string {
	t.Helper()
	var lines []string
	row := 0
	for out != "" {
		switch {
		case strings.HasPrefix(out, "\x1b[J"):
			lines, out = lines[:row], out[3:]
		case strings.HasPrefix(out, "\x1b["):
			n := 0
			i := 2
			for ; out[i] != 'A'; i++ {
				n = n*10 + int(out[i]-'0')
			}
			if row -= n; row < 0 {
				t.Fatal("the cursor left the screen at the top")
			}
			out = out[i+1:]
		case out[0] == '\r':
			out = out[1:]
		default:
			line, rest, ok := strings.Cut(out, "\x1b[K\n")
			if !ok || strings.Contains(line, "\n") {
				t.Fatalf("a line leaves what stood behind it: %q", out)
			}
			lines, out = append(lines[:row], append([]string{line}, lines[min(row+1, len(lines)):]...)...), rest
			row++
		}
	}
	return lines
}

func TestLiveRedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := newLive(Streams{Err: &out, Size: func() (int, int) { return 30, 8 }, Plain: true}, "demo/shop#42", func() time.Time { return at })
	show := func(kind run.EntryKind, text string) { l.Show(run.Entry{Kind: kind, Text: text}) }
	show(run.Began, "reading")
	at = at.Add(2 * time.Second)
	show(run.Began, "Claude is at work")
	show(run.Called, "Edit cart.sh\nsecond line")
	show(run.Notice, "no network\nat all")
	l.Show(run.Entry{Kind: run.Spent, Cost: &run.Cost{InputTokens: 1500, OutputTokens: 20, USD: 0.5}})
	at = at.Add(3 * time.Second)
	show(run.Called, strings.Repeat("long ", 20))

	want := []string{
		"demo/shop#42", "  ✓ reading 2.0s", "  ! no network", "  • Claude is at work 3.0s",
		"      long long long long lo…", "  1.5k tokens in · 20 out · …",
	}
	l.mu.Lock()
	got := screen(t, out.String())
	l.mu.Unlock()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("screen:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	for range 20 { // more steps than the screen has lines
		show(run.Began, "more")
	}
	l.Show(run.Entry{Kind: run.Ended, Failed: true})
	l.Close()
	l.Close()
	got = screen(t, out.String())
	if len(got) > 7 || got[0] != "demo/shop#42" || !strings.Contains(strings.Join(got, "\n"), "✗ more") {
		t.Errorf("a full screen:\n%s", strings.Join(got, "\n"))
	}
}

func TestPlainPrintsOneLinePerStep(t *testing.T) {
	entries := []run.Entry{
		{Kind: run.Began, Text: "reading"}, {Kind: run.Output, Text: "a\nb\n"}, {Kind: run.Said, Text: "hello"},
		{Kind: run.Gave, Text: "x", Failed: true}, {Kind: run.Spent, Cost: &run.Cost{USD: 1}}, {Kind: run.Notice, Text: "careful"}, {Kind: run.Began},
	}
	for verbose, want := range map[bool]int{false: 2, true: 7} {
		var out bytes.Buffer
		v := Streams{Err: &out}.NewView("t", verbose)
		for _, e := range entries {
			v.Show(e)
		}
		v.Close()
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("verbose %v: %d lines, want %d:\n%s", verbose, got, want, out.String())
		}
	}
}

func TestTableAlignsWideRunes(t *testing.T) {
	var out bytes.Buffer
	Streams{}.Table(&out, []string{"ID", "TITLE"}, [][]string{{"日本", "x"}, {"a", "y"}})
	if want := "ID    TITLE\n日本  x\na     y\n"; out.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestTableWrapsItsLastColumn(t *testing.T) {
	rows := [][]string{{"hint", "one two three four five six"}, {"url", "https://example.com/a/b-c-d/e-f-g"}, {"two lines", "a\nb"}}
	for width, want := range map[int]string{
		37: "NAME       VALUE\nhint       one two three four five\n           six\nurl        https://example.com/a/b-c-d/e-f-g\ntwo lines  a\n           b\n",
		30: "NAME       VALUE\nhint       one two three four five six\nurl        https://example.com/a/b-c-d/e-f-g\ntwo lines  a\n           b\n",
	} {
		var out bytes.Buffer
		s := Streams{Out: &out, OutSize: func() (int, int) { return width, 24 }}
		if s.Table(&out, []string{"NAME", "VALUE"}, rows); out.String() != want {
			t.Errorf("%d columns:\n%s\nwant:\n%s", width, out.String(), want)
		}
	}
}
