package broker

import (
	"context"
	"sync"
	"time"
)

// pace bounds how often the upstreams are asked: a sandbox that calls at line
// rate, say for counts of tokens, which cost nothing, or for calls that the API
// refuses, would use up what the key may ask for.
type pace struct {
	mu   sync.Mutex
	next time.Time // when the next request is due, were there no burst
}

// What Claude with all its subagents does not come near.
const (
	burst    = 500 // requests that need not wait
	interval = 100 * time.Millisecond
)

// delay is how long a request has to wait that comes now, and counts it.
func (p *pace) delay(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if full := now.Add(-burst * interval); p.next.Before(full) {
		p.next = full
	}
	p.next = p.next.Add(interval)
	return max(0, p.next.Sub(now))
}

// wait waits for a request's turn.
func (p *pace) wait(ctx context.Context, now time.Time) error {
	turn := time.NewTimer(p.delay(now))
	defer turn.Stop()
	select {
	case <-turn.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
