package daytona

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// WithNotices returns a context whose calls tell why they wait, from any of
// their goroutines: for an outage's end, which is told once however many calls
// meet it, and when it comes; for a runner; for a snapshot or a sandbox that
// takes its time. A notice is a phrase for people.
func WithNotices(ctx context.Context, tell func(notice string)) context.Context {
	return context.WithValue(ctx, noticesKey{}, &notices{tell: tell})
}

type noticesKey struct{}

// notices is what the calls of a context have told.
type notices struct {
	tell func(string)

	mu   sync.Mutex
	away time.Time // since Daytona was told to be; zero while it answers
}

// noticesOf returns notices that nobody hears where the context has none.
func noticesOf(ctx context.Context) *notices {
	if n, ok := ctx.Value(noticesKey{}).(*notices); ok {
		return n
	}
	return &notices{tell: func(string) {}}
}

// fails tells of an outage that a call will wait out.
func (n *notices) fails(since time.Time, e *Error, limit time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away.IsZero() {
		n.away = since
		n.tell(fmt.Sprintf("%s; trying again for %s", e.Message, limit))
	}
}

// answers tells that an outage is over.
func (n *notices) answers(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.away.IsZero() {
		n.tell(fmt.Sprintf("Daytona answers again, after %s", now.Sub(n.away).Round(time.Second)))
		n.away = time.Time{}
	}
}
