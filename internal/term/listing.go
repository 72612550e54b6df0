package term

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// Column is one of a Listing.
type Column struct {
	Head string
	Rank int // where there is no room for all columns, those of the highest rank go first; 0 stays
}

// Listing prints rows in columns as they come. The first rows decide how wide
// the columns are, and which have room on the terminal. Where not even those
// of rank 0 have, each row is a paragraph with all that is in it.
type Listing struct {
	w       io.Writer
	width   int // of the terminal; 0: none
	columns []Column
	held    [][]string // until there are enough to decide
	shown   []int      // columns; nil: not decided
	widths  []int
	stacked bool
	err     error // the first one of w
}

// enoughRows decide a Listing's columns.
const enoughRows = 50

// NewListing returns a Listing on w.
func (s Streams) NewListing(w io.Writer, columns []Column) *Listing {
	l := &Listing{w: w, columns: columns}
	if size := s.sizeFor(w); size != nil {
		l.width, _ = size()
	}
	return l
}

// Add prints a row, or holds it back until it is known how. The error is the
// writer's first.
func (l *Listing) Add(cells ...string) error {
	if l.shown == nil {
		if l.held = append(l.held, cells); len(l.held) < enoughRows {
			return l.err
		}
		return l.Flush()
	}
	l.row(cells)
	return l.err
}

// Flush prints what is held back.
func (l *Listing) Flush() error {
	if l.shown != nil || len(l.held) == 0 {
		return l.err
	}
	l.decide()
	if !l.stacked {
		heads := make([]string, len(l.columns))
		for i, c := range l.columns {
			heads[i] = c.Head
		}
		l.row(heads)
	}
	for _, cells := range l.held {
		l.row(cells)
	}
	l.held = nil
	return l.err
}

// decide chooses the columns that are shown.
func (l *Listing) decide() {
	l.widths = make([]int, len(l.columns))
	for i, c := range l.columns {
		l.shown = append(l.shown, i)
		l.widths[i] = lipgloss.Width(c.Head)
		for _, row := range l.held {
			l.widths[i] = max(l.widths[i], lipgloss.Width(row[i]))
		}
	}
	for l.width > 0 && l.room() > l.width {
		last := slices.MaxFunc(l.shown, func(a, b int) int { return l.columns[a].Rank - l.columns[b].Rank })
		if l.columns[last].Rank == 0 {
			l.stacked = true
			return
		}
		l.shown = slices.DeleteFunc(l.shown, func(i int) bool { return i == last })
	}
}

// room is what the shown columns take.
func (l *Listing) room() int {
	n := 2 * (len(l.shown) - 1)
	for _, i := range l.shown {
		n += l.widths[i]
	}
	return n
}

func (l *Listing) row(cells []string) {
	if l.err != nil {
		return
	}
	if l.stacked {
		_, l.err = fmt.Fprint(l.w, l.paragraph(cells))
		return
	}
	var b strings.Builder
	for _, i := range l.shown {
		b.WriteString(cells[i] + strings.Repeat(" ", max(l.widths[i]-lipgloss.Width(cells[i]), 0)+2))
	}
	_, l.err = fmt.Fprintln(l.w, strings.TrimRight(b.String(), " "))
}

// paragraph is a row below its first cell, each other one with its name.
func (l *Listing) paragraph(cells []string) string {
	var b strings.Builder
	b.WriteString(cells[0])
	column := l.width // the first one begins a line
	for i, cell := range cells[1:] {
		if cell == "" {
			continue
		}
		cell = strings.ToLower(l.columns[i+1].Head) + " " + cell
		before := " · "
		if column+lipgloss.Width(before+cell) > l.width {
			before, column = "\n  ", 0
		}
		b.WriteString(before + cell)
		column += lipgloss.Width(before + cell)
	}
	return b.String() + "\n"
}
