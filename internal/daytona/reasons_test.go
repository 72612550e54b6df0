package daytona_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Each trouble that Daytona has is told apart from the others, in its own
// words.
func TestReasons(t *testing.T) {
	t.Parallel()
	create := func(w *world) error { return second(w.client.Create(w.Context(), w.asked())) }
	for _, tt := range []struct {
		name    string
		options func(*devstack.Options)
		meet    func(*world) error
		reason  daytona.Reason
		kind    fault.Kind
		says    string
		hint    string
	}{
		{name: "quota", options: func(o *devstack.Options) { o.Quota.CPU = 1 }, meet: func(w *world) error {
			return errors.Join(create(w), create(w))
		}, reason: daytona.ReasonQuota, kind: fault.Quota, says: "Total CPU limit exceeded. Maximum allowed: 1."},
		{name: "a key that may not", options: func(o *devstack.Options) { o.Permissions = []string{"delete:sandboxes"} }, meet: create,
			reason: daytona.ReasonPermission, kind: fault.Auth, says: "Access denied", hint: "write:sandboxes"},
		{name: "a key that may not make snapshots", options: func(o *devstack.Options) { o.Permissions = []string{"write:sandboxes"} }, meet: func(w *world) error {
			return second(w.client.CreateSnapshot(w.Context(), daytona.CreateSnapshot{Name: "x", ImageName: "debian:12"}))
		}, reason: daytona.ReasonPermission, kind: fault.Auth, says: "Access denied", hint: "write:snapshots"},
		{name: "a key that is not known", meet: func(w *world) error {
			c, err := daytona.New(daytona.Config{BaseURL: w.front.URL(), Key: secret.New("dtn_other")})
			return errors.Join(err, second(c.CurrentKey(w.Context())))
		}, reason: daytona.ReasonKey, kind: fault.Auth, says: "Invalid credentials"},
		{name: "suspended", meet: func(w *world) error {
			w.server.Suspend("Please pay")
			return create(w)
		}, reason: daytona.ReasonSuspended, kind: fault.Quota, says: "Please pay"},
		{name: "rate limit", options: func(o *devstack.Options) { o.RateLimit.Create = 1 }, meet: func(w *world) error {
			return errors.Join(create(w), create(w))
		}, reason: daytona.ReasonRateLimit, kind: fault.Quota, says: "Too Many Requests"},
		{name: "no runners", meet: func(w *world) error {
			w.server.SetRunners(false)
			return create(w)
		}, reason: daytona.ReasonRunners, kind: fault.Unavailable, says: "No available runners"},
		{name: "no such sandbox", meet: func(w *world) error { return second(w.client.Get(w.Context(), "none")) },
			reason: daytona.ReasonNotFound, kind: fault.NotFound, says: "none"},
		{name: "no such snapshot", meet: func(w *world) error {
			asked := w.asked()
			asked.Snapshot = "none"
			return second(w.client.Create(w.Context(), asked))
		}, reason: daytona.ReasonNotFound, kind: fault.NotFound, says: "none"},
		{name: "a broken snapshot", meet: func(w *world) error {
			err := w.server.SetSnapshot(snapshot, "error", "manifest unknown")
			return errors.Join(err, w.client.Ready(w.Context(), snapshot))
		}, reason: daytona.ReasonSnapshot, kind: fault.Sandbox, says: "is in state error: manifest unknown"},
		{name: "stopped", meet: func(w *world) error {
			return second(w.client.Toolbox(w.sandbox(daytona.Stopped)).HomeDir(w.Context()))
		}, reason: daytona.ReasonSandbox, kind: fault.Sandbox, says: "Is the Sandbox started?"},
		{name: "broken", meet: func(w *world) error {
			return second(w.client.Wait(w.Context(), w.sandbox(daytona.Errored).ID, daytona.Started))
		}, reason: daytona.ReasonSandbox, kind: fault.Sandbox, says: "is in state error: disk full"},
		{name: "deleted", meet: func(w *world) error {
			id := w.sandbox(daytona.Started).ID
			return errors.Join(w.client.Delete(w.Context(), id), second(w.client.Wait(w.Context(), id, daytona.Started)))
		}, reason: daytona.ReasonSandbox, kind: fault.Sandbox, says: "it was deleted"},
		{name: "in another state", meet: func(w *world) error {
			return second(w.client.Wait(w.Context(), w.sandbox(daytona.Started).ID, daytona.Stopped))
		}, reason: daytona.ReasonSandbox, kind: fault.Sandbox, says: "stays started"},
		{name: "a state that does not allow it", meet: func(w *world) error {
			return w.client.Archive(w.Context(), w.sandbox(daytona.Started).ID)
		}, reason: daytona.ReasonInvalid, kind: fault.Failed, says: "Sandbox is not stopped"},
		{name: "gone away", meet: func(w *world) error {
			w.front.Close()
			return second(w.client.Config(w.Context()))
		}, reason: daytona.ReasonFault, kind: fault.Unavailable, says: "does not answer"},
		{name: "cancelled", meet: func(w *world) error {
			ctx, cancel := context.WithCancel(w.Context())
			cancel()
			return second(w.client.Config(ctx))
		}, reason: "", kind: fault.Cancelled, says: "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var with []func(*devstack.Options)
			if tt.options != nil {
				with = append(with, tt.options)
			}
			err := tt.meet(newWorld(t, standIn(t, with...)))
			e, ok := errors.AsType[*daytona.Error](err)
			if !ok || e.Reason != tt.reason || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v of kind %s, %+v; want reason %q", err, fault.KindOf(err), e, tt.reason)
			}
			if !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("the hint is %q", fault.HintOf(err))
			}
		})
	}
}
