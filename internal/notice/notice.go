// Package notice lets calls tell the user why they wait: that a service does
// not answer and that it does again, that a rate limit was met. Whoever starts
// the work listens; each part of it finds the listener in its context.
package notice

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// With returns a context whose calls, in whatever goroutine, tell their
// notices to tell, one at a time. A notice is a phrase for people.
func With(ctx context.Context, tell func(notice string)) context.Context {
	return context.WithValue(ctx, key{}, &listener{tell: tell, away: make(map[string]time.Time)})
}

type key struct{}

type listener struct {
	mu   sync.Mutex
	tell func(string)
	away map[string]time.Time // since when services were told not to answer
	last string
}

// listen does something with the context's listener, if there is one.
func listen(ctx context.Context, do func(*listener)) {
	if l, ok := ctx.Value(key{}).(*listener); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		do(l)
	}
}

// Tell tells a notice, unless it is the one that was told last: many calls may
// wait for the same thing.
func Tell(ctx context.Context, text string) {
	listen(ctx, func(l *listener) {
		if text != l.last {
			l.last = text
			l.tell(text)
		}
	})
}

// Away tells that a service has failed calls since a time and will be tried
// again for so long. It is told once for all calls, until the service is Back.
func Away(ctx context.Context, service string, since time.Time, failure error, patience time.Duration) {
	listen(ctx, func(l *listener) {
		if l.away[service].IsZero() {
			l.away[service] = since
			l.tell(fmt.Sprintf("%v; trying again for %s", failure, patience))
		}
	})
}

// Back tells that a service answers again, if it was told to be away.
func Back(ctx context.Context, service string, now time.Time) {
	listen(ctx, func(l *listener) {
		if since := l.away[service]; !since.IsZero() {
			delete(l.away, service)
			l.tell(fmt.Sprintf("%s answers again, after %s", service, now.Sub(since).Round(time.Second)))
		}
	})
}
