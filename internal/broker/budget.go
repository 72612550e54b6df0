package broker

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// budget is what one run may still spend. Calls that run at the same time
// share it: each reserves its worst case before it is forwarded, and gives
// back what it did not use.
type budget struct {
	limit float64 // USD; 0: none

	clock func() time.Time

	mu       sync.Mutex
	spent    run.Cost
	reserved run.Reservation // of all calls together
	calls    int             // that hold reservations
	freed    chan struct{}   // closed, and replaced, when a reservation ends
	refused  error           // the first refusal

	// Both may be nil. reporting orders them; it is not mu, so that they may
	// ask what was spent.
	onReserve func(run.Cost) error
	onUsage   func(run.Cost)
	reporting sync.Mutex
}

// now is what was spent and what is reserved.
func (b *budget) now() run.Cost {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.spent
	c.Reserved = b.reserved
	return c
}

// announce has a reservation stored before its call is forwarded. One that
// can't be is given back.
func (b *budget) announce(r run.Reservation) error {
	b.reporting.Lock()
	defer b.reporting.Unlock()
	if b.onReserve == nil {
		return nil
	}
	if err := b.onReserve(b.now()); err != nil {
		b.free(r, 0, usage{})
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

// claim makes a reservation if it fits. It also returns what is left apart
// from reservations, and for busy a channel that is closed when to ask again.
func (b *budget) claim(r run.Reservation) (claim, float64, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.limit - b.spent.USD
	switch {
	case b.limit == 0 || r.USD <= left-b.reserved.USD:
		if b.calls++; b.calls == 1 {
			b.reserved.Since = b.clock().UTC()
		}
		b.reserved.USD += r.USD
		b.reserved.StartUSD += r.StartUSD
		b.reserved.USDPerSecond += r.USDPerSecond
		return granted, left, nil
	case r.USD <= left:
		return busy, left, b.freed
	}
	return beyond, left, nil
}

// settle ends a reservation with what the call really used.
func (b *budget) settle(r run.Reservation, usd float64, u usage) {
	b.reporting.Lock()
	defer b.reporting.Unlock()
	b.free(r, usd, u)
	if b.onUsage != nil {
		b.onUsage(b.now())
	}
}

// free takes a reservation back and counts what was used of it.
func (b *budget) free(r run.Reservation, usd float64, u usage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved.USD -= r.USD
	b.reserved.StartUSD -= r.StartUSD
	b.reserved.USDPerSecond -= r.USDPerSecond
	if b.calls--; b.calls == 0 {
		b.reserved = run.Reservation{} // whatever rounding left of it
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
func (b *budget) reserve(ctx context.Context, c *call, p ModelPrice, prompt int64, count func() (int64, error)) (run.Reservation, error) {
	counted := false
	for {
		without, perToken := p.usd(c.worst(prompt, 0)), p.usd(c.worst(prompt, 1))
		perToken -= without
		r := run.Reservation{USD: p.usd(c.worst(prompt, c.maxTokens)), USDPerSecond: tokensPerSecond * perToken}
		r.StartUSD = without + allowance.Seconds()*r.USDPerSecond
		outcome, left, freed := b.claim(r)
		switch {
		case outcome == granted:
			return r, b.announce(r)
		case outcome == busy:
			select {
			case <-freed:
			case <-ctx.Done():
				return run.Reservation{}, ctx.Err()
			}
		case !counted:
			counted = true
			if n, err := count(); err == nil {
				prompt = min(prompt, n+n/50) // the API calls its count an estimate
			}
		case perToken <= 0 || !c.shorten(int64((left-without)/perToken)-1):
			return run.Reservation{}, b.refuse(r.USD)
		}
	}
}
