package daytona

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	attempts      = 5                      // of one call, the first included
	firstPause    = 250 * time.Millisecond // doubles with each attempt
	longestPause  = 8 * time.Second
	maxRetryAfter = 2 * time.Minute // limits are counted by the minute; a longer wait is the caller's to decide
)

// repeat makes attempts until one succeeds, or fails in a way that another
// would not mend, or might do what was asked a second time. A refusal for the
// rate limit and a connection that never came about did nothing, so these are
// repeated whatever was asked.
func (c *Client) repeat(ctx context.Context, r request, attempt func() error) error {
	for n := 1; ; n++ {
		err := attempt()
		e, ok := errors.AsType[*Error](err)
		if !ok || n == attempts || ctx.Err() != nil {
			return err
		}
		limited := e.Status == http.StatusTooManyRequests
		if !limited && !e.unsent && !(r.safe && e.unclear()) || e.RetryAfter > maxRetryAfter {
			return err
		}
		if err := c.pause(ctx, n, e); err != nil {
			return err
		}
	}
}

// pause waits after the nth attempt failed with e. When the context ends
// first, the error tells both and is of the context's kind.
func (c *Client) pause(ctx context.Context, n int, e *Error) error {
	d := e.RetryAfter + backoff(n)
	c.log.InfoContext(ctx, "daytona call will be repeated", "op", e.Op, "status", e.Status, "attempt", n, "pause", d)
	if err := c.sleep(ctx, d); err != nil {
		cut := *e
		cut.Message = err.Error() + "; the last attempt: " + e.Message
		cut.causes = []error{err, ctx.Err()}
		return &cut
	}
	return nil
}

// backoff is the pause after the nth attempt: exponential, and jittered so
// that many runs which failed together do not come back together.
func backoff(n int) time.Duration {
	d := longestPause
	if n < 6 {
		d = min(d, firstPause<<(n-1))
	}
	return d/2 + rand.N(d/2)
}

// sleep waits for d or the context's end, whose cause it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// retryAfter is the longest wait that any Retry-After header asks for, in
// seconds. Daytona adds the limit's name: Retry-After-sandbox-create.
func retryAfter(h http.Header) time.Duration {
	const prefix = "Retry-After"
	var longest float64
	for name, values := range h {
		if name != prefix && !strings.HasPrefix(name, prefix+"-") {
			continue
		}
		for _, v := range values {
			if s, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && !math.IsNaN(s) {
				longest = max(longest, s)
			}
		}
	}
	return time.Duration(min(longest, (24*time.Hour).Seconds()) * float64(time.Second))
}
