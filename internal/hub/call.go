package hub

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// patience is how long and how often calls are tried.
type patience struct {
	attempt  time.Duration // one attempt, from dialling to the answer's last byte
	attempts int           // of a call that may be repeated
	backoff  time.Duration // before the second attempt; doubles
	maxWait  time.Duration // the longest wait for a rate limit; longer ones are a fault.Quota
	maxHolds int           // waits for rate limits within one call
}

var defaultPatience = patience{
	attempt:  30 * time.Second,
	attempts: 4,
	backoff:  250 * time.Millisecond,
	maxWait:  time.Minute,
	maxHolds: 3,
}

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

// call tries until it succeeds, fails for good or has been tried enough.
func call[T any](ctx context.Context, c *Client, o op, try attempt[T]) (T, error) {
	var zero T
	tries, holds := 0, 0
	for {
		if held, err := c.hold(ctx, o, holds); err != nil {
			return zero, err
		} else if held {
			holds++
		}
		once, cancel := context.WithTimeout(ctx, c.attempt)
		v, resp, err := try(once, c.api())
		cancel()
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return zero, interrupted(ctx, o)
		}
		var answer *http.Response
		if resp != nil {
			answer = resp.Response
		}
		if c.limited(answer) {
			continue
		}
		err = c.explain(o, answer, err)
		tries++
		if o.once || tries >= c.attempts || fault.KindOf(err) != fault.Unavailable {
			return zero, err
		}
		c.log.LogAttrs(ctx, slog.LevelDebug, "github call will be repeated", slog.String("op", o.does), slog.Int("attempt", tries), slog.Any("error", err))
		if err := c.pause(ctx, o, tries); err != nil {
			return zero, err
		}
	}
}

// lookThenCreate makes something that must exist once. look reports whether it
// is there. When the answer to post is lost, or says that it exists, it is
// looked for again before anything is sent again.
func lookThenCreate[T any](ctx context.Context, c *Client, o op, look func() (T, bool, error), post func() (T, error)) (T, error) {
	for tries := 1; ; tries++ {
		v, found, err := look()
		if found || err != nil {
			return v, err
		}
		v, err = post()
		if err == nil || tries >= c.attempts {
			return v, err
		}
		if kind := fault.KindOf(err); kind != fault.Unavailable && kind != fault.Conflict {
			return v, err
		}
		if err := c.pause(ctx, o, tries); err != nil {
			return v, err
		}
	}
}

// pause waits before attempt tries+1: the back-off, spread so that runs which
// failed together do not come back together.
func (c *Client) pause(ctx context.Context, o op, tries int) error {
	d := c.backoff << (tries - 1)
	if c.sleep(ctx, d/2+rand.N(d/2+1)) != nil {
		return interrupted(ctx, o)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
