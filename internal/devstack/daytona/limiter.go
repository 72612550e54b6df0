package daytona

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// RateLimit bounds the requests per minute; zero means Daytona's first tier.
type RateLimit struct {
	General   int // every request; default 10,000
	Create    int // creating sandboxes; default 300
	Lifecycle int // starting, stopping, archiving, deleting; default 10,000
	// FailedAuth is how many wrong credentials there may be, before all
	// requests from their address, here everybody's, are refused; default 100.
	FailedAuth int
}

const rateWindow = time.Minute

// limiter counts requests in fixed windows of the wall clock.
type limiter struct {
	max map[rateKind]int

	mu     *sync.Mutex
	window map[rateKind]*rateCount
}

type rateCount struct {
	since time.Time
	used  int
}

func newLimiter(limit RateLimit) limiter {
	return limiter{
		max: map[rateKind]int{
			rateGeneral:   cmp.Or(limit.General, 10_000),
			rateCreate:    cmp.Or(limit.Create, 300),
			rateLifecycle: cmp.Or(limit.Lifecycle, 10_000),
			rateFailed:    cmp.Or(limit.FailedAuth, 100),
		},
		mu:     new(sync.Mutex),
		window: map[rateKind]*rateCount{rateGeneral: {}, rateCreate: {}, rateLifecycle: {}, rateFailed: {}},
	}
}

// wrongKey counts a wrong credential. Too many are refused as such no more,
// and barred refuses all other requests, with a plain Retry-After.
func (l limiter) wrongKey(header http.Header, now time.Time) error {
	l.mu.Lock()
	count := l.window[rateFailed]
	if now.Sub(count.since) >= rateWindow {
		*count = rateCount{since: now}
	}
	count.used++
	l.mu.Unlock()
	if err := l.barred(header, now); err != nil {
		return err
	}
	return problemf(http.StatusUnauthorized, "Invalid credentials")
}

// barred refuses everybody for the rest of the minute in which there were too
// many wrong credentials.
func (l limiter) barred(header http.Header, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.window[rateFailed]
	left := rateWindow - now.Sub(count.since)
	if count.used < l.max[rateFailed] || left <= 0 {
		return nil
	}
	wait := strconv.Itoa(max(1, int(left/time.Second)))
	header.Set(fmt.Sprintf("X-RateLimit-Remaining-%s", rateFailed), "0")
	header.Set(fmt.Sprintf("Retry-After-%s", rateFailed), wait)
	header.Set("Retry-After", wait)
	return errThrottled
}

var errThrottled = problemf(http.StatusTooManyRequests, "ThrottlerException: Too Many Requests")

// take counts a request of some kinds and writes Daytona's headers, whose
// names end with the kind: there is no plain Retry-After.
func (l limiter) take(header http.Header, now time.Time, kinds ...rateKind) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refused error
	for i, kind := range kinds {
		if i > 0 && kind == kinds[0] {
			continue
		}
		count := l.window[kind]
		if now.Sub(count.since) >= rateWindow {
			*count = rateCount{since: now}
		}
		count.used++
		reset := strconv.Itoa(max(1, int(rateWindow-now.Sub(count.since))/int(time.Second)))
		header.Set(fmt.Sprintf("X-RateLimit-Limit-%s", kind), strconv.Itoa(l.max[kind]))
		header.Set(fmt.Sprintf("X-RateLimit-Remaining-%s", kind), strconv.Itoa(max(0, l.max[kind]-count.used)))
		header.Set(fmt.Sprintf("X-RateLimit-Reset-%s", kind), reset)
		if count.used > l.max[kind] {
			header.Set(fmt.Sprintf("Retry-After-%s", kind), reset)
			refused = errThrottled
		}
	}
	return refused
}
