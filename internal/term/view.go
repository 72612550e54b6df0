package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/dayclaude/dayclaude/internal/run"
)

// View shows a run's entries as they come. It is safe for concurrent use.
type View interface {
	Show(run.Entry)
	Close() // leaves what stands there, and the cursor below it
}

// NewView returns the live view where Err is a terminal, else the plain one.
// verbose shows every entry, one line each, also on a terminal.
func (s Streams) NewView(title string, verbose bool) View {
	if s.Terminal() && !verbose {
		return newLive(s, title, time.Now)
	}
	return &plain{w: s.Err, verbose: verbose}
}

// plain prints one line per step.
type plain struct {
	mu      sync.Mutex
	w       io.Writer
	verbose bool
}

func (p *plain) Show(e run.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case run.Began, run.Notice, run.Retry, run.Ended:
	default:
		if !p.verbose {
			return
		}
	}
	if line := Line(e); line != "" {
		fmt.Fprintln(p.w, line)
	}
}

func (p *plain) Close() {}

// Line is an entry as one line of a log (a text of several lines keeps them,
// indented); "" for one that says nothing to a reader.
func Line(e run.Entry) string {
	text := strings.ReplaceAll(strings.TrimRight(e.Text, "\n"), "\n", "\n            ")
	switch e.Kind {
	case run.Spent:
		text = spent(e.Cost)
	case run.Called:
		text = "  → " + text
	case run.Gave:
		if e.Failed {
			text = "error: " + text
		}
		text = "  ← " + text
	case run.Output:
		text = "  │ " + text
	case run.Said:
		text = "  “" + text + "”"
	case run.Notice:
		text = "note: " + text
	}
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return e.Time.Local().Format("15:04:05") + "  " + text
}

func spent(c *run.Cost) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s tokens in · %s out · %s", Tokens(c.InputTokens), Tokens(c.OutputTokens), USD(c.USD))
}

// live redraws a few lines in place: the steps with their times, what happens
// now, and the cost so far.
type live struct {
	s     Streams
	title string
	now   func() time.Time
	style styles

	mu     sync.Mutex
	steps  []step
	doing  string // the newest thing within the current step
	cost   *run.Cost
	drawn  int // lines on the screen that the next frame replaces
	closed bool

	stop chan struct{}
	done sync.WaitGroup
}

type step struct {
	text   string
	began  time.Time
	took   time.Duration // 0 while it is the current one
	failed bool
	notice bool
}

const redrawEvery = time.Second / 5

func newLive(s Streams, title string, now func() time.Time) *live {
	l := &live{s: s, title: title, now: now, style: s.styles(s.Terminal()), stop: make(chan struct{})}
	l.done.Go(func() {
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			case <-l.stop:
				return
			}
		}
	})
	return l
}

func (l *live) Show(e run.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case run.Began:
		at := l.when(e)
		l.finish(at)
		l.steps = append(l.steps, step{text: firstLine(e.Text), began: at})
	case run.Notice:
		// Above the current step, so that this one stays the last.
		at := len(l.steps)
		if at > 0 && l.steps[at-1].took == 0 && !l.steps[at-1].notice {
			at--
		}
		l.steps = append(l.steps[:at], append([]step{{text: firstLine(e.Text), notice: true}}, l.steps[at:]...)...)
	case run.Spent:
		l.cost = e.Cost
	case run.Ended:
		l.finish(l.when(e))
		if n := len(l.steps); n > 0 {
			l.steps[n-1].failed = e.Failed
		}
	case run.Gave:
	default:
		if text := firstLine(e.Text); text != "" {
			l.doing = text
		}
	}
	l.draw()
}

// when is the time of an entry, which may have been stored long ago. The
// sandbox's clock may go wrong: no time before the step's own, none to come.
func (l *live) when(e run.Entry) time.Time {
	at := l.now()
	if !e.Time.IsZero() && e.Time.Before(at) {
		at = e.Time
	}
	for _, st := range l.steps {
		if st.began.After(at) {
			at = st.began
		}
	}
	return at
}

func (l *live) finish(at time.Time) {
	if n := len(l.steps); n > 0 && !l.steps[n-1].notice && l.steps[n-1].took == 0 {
		l.steps[n-1].took = max(at.Sub(l.steps[n-1].began), 1)
	}
	l.doing = ""
}

func (l *live) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.finish(l.now())
	l.draw()
	l.mu.Unlock()
	close(l.stop)
	l.done.Wait()
}

// draw replaces the last frame, line by line: clearing the screen below the
// cursor makes some terminals keep each frame in their history. A frame never
// fills the screen's height: lines that scrolled away could not be redrawn.
func (l *live) draw() {
	width, height := l.s.Size()
	lines := l.lines(width - 1)
	if most := max(height-1, 3); len(lines) > most {
		lines = append(lines[:1], lines[len(lines)-most+1:]...)
	}
	var b strings.Builder
	b.WriteString("\r")
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	if len(lines) < l.drawn {
		b.WriteString("\x1b[J")
	}
	l.drawn = len(lines)
	fmt.Fprint(l.s.Err, b.String())
}

// lines is the frame, at most width cells wide.
func (l *live) lines(width int) []string {
	cut := func(line string) string { return ansi.Truncate(line, max(width, 1), "…") }
	lines := []string{cut(l.style.title.Render(l.title))}
	for i, st := range l.steps {
		mark, took := l.style.good.Render("✓"), st.took
		switch {
		case st.notice:
			lines = append(lines, cut("  "+l.style.now.Render("! "+st.text)))
			continue
		case st.failed:
			mark = l.style.bad.Render("✗")
		case took == 0:
			mark, took = l.style.now.Render("•"), l.now().Sub(st.began)
		}
		// The time stays in sight however narrow the terminal is.
		after := " " + Duration(took)
		text := ansi.Truncate(st.text, max(width-ansi.StringWidth("  • "+after), 1), "…")
		lines = append(lines, cut("  "+mark+" "+text+l.style.faint.Render(after)))
		if i == len(l.steps)-1 && l.doing != "" {
			lines = append(lines, cut("      "+l.style.faint.Render(l.doing)))
		}
	}
	if l.cost != nil {
		lines = append(lines, cut("  "+l.style.faint.Render(spent(l.cost))))
	}
	return lines
}

// firstLine is what fits on one line: a tab would take as many cells as the
// terminal likes.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ReplaceAll(line, "\t", " ")
}
