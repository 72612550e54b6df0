package term

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// listed prints rows on a terminal of a width; 0 is none.
func listed(t *testing.T, width int, rows ...[]string) string {
	t.Helper()
	var out bytes.Buffer
	s := Streams{Out: &out, Err: &bytes.Buffer{}}
	if width > 0 {
		s.OutSize = func() (int, int) { return width, 24 }
	}
	l := s.NewListing(&out, []Column{{Head: "NAME"}, {Head: "STATE", Rank: 1}, {Head: "SIZE", Rank: 2}, {Head: "NEXT"}})
	for _, row := range rows {
		if err := l.Add(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestListing(t *testing.T) {
	t.Parallel()
	rows := [][]string{
		{"dayclaude-1002-42-1", "stopped", "2 CPU, 4+10 GiB", "archived in 23 h"},
		{"größer", "started", "1 CPU", "stops in 12 min if idle"},
	}
	for _, tt := range []struct {
		width int
		want  string
	}{
		{0, `
NAME                 STATE    SIZE             NEXT
dayclaude-1002-42-1  stopped  2 CPU, 4+10 GiB  archived in 23 h
größer               started  1 CPU            stops in 12 min if idle
`},
		{69, `
NAME                 STATE    NEXT
dayclaude-1002-42-1  stopped  archived in 23 h
größer               started  stops in 12 min if idle
`},
		{52, `
NAME                 NEXT
dayclaude-1002-42-1  archived in 23 h
größer               stops in 12 min if idle
`},
		{40, `
dayclaude-1002-42-1
  state stopped · size 2 CPU, 4+10 GiB
  next archived in 23 h
größer
  state started · size 1 CPU
  next stops in 12 min if idle
`},
	} {
		if got := listed(t, tt.width, rows...); got != tt.want[1:] {
			t.Errorf("%d columns wide:\n%s", tt.width, got)
		}
	}
	if got := listed(t, 80); got != "" {
		t.Errorf("no rows: %q", got)
	}
}

// TestListingStreams holds back no more rows than decide the columns.
func TestListingStreams(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := Streams{Out: &out}.NewListing(&out, []Column{{Head: "N"}, {Head: "TEXT"}})
	for i := range enoughRows + 10 {
		if out.Len() > 0 != (i >= enoughRows) {
			t.Fatalf("after %d rows: %q", i, out.String())
		}
		if err := l.Add(fmt.Sprint(i), "text"); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != enoughRows+11 {
		t.Errorf("%d lines", got)
	}
	if err := l.Add("longer than all before", "x"); err != nil || !strings.HasSuffix(out.String(), "\nlonger than all before  x\n") {
		t.Errorf("a wide cell: %v, %q", err, out.String())
	}
}

func TestListingTellsOfItsWriter(t *testing.T) {
	t.Parallel()
	l := Streams{}.NewListing(full{}, []Column{{Head: "N"}})
	if err := l.Add("1"); err != nil {
		t.Errorf("held back: %v", err)
	}
	if err := l.Flush(); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	if err := l.Add("2"); !errors.Is(err, errFull) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second:                          "0 s",
		0:                                     "0 s",
		59*time.Second + 499*time.Millisecond: "59 s",
		59*time.Second + 500*time.Millisecond: "1 min",
		90 * time.Second:                      "2 min",
		59*time.Minute + 31*time.Second:       "1 h",
		47 * time.Hour:                        "47 h",
		48 * time.Hour:                        "2 d",
		7 * 24 * time.Hour:                    "7 d",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%s) = %q, want %q", d, got, want)
		}
	}
}
