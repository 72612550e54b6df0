// Package term is the terminal: the command's streams, its styles, and the two
// views of a run's progress. Only cmd and this package import lipgloss.
//
// Results go to Out; progress, hints and logs go to Err. Colour and movement
// appear only where Err is a terminal.
package term

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// Streams are what a command reads and writes.
type Streams struct {
	In  *os.File
	Out io.Writer
	Err io.Writer
	// Size returns Err's width and height in cells; nil where Err is no
	// terminal that a cursor moves on.
	Size func() (width, height int)
	// OutSize is the same of Out.
	OutSize func() (width, height int)
	// Plain turns colour off though there is a terminal.
	Plain bool
}

// System returns the process's own streams. NO_COLOR and TERM=dumb are
// honoured: https://no-color.org.
func System(env func(string) string) Streams {
	s := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Plain: env("NO_COLOR") != ""}
	if env("TERM") != "dumb" {
		s.Size, s.OutSize = sizeOf(os.Stderr), sizeOf(os.Stdout)
	}
	return s
}

// sizeOf returns a terminal's size, nil for a file that is none.
func sizeOf(f *os.File) func() (width, height int) {
	if !IsTerminal(f) {
		return nil
	}
	return func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Terminal reports whether Err is one.
func (s Streams) Terminal() bool { return s.Size != nil }

// styles are in the terminal's own sixteen colours, which suit a light and a
// dark background alike and need no question to the terminal.
type styles struct {
	title, good, bad, now, faint lipgloss.Style
}

func (s Streams) styles(terminal bool) styles {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.ANSI)
	if s.Plain || !terminal {
		r.SetColorProfile(termenv.Ascii)
	}
	return styles{
		title: r.NewStyle().Bold(true),
		good:  r.NewStyle().Foreground(lipgloss.Color("2")),
		bad:   r.NewStyle().Foreground(lipgloss.Color("1")),
		now:   r.NewStyle().Foreground(lipgloss.Color("6")),
		faint: r.NewStyle().Faint(true),
	}
}

// Duration prints a length of time the way people say it: 0.4s, 12s, 3m05s,
// 2h10m.
func Duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// Span prints a length of time roughly, in one unit: 40 s, 12 min, 23 h, 6 d.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		of    time.Duration
		below time.Duration
		name  string
	}{{time.Second, time.Minute, "s"}, {time.Minute, time.Hour, "min"}, {time.Hour, 2 * day, "h"}} {
		if n := d.Round(unit.of); n < unit.below {
			return fmt.Sprintf("%d %s", max(n/unit.of, 0), unit.name)
		}
	}
	return fmt.Sprintf("%d d", d.Round(day)/day)
}

// Tokens prints a count of tokens in at most four digits: 940, 12.3k, 1.2M.
func Tokens(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprint(n)
	case n < 999_950:
		return fmt.Sprintf("%.1fk", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1fM", float64(n)/1e6)
}

// USD prints dollars: cents, and more digits below one cent.
func USD(v float64) string {
	if v > 0 && v < 0.01 {
		return fmt.Sprintf("$%.4f", v)
	}
	return fmt.Sprintf("$%.2f", v)
}

// Table prints rows in columns that are as wide as they need to be. The last
// one is wrapped at the terminal's edge if a few words of it fit.
func (s Streams) Table(w io.Writer, head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], lipgloss.Width(cell))
		}
	}
	before := 0 // the last column
	for _, n := range width[:len(width)-1] {
		before += n + 2
	}
	room := math.MaxInt32
	if size := s.sizeFor(w); size != nil {
		if columns, _ := size(); columns-before >= 24 {
			room = columns - before
		}
	}
	for _, row := range append([][]string{head}, rows...) {
		var b strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(strings.ReplaceAll(words(cell, room), "\n", "\n"+strings.Repeat(" ", before)))
				break
			}
			b.WriteString(cell + strings.Repeat(" ", width[i]-lipgloss.Width(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// sizeFor is the size of the terminal that w is, nil if it is none.
func (s Streams) sizeFor(w io.Writer) func() (width, height int) {
	if w == s.Out {
		return s.OutSize
	}
	return s.Size
}

// words wraps a text between its words. A word that is too long, such as a URL,
// stays whole: it can be copied.
func words(text string, width int) string {
	var b strings.Builder
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		column := 0
		for word := range strings.FieldsSeq(line) {
			n := lipgloss.Width(word)
			switch {
			case column == 0:
			case column+1+n > width:
				b.WriteByte('\n')
				column = 0
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += n
		}
	}
	return b.String()
}
