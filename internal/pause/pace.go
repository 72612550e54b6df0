package pause

import (
	"context"
	"sync"
	"time"
)

// Pace lets a burst through at once, and then one at each interval. It is safe
// for concurrent use.
type Pace struct {
	Burst    int
	Interval time.Duration

	mu   sync.Mutex
	next time.Time // when the next is due, were there no burst
}

// Wait waits for the turn of one that comes now, or for the context's end,
// whose cause it then returns; it counts all the same.
func (p *Pace) Wait(ctx context.Context, now time.Time) error {
	d := p.delay(now)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return For(ctx, d)
}

// delay is how long one has to wait that comes now, and counts it.
func (p *Pace) delay(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if full := now.Add(-time.Duration(p.Burst) * p.Interval); p.next.Before(full) {
		p.next = full
	}
	p.next = p.next.Add(p.Interval)
	return max(0, p.next.Sub(now))
}
