package daytona

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/notice"
)

const (
	patience        = 3 * time.Minute  // for a call that meets nothing but an outage, from its first failure on
	runnersPatience = 15 * time.Minute // for a runner that takes a new sandbox
	firstPause      = 250 * time.Millisecond
	longestPause    = 10 * time.Second
	maxRetryAfter   = 2 * time.Minute // limits are counted by the minute; a longer wait is the caller's to decide
	tellAfter       = 3               // failures in a row, unless they are long silences: a hiccup is nobody's business
)

// service is what notices call Daytona.
const service = "Daytona"

// repeat makes attempts until one succeeds, or fails in a way that another
// would not mend, or might do what was asked a second time. A refusal for the
// rate limit and a connection that never came about did nothing, so these are
// repeated whatever was asked.
func (c *Client) repeat(ctx context.Context, r request, attempt func() error) error {
	t := c.trouble(patience)
	for {
		err := attempt()
		e, ok := errors.AsType[*Error](err)
		if !ok || ctx.Err() != nil || r.hurried {
			return err
		}
		limited := e.Status == http.StatusTooManyRequests
		if !limited && !e.unsent && !(r.safe && e.unclear()) || e.RetryAfter > maxRetryAfter {
			return err
		}
		if err := t.pause(ctx, e); err != nil {
			return err
		}
	}
}

// trouble is what one call has met so far.
type trouble struct {
	c      *Client
	limit  time.Duration
	failed int
	since  time.Time // of the first failure: an attempt may have slept with the machine
	told   bool
}

func (c *Client) trouble(limit time.Duration) *trouble { return &trouble{c: c, limit: limit} }

// tell tells the user what is waited for: of an outage once for all calls, of
// what only this call waits for once.
func (t *trouble) tell(ctx context.Context, e *Error) {
	silent := errors.Is(e, context.DeadlineExceeded)
	if t.failed < tellAfter && !silent || t.told {
		return
	}
	t.told = true
	if e.unclear() || e.Status == http.StatusTooManyRequests {
		notice.Away(ctx, service, t.since, e, t.limit)
	} else {
		notice.Tell(ctx, fmt.Sprintf("%v; trying again for %s", e, t.limit))
	}
}

// pause waits after an attempt failed with e, or returns the error that the
// call then ends with: no other attempt would mend it, patience is over, or the
// context ended, whose kind the error is then of.
func (t *trouble) pause(ctx context.Context, e *Error) error {
	if t.failed++; t.failed == 1 {
		t.since = t.c.now()
	}
	spent := t.c.now().Sub(t.since)
	if e.tried || e.hopeless && !t.c.answered.Load() {
		return e
	}
	if spent >= t.limit {
		e = e.because(fmt.Sprintf("%s; tried again for %s", e.Message, spent.Round(time.Second)), e.causes...)
		e.tried = true
		return e
	}
	t.tell(ctx, e)
	d := e.RetryAfter + backoff(t.failed)
	t.c.log.InfoContext(ctx, "daytona call will be repeated", "op", e.Op, "status", e.Status, "attempt", t.failed, "pause", d)
	if err := t.c.sleep(ctx, d); err != nil {
		return e.because(err.Error()+"; the last attempt: "+e.Message, err, ctx.Err())
	}
	return nil
}

// because is the same failure with another message and other causes.
func (e *Error) because(message string, causes ...error) *Error {
	other := *e
	other.Message, other.causes = message, causes
	return &other
}

// backoff is the pause after the nth attempt: exponential, and jittered so
// that many runs which failed together do not come back together.
func backoff(n int) time.Duration {
	d := longestPause
	if n < 7 {
		d = min(d, firstPause<<(n-1))
	}
	return d/2 + rand.N(d/2)
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
