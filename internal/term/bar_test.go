package term

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 12_595: "12.3 KiB", 1 << 20: "1.0 MiB", 1023 << 10: "1.0 MiB", 3 << 30: "3.0 GiB", 1 << 62: "4096.0 PiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// bar returns one that took some time, without anybody drawing it.
func bar(out *bytes.Buffer, width int, took time.Duration) *Bar {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := Streams{Err: out, Size: func() (int, int) { return width, 24 }, Plain: true}
	return &Bar{s: s, format: Bytes, style: s.styles(false), began: at, now: func() time.Time { return at.Add(took) }, stop: make(chan struct{})}
}

func TestBarFitsItsTerminal(t *testing.T) {
	for width, want := range map[int]string{
		100: "report.tar  ━━━━━━━━━━━━━━━───────────────   50%  512.0 MiB of 1.0 GiB  64.0 MiB/s  8.0s left",
		80:  "report.tar  ━━━━━━━━────────   50%  512.0 MiB of 1.0 GiB  64.0 MiB/s  8.0s left",
		40:  "report.tar   50%  512.0 MiB of 1.0 GiB",
		20:  "report.tar   50%",
		8:   "…   50%",
	} {
		b := bar(&bytes.Buffer{}, width, 8*time.Second)
		b.Begin("report.tar", 1<<30)
		b.Add(1 << 29)
		if got := b.line(width - 1); ansi.StringWidth(got) > width-1 || got != want {
			t.Errorf("%d cells:\n got %q\nwant %q", width, got, want)
		}
	}
}

func TestBarWithoutATotal(t *testing.T) {
	b := bar(&bytes.Buffer{}, 60, 4*time.Second)
	b.Begin("packing", 0)
	if got := b.line(59); got != "packing  4.0s" {
		t.Errorf("got %q", got)
	}
	b.Add(4 << 20)
	if got := b.line(59); got != "packing  4.0 MiB  1.0 MiB/s" {
		t.Errorf("got %q", got)
	}
}

func TestBarShowsWhatIsLong(t *testing.T) {
	var out bytes.Buffer
	short := bar(&out, 80, 900*time.Millisecond)
	short.draw()
	short.Close()
	if out.Len() > 0 {
		t.Errorf("within a second: %q", out.String())
	}
	long := bar(&out, 80, 1100*time.Millisecond)
	long.Begin("a", 10)
	long.draw()
	if got := out.String(); !strings.HasPrefix(got, "\ra  ") || strings.Contains(got, "\n") {
		t.Errorf("got %q", got)
	}
	long.Close()
	if got := out.String(); !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("it stays: %q", got)
	}
	out.Reset()
	pipe := Streams{Err: &out}.NewBar(Bytes)
	pipe.Begin("a", 10)
	pipe.Add(5)
	pipe.Close()
	if out.Len() > 0 {
		t.Errorf("into a pipe: %q", out.String())
	}
}
