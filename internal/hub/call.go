package hub

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/run"
)

// patience is how long and how often calls are tried.
type patience struct {
	attempt   time.Duration // one attempt, from dialling to the answer's last byte
	outage    time.Duration // for which a call that may be repeated is tried at least
	backoff   time.Duration // before the second attempt; doubles
	longest   time.Duration // the longest pause between two attempts
	conflicts int           // tries to make what GitHub says is there and does not show
	maxWait   time.Duration // the longest wait for a rate limit; longer ones are a fault.Quota
	maxHolds  int           // waits for rate limits within one call
}

var defaultPatience = patience{
	attempt:   30 * time.Second,
	outage:    150 * time.Second,
	backoff:   250 * time.Millisecond,
	longest:   15 * time.Second,
	conflicts: 4,
	maxWait:   5 * time.Minute,
	maxHolds:  3,
}

// service is what notices call GitHub.
const service = "GitHub"

// op is one call as errors tell it.
type op struct {
	does  string // what is attempted, on what
	repo  string // owner/name, or ""
	needs string // the permission it takes, as GitHub's settings page names it
	// once marks a call that makes something new each time it is sent: it is
	// sent again only when GitHub refused it without doing anything.
	once bool
}

func read(repo run.Repository, does, needs string) op {
	return op{does: does, repo: repo.FullName(), needs: needs}
}

// set is a write with the same effect however often it is sent.
func set(repo run.Repository, does, needs string) op { return read(repo, does, needs) }

func create(repo run.Repository, does, needs string) op {
	o := read(repo, does, needs)
	o.once = true
	return o
}

// attempt is one try of a call, as go-github's methods answer.
type attempt[T any] func(context.Context, *github.Client) (T, *github.Response, error)

// call tries until it succeeds, fails for good or has been tried long enough.
func call[T any](ctx context.Context, c *Client, o op, try attempt[T]) (T, error) {
	var zero T
	var failed tries
	for holds := 0; ; {
		if held, err := c.hold(ctx, o, holds); err != nil {
			return zero, err
		} else if held {
			holds++
		}
		began := c.now()
		once, cancel := context.WithTimeout(ctx, c.attempt)
		v, resp, err := try(once, c.api())
		cancel()
		if err == nil {
			c.over(ctx, failed)
			return v, nil
		}
		if ctx.Err() != nil {
			return zero, interrupted(ctx, o)
		}
		var answer *http.Response
		if resp != nil {
			answer = resp.Response
		}
		if c.limited(answer, holds) {
			continue
		}
		err = c.explain(o, answer, err)
		if fault.KindOf(err) != fault.Unavailable {
			c.over(ctx, failed)
			return zero, err
		}
		if o.once {
			return zero, err
		}
		if err := c.again(ctx, o, &failed, began, err); err != nil {
			return zero, err
		}
	}
}

// lookThenCreate makes something that must exist once. look reports whether it
// is there. When the answer to post is lost, or says that it exists, it is
// looked for again before anything is sent again.
func lookThenCreate[T any](ctx context.Context, c *Client, o op, look func() (T, bool, error), post func() (T, error)) (T, error) {
	var failed tries
	for conflicts := 1; ; {
		v, found, err := look()
		if found {
			c.over(ctx, failed)
		}
		if found || err != nil {
			return v, err
		}
		began := c.now()
		if v, err = post(); err == nil {
			c.over(ctx, failed)
			return v, nil
		}
		switch kind := fault.KindOf(err); {
		case kind == fault.Unavailable:
			if err := c.again(ctx, o, &failed, began, err); err != nil {
				return v, err
			}
		case kind == fault.Conflict && conflicts < c.conflicts:
			if err := c.pause(ctx, o, conflicts); err != nil {
				return v, err
			}
			conflicts++
		default:
			return v, err
		}
	}
}

// tries are the attempts of one call that GitHub did not answer.
type tries struct {
	n     int
	since time.Time // the first one's beginning
}

// again waits before the next attempt, after one that began at a time and
// failed. It returns what the call fails with, once it has been tried for
// long enough.
func (c *Client) again(ctx context.Context, o op, t *tries, began time.Time, failure error) error {
	if t.n++; t.n == 1 {
		t.since = began
	}
	lasted := c.now().Sub(t.since)
	if lasted >= c.outage {
		return fault.New(fault.Unavailable, "%w (tried for %s)", failure, lasted.Round(time.Second))
	}
	// A single failure that came at once is not worth a word.
	if t.n > 1 || lasted > time.Second {
		notice.Away(ctx, service, t.since, failure, c.outage)
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "github call will be repeated", slog.String("op", o.does), slog.Int("attempt", t.n), slog.Any("error", failure))
	return c.pause(ctx, o, t.n)
}

// over tells that GitHub answers a call again which it did not: others that it
// answers say nothing of this one.
func (c *Client) over(ctx context.Context, t tries) {
	if t.n > 0 {
		notice.Back(ctx, service, c.now())
	}
}

// pause waits before attempt tries+1: the back-off, spread so that runs which
// failed together do not come back together.
func (c *Client) pause(ctx context.Context, o op, tries int) error {
	d := min(c.backoff<<min(tries-1, 16), c.longest)
	if c.sleep(ctx, d/2+rand.N(d/2+1)) != nil {
		return interrupted(ctx, o)
	}
	return nil
}
