package broker

import (
	"context"
	"net/http"
	"sync"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// budget is what one run may still spend. Calls that run at the same time
// share it: each reserves its worst case before it is forwarded, and gives
// back what it did not use.
type budget struct {
	limit float64 // USD; 0: none

	mu       sync.Mutex
	spent    run.Cost
	reserved float64
	calls    int           // that hold reservations
	freed    chan struct{} // closed, and replaced, when a reservation ends
	refused  error         // the first refusal

	// Both may be nil. reporting orders them; it is not mu, so that they may
	// ask what was spent.
	onReserve func(run.Cost) error
	onUsage   func(run.Cost)
	reporting sync.Mutex
}

// now is what was spent and what is reserved; b.reporting is held.
func (b *budget) now() run.Cost {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.spent
	c.ReservedUSD = b.reserved
	return c
}

// announce has a reservation stored before its call is forwarded. One that
// can't be is given back.
func (b *budget) announce(usd float64) error {
	b.reporting.Lock()
	defer b.reporting.Unlock()
	if b.onReserve == nil {
		return nil
	}
	if err := b.onReserve(b.now()); err != nil {
		b.free(usd, 0, usage{})
		return &refusal{http.StatusServiceUnavailable, "api_error", "dayclaude could not store what the call may cost: " + err.Error()}
	}
	return nil
}

// claim is the outcome of asking for an amount.
type claim int

const (
	granted claim = iota
	busy          // it would fit if other calls turn out cheaper than their worst case
	beyond        // it does not fit, whatever the other calls cost
)

// claim reserves usd if that fits. It also returns what is left apart from
// reservations, and for busy a channel that is closed when to ask again.
func (b *budget) claim(usd float64) (claim, float64, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.limit - b.spent.USD
	switch {
	case b.limit == 0 || usd <= left-b.reserved:
		b.reserved += usd
		b.calls++
		return granted, left, nil
	case usd <= left:
		return busy, left, b.freed
	}
	return beyond, left, nil
}

// settle ends a reservation with what the call really used.
func (b *budget) settle(reserved, usd float64, u usage) {
	b.reporting.Lock()
	defer b.reporting.Unlock()
	b.free(reserved, usd, u)
	if b.onUsage != nil {
		b.onUsage(b.now())
	}
}

// free takes a reservation back and counts what was used of it.
func (b *budget) free(reserved, usd float64, u usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved -= reserved
	if b.calls--; b.calls == 0 {
		b.reserved = 0 // whatever rounding left of it
	}
	b.spent.USD += usd
	b.spent.InputTokens += u.prompt()
	b.spent.OutputTokens += u.Output
	b.spent.CacheReadTokens += u.CacheRead
	b.spent.CacheWriteTokens += u.CacheWrite
	close(b.freed)
	b.freed = make(chan struct{})
}

// refuse remembers that a call did not fit, and returns the refusal.
func (b *budget) refuse(need float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := fault.New(fault.Limit, "the run's cost limit of $%.2f is reached: $%.2f spent, and the next call may cost $%.2f",
		b.limit, b.spent.USD, need).WithHint("raise the limit with --max-cost, or max_cost in the settings")
	if b.refused == nil {
		b.refused = err
	}
	return forbidden("%s", err.Message)
}

// reserve makes sure that the call fits into the budget, and returns what it
// reserved for it. count asks the API how long the prompt really is; it is
// asked only if the bound without asking doesn't fit. A call that still
// doesn't fit gets a shorter answer rather than none, where that's useful.
func (b *budget) reserve(ctx context.Context, c *call, p ModelPrice, prompt int64, count func() (int64, error)) (float64, error) {
	counted := false
	for {
		need := p.usd(c.worst(prompt, c.maxTokens))
		outcome, left, freed := b.claim(need)
		switch {
		case outcome == granted:
			return need, b.announce(need)
		case outcome == busy:
			select {
			case <-freed:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		case !counted:
			counted = true
			if n, err := count(); err == nil {
				prompt = min(prompt, n+n/50) // the API calls its count an estimate
			}
		default:
			without, perToken := p.usd(c.worst(prompt, 0)), p.usd(c.worst(prompt, 1))
			perToken -= without
			if perToken <= 0 || !c.shorten(int64((left-without)/perToken)-1) {
				return 0, b.refuse(need)
			}
		}
	}
}
