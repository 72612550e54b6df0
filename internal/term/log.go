package term

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/dayclaude/dayclaude/internal/run"
)

// How much of a long output is shown.
const (
	outputHead = 4
	outputTail = 8
)

// pageWidth is how wide a log is that goes into a file or a pipe.
const pageWidth = 100

// Log prints a run's entries for reading: the steps with their times, Claude's
// turns with its words and what each cost, the output of set-up and check
// without its middle. Flush prints what is still held back.
type Log struct {
	w     io.Writer
	width int
	all   bool // leave nothing out
	style styles
	err   error // the first one of w

	turns   int
	turn    bool // one is open
	calls   int  // of tools, in it
	pending int  // those without a result
	last    run.Cost
	cost    run.Cost // of the open turn, or of the next one
	output  int      // lines in a row
	held    []string // the last of them
}

// NewLog returns a Log on Out, which leaves nothing out if all is set.
func (s Streams) NewLog(all bool) *Log {
	l := &Log{w: s.Out, width: pageWidth, all: all, style: s.styles(s.OutSize != nil)}
	switch {
	case s.OutSize != nil:
		l.width, _ = s.OutSize()
	case all:
		l.width = math.MaxInt32
	}
	return l
}

// Show prints one entry. The error is the writer's first.
func (l *Log) Show(e run.Entry) error {
	if e.Kind != run.Output {
		l.unfold()
	}
	switch e.Kind {
	case run.Began, run.Ended:
		l.endTurn()
		l.step(e)
	case run.Notice:
		l.timed(e, l.style.now.Render("note:")+" "+e.Text)
	case run.Retry:
		l.timed(e, l.style.now.Render(e.Text))
	case run.Output:
		l.fold(e.Text)
	case run.Said, run.Called:
		l.beginTurn(e)
		if e.Kind == run.Said {
			l.put("    ", "    ", reflow(strings.TrimSpace(e.Text)))
			break
		}
		l.calls, l.pending = l.calls+1, l.pending+1
		l.line("    "+l.style.now.Render("→")+" ", "      ", e.Text)
	case run.Gave:
		l.pending--
		mark := l.style.good.Render("←")
		if e.Failed {
			mark = l.style.bad.Render("✗ failed:")
		}
		l.line("      "+mark+" ", "        ", cmp.Or(e.Text, "(no output)"))
	case run.Spent:
		l.spend(e.Cost)
	}
	return l.err
}

// Flush ends the log.
func (l *Log) Flush() error {
	l.unfold()
	l.endTurn()
	return l.err
}

// step prints a line with its time.
func (l *Log) step(e run.Entry) {
	style := l.style.title
	switch {
	case e.Kind == run.Ended && e.Failed:
		style = l.style.bad
	case e.Kind == run.Ended:
		style = l.style.good
	}
	if e.Text != "" {
		l.timed(e, style.Render(e.Text))
	}
}

func (l *Log) timed(e run.Entry, text string) {
	l.put(l.style.faint.Render(e.Time.Local().Format("15:04:05"))+"  ", "          ", text)
}

// beginTurn begins Claude's next turn unless the open one goes on: one whose
// calls are all answered is over.
func (l *Log) beginTurn(e run.Entry) {
	if l.turn && (l.calls == 0 || l.pending > 0) {
		return
	}
	l.endTurn()
	l.turns++
	l.turn, l.calls, l.pending = true, 0, 0
	l.timed(e, l.style.title.Render(fmt.Sprintf("turn %d", l.turns)))
}

func (l *Log) endTurn() {
	if !l.turn {
		return
	}
	l.turn = false
	if l.cost != (run.Cost{}) {
		l.put("    ", "    ", l.style.faint.Render(spent(&l.cost)))
	}
	l.cost = run.Cost{}
}

// spend counts what the model cost since the last time. While tools are at
// work, and after words that end the work, that is the open turn's; once all
// calls are answered it is the next one's, whose words follow.
func (l *Log) spend(so *run.Cost) {
	if so == nil {
		return
	}
	if l.turn && l.calls > 0 && l.pending <= 0 {
		l.endTurn()
	}
	l.cost.USD += so.USD - l.last.USD
	l.cost.InputTokens += so.InputTokens - l.last.InputTokens
	l.cost.OutputTokens += so.OutputTokens - l.last.OutputTokens
	l.last = *so
}

// fold prints the first lines of an output and holds the last ones back.
func (l *Log) fold(text string) {
	for line := range strings.Lines(text) {
		if l.output++; l.all || l.output <= outputHead {
			l.outputLine(line)
			continue
		}
		if l.held = append(l.held, line); len(l.held) > outputTail {
			l.held = l.held[1:]
		}
	}
}

// unfold prints what is held back of an output.
func (l *Log) unfold() {
	if left := l.output - outputHead - len(l.held); left > 0 && !l.all {
		l.outputLine(fmt.Sprintf("… %d more lines: --all shows them", left))
	}
	for _, line := range l.held {
		l.outputLine(line)
	}
	l.output, l.held = 0, nil
}

func (l *Log) outputLine(text string) {
	bar := "    " + l.style.faint.Render("│") + " "
	l.line(bar, bar, text)
}

// line prints what should stand on one line: cut, unless all is to be shown.
func (l *Log) line(before, indent, text string) {
	text = strings.TrimRight(text, "\n")
	if l.all {
		l.put(before, indent, text)
		return
	}
	l.write(before + ansi.Truncate(untab(text), l.room(before), "…"))
}

// put prints a text of any length, wrapped: before stands before its first
// line, indent before the others.
func (l *Log) put(before, indent, text string) {
	text = ansi.Wrap(untab(text), min(l.room(before), l.room(indent)), "")
	for line := range strings.SplitSeq(text, "\n") {
		l.write(before + line)
		before = indent
	}
}

// room is what is left of a line after its beginning. However narrow the
// terminal is, a few words fit.
func (l *Log) room(before string) int { return max(l.width-ansi.StringWidth(before), 16) }

func (l *Log) write(line string) {
	if l.err == nil {
		_, l.err = fmt.Fprintln(l.w, strings.TrimRight(line, " "))
	}
}

func untab(s string) string { return strings.ReplaceAll(s, "\t", "    ") }

// reflow joins the lines of each paragraph of Markdown: they were broken for
// another width. Lists, quotes, tables, headings and code stay as they are.
func reflow(text string) string {
	var b strings.Builder
	code, prose := false, false // the line before was
	for i, line := range strings.Split(text, "\n") {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		first, _ := utf8.DecodeRuneInString(line)
		// What goes on with a paragraph begins like a word, not like a list.
		more := !code && !fence && (unicode.IsLetter(first) || strings.ContainsRune("`(\"'*_", first) && !strings.HasPrefix(line, "* "))
		switch {
		case i == 0:
		case prose && more:
			b.WriteByte(' ')
		default:
			b.WriteByte('\n')
		}
		b.WriteString(strings.TrimRight(line, " "))
		code = code != fence
		prose = !code && !fence && line != "" && !strings.ContainsRune("#>|", first) && !strings.HasSuffix(line, "  ")
	}
	return b.String()
}
