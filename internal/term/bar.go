package term

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// Bytes prints a size in binary units: 940 B, 12.3 KiB, 1.2 GiB.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 999.95 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}

// Bar shows how far something long has come, on one line of Err that it draws
// again and again, and takes away at the end. Where Err is no terminal, and
// in its first second, it shows nothing. It is safe for concurrent use.
type Bar struct {
	s      Streams
	format func(int64) string
	now    func() time.Time
	style  styles

	mu          sync.Mutex
	what        string
	began       time.Time // of what
	done, total int64     // total 0: not known
	drawn       bool

	stop   chan struct{}
	ending sync.WaitGroup
}

// barPatience is how long something takes before a bar is worth looking at.
const barPatience = time.Second

// NewBar returns a bar that shows amounts with format, such as Bytes. Close
// must be called.
func (s Streams) NewBar(format func(int64) string) *Bar {
	b := &Bar{s: s, format: format, now: time.Now, style: s.styles(s.Terminal()), stop: make(chan struct{})}
	b.began = b.now()
	if !s.Terminal() {
		return b
	}
	b.ending.Go(func() {
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.draw()
			case <-b.stop:
				return
			}
		}
	})
	return b
}

// Begin names what is under way from now on, and how much of it there is; 0 if
// that is not known.
func (b *Bar) Begin(what string, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.what != "" || b.drawn { // the first one began with the bar
		b.began = b.now()
	}
	b.what, b.done, b.total = what, 0, total
}

// Add counts what was done since the last time; what was for nothing is
// negative.
func (b *Bar) Add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
}

// Close takes the bar away.
func (b *Bar) Close() {
	close(b.stop)
	b.ending.Wait()
	if b.drawn {
		fmt.Fprint(b.s.Err, "\r\x1b[K")
	}
}

func (b *Bar) draw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.drawn && b.now().Sub(b.began) < barPatience {
		return
	}
	b.drawn = true
	width, _ := b.s.Size()
	fmt.Fprint(b.s.Err, "\r"+b.line(width-1)+"\x1b[K")
}

// line is the bar, at most width cells wide. What is told last goes first
// where there is no room.
func (b *Bar) line(width int) string {
	took := b.now().Sub(b.began)
	facts := []string{Duration(took)}
	if b.done > 0 {
		facts = []string{b.format(b.done)}
		rate := float64(b.done) / max(took.Seconds(), 0.001)
		if b.total > 0 {
			share := min(float64(b.done)/float64(b.total), 1)
			facts = []string{fmt.Sprintf("%3.0f%%", 100*share), b.format(b.done) + " of " + b.format(b.total)}
			if left := float64(b.total-b.done) / rate; left > 0 {
				facts = append(facts, b.format(int64(rate))+"/s", Duration(time.Duration(left*float64(time.Second)))+" left")
			}
		} else {
			facts = append(facts, b.format(int64(rate))+"/s")
		}
	}
	const least = 10 // of the name
	text := facts[0]
	for _, fact := range facts[1:] {
		if ansi.StringWidth(text+"  "+fact)+2+least > width {
			break
		}
		text += "  " + fact
	}
	room := width - ansi.StringWidth(text) - 2
	name := ansi.Truncate(b.what, max(min(room, 40), 1), "…")
	drawing := ""
	if cells := room - ansi.StringWidth(name) - 2; b.total > 0 && cells >= 10 {
		cells = min(cells, 30)
		full := int(min(float64(b.done)/float64(b.total), 1) * float64(cells))
		drawing = b.style.now.Render(strings.Repeat("━", full)) + b.style.faint.Render(strings.Repeat("─", cells-full)) + "  "
	}
	return ansi.Truncate(name+"  "+drawing+text, max(width, 1), "…")
}
