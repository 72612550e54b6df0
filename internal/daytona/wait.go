package daytona

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
)

// How the official SDK polls.
const (
	pollFast   = 100 * time.Millisecond // at first
	pollFastly = 5 * time.Second        // for so long
	pollSlow   = time.Second            // at most, growing by a tenth each time
)

// slowAfter is when waiting becomes something to tell the user.
const slowAfter = 15 * time.Second

// idlePolls is how many polls in a row may find a sandbox at rest, with
// nothing asked of it, in a state that was not wanted: about ten seconds in
// all, since a change may show a little later than it was asked for.
const idlePolls = 68

// Wait polls until the sandbox is in one of the wanted states, and returns it
// as it then is. It has no bound of its own but ctx. Destroyed is reached when
// the sandbox cannot be found any more, too; the Sandbox returned then has an
// ID and a state only.
//
// It fails with an *Error with ReasonSandbox when the sandbox breaks (in the
// sandbox's own words), is destroyed, or rests in another state without
// anything having been asked of it. States it does not know count as in
// motion.
//
// It calls GET /sandbox/{sandboxIdOrName}, as the official SDK does: each
// 100 ms at first, each second later.
func (c *Client) Wait(ctx context.Context, id string, want ...State) (*Sandbox, error) {
	return c.wait(ctx, id, 0, want...)
}

// wait is Wait for a sandbox that may be found broken for some polls before it
// counts.
func (c *Client) wait(ctx context.Context, id string, broken int, want ...State) (*Sandbox, error) {
	idle := 0
	s, err := c.poll(ctx, id, func(s *Sandbox) bool {
		if s.State.AtRest() && s.DesiredState == s.State {
			idle++
		} else {
			idle = 0
		}
		switch {
		case slices.Contains(want, s.State), idle > idlePolls:
			return true
		case slices.Contains(want, Destroyed) && (s.State == Destroying || s.DesiredState == Destroyed):
			return false // a broken sandbox stays "error" until it is taken away
		}
		if s.State.Failed() {
			broken--
			return broken < 0
		}
		return s.State.gone()
	})
	switch {
	case notFound(err) && slices.Contains(want, Destroyed):
		return &Sandbox{ID: id, State: Destroyed}, nil
	case err != nil:
		return nil, err
	case slices.Contains(want, s.State):
		return s, nil
	case s.State.Failed():
		return nil, s.failure()
	case s.State.gone():
		return nil, standing(ReasonSandbox, fault.New(fault.Sandbox, "it was deleted"), "sandbox "+clean(s.Name))
	}
	return nil, standing(ReasonSandbox, fault.New(fault.Sandbox, "nothing that was asked of it leads to %v", want),
		fmt.Sprintf("sandbox %s stays %s", clean(s.Name), s.State))
}

// poll gets the sandbox until done says so.
func (c *Client) poll(ctx context.Context, id string, done func(*Sandbox) bool) (*Sandbox, error) {
	delay, slept := pollFast, time.Duration(0)
	for told := false; ; {
		s, err := c.Get(ctx, id)
		if err != nil || done(s) {
			return s, err
		}
		if slept >= slowAfter && !told {
			told = true
			notice.Tell(ctx, s.slow())
		}
		if err := c.sleep(ctx, delay); err != nil {
			state := clean(string(s.State))
			return nil, &Error{
				Op: "wait for sandbox " + clean(id), Message: "still " + state + ": " + err.Error(),
				causes: []error{err, ctx.Err()},
			}
		}
		if slept += delay; slept >= pollFastly {
			delay = min(delay+delay/10, pollSlow)
		}
	}
}

// slow says why a sandbox takes its time.
func (s *Sandbox) slow() string {
	what := map[State]string{
		PullingSnapshot: "; the first time that takes minutes",
		Restoring:       " from its archive",
	}[s.State]
	return "sandbox " + clean(s.Name) + " is " + clean(string(s.State)) + what
}
