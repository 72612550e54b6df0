package daytona

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// changeTimeout bounds Start, Stop, Archive and Delete, with the waiting for a
// change that was under way before.
const changeTimeout = 5 * time.Minute

// Start asks for a sandbox to be started, from stopped, archived or paused; it
// does not wait until it is (see Wait). Starting a started one does nothing. A
// broken sandbox is an *Error with ReasonSandbox and the sandbox's own reason.
//
// It calls POST /sandbox/{sandboxIdOrName}/start.
func (c *Client) Start(ctx context.Context, id string) error {
	return c.change(ctx, id, Started, request{op: "start", method: http.MethodPost, path: []string{"sandbox", id, "start"}})
}

// Stop asks for a sandbox to be stopped; it does not wait until it is. Its
// files stay, its processes do not. Stopping a stopped one does nothing.
//
// It calls POST /sandbox/{sandboxIdOrName}/stop.
func (c *Client) Stop(ctx context.Context, id string) error {
	return c.change(ctx, id, Stopped, request{op: "stop", method: http.MethodPost, path: []string{"sandbox", id, "stop"}})
}

// Archive asks for a stopped sandbox to be moved to cheaper storage, from where
// Start brings it back; it does not wait until it is there. Archiving an
// archived one does nothing; Daytona refuses one in another state, and one
// that goes with its stop (AutoDelete 0).
//
// It calls POST /sandbox/{sandboxIdOrName}/archive.
func (c *Client) Archive(ctx context.Context, id string) error {
	return c.change(ctx, id, Archived, request{op: "archive", method: http.MethodPost, path: []string{"sandbox", id, "archive"}})
}

// Recover has a broken sandbox that is recoverable mended and started, and
// waits until it is. When an answer is lost and the sandbox is as broken as
// before, it is asked again.
//
// It calls POST /sandbox/{sandboxIdOrName}/recover, then
// GET /sandbox/{sandboxIdOrName}.
func (c *Client) Recover(ctx context.Context, id string) (*Sandbox, error) {
	for t := c.trouble(patience); ; {
		var before Sandbox
		err := c.call(ctx, request{
			op: "recover sandbox " + clean(id), method: http.MethodPost, path: []string{"sandbox", id, "recover"},
		}, &before)
		e, ok := errors.AsType[*Error](err)
		if err != nil && (!ok || !e.unclear() || ctx.Err() != nil) {
			return nil, err
		}
		broken := 0
		if err == nil {
			broken = idlePolls // the record says so until a machine has mended it
		}
		mended, waitErr := c.wait(ctx, id, broken, Started)
		if err == nil || !is(waitErr, ReasonSandbox) {
			return mended, waitErr
		}
		if err := t.pause(ctx, e); err != nil {
			return nil, err
		}
	}
}

// Delete asks for a sandbox to be destroyed; its name is free again when it
// returns. Deleting one that is gone does nothing. Pass the id: a name may
// have passed to another sandbox.
//
// It calls DELETE /sandbox/{sandboxIdOrName}.
func (c *Client) Delete(ctx context.Context, id string) error {
	err := c.change(ctx, id, Destroyed, request{op: "delete", method: http.MethodDelete, path: []string{"sandbox", id}})
	if notFound(err) {
		return nil
	}
	return err
}

// change sends r, which asks for the state want, and looks before it sends it
// again: the sandbox may have heard although no answer came (a second stop
// would be refused as a wrong state), and while another change is under way
// (409) there is nothing to do but to wait.
func (c *Client) change(ctx context.Context, id string, want State, r request) error {
	r.op += " sandbox " + clean(id)
	ctx, cancel := context.WithTimeoutCause(ctx, changeTimeout,
		fault.New(fault.Unavailable, "the sandbox was not ready for it within %s", changeTimeout))
	defer cancel()
	heard := func(s *Sandbox) bool {
		if want == Destroyed && s.State.gone() {
			return true
		}
		return s.DesiredState == want || s.DesiredState == "" && s.State == want
	}
	t := c.trouble(patience)
	for {
		err := c.call(ctx, r, nil)
		e, ok := errors.AsType[*Error](err)
		if !ok || ctx.Err() != nil {
			return err
		}
		busy, refused := e.Reason == ReasonConflict, e.Status == http.StatusBadRequest
		if !busy && !refused && !e.unclear() {
			return err
		}
		s, lookErr := c.poll(ctx, id, func(s *Sandbox) bool { return heard(s) || s.State.AtRest() })
		switch {
		case lookErr != nil:
			return lookErr
		case s.State.Failed() && want != Destroyed:
			return s.failure()
		case heard(s):
			return nil
		case refused && e.Reason != ReasonRunners:
			return err
		}
		if err := t.pause(ctx, e); err != nil {
			return err
		}
	}
}
