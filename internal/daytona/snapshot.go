package daytona

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
)

// SnapshotState is a snapshot's state, spelled as the API spells it. Only an
// active one can be used at once.
type SnapshotState string

// The snapshot states that a run cares about; others mean that one is on its
// way to being active.
const (
	SnapshotActive   SnapshotState = "active"
	SnapshotInactive SnapshotState = "inactive" // unused for long; must be activated
	SnapshotError    SnapshotState = "error"
	SnapshotFailed   SnapshotState = "build_failed"
	SnapshotRemoving SnapshotState = "removing"
)

// Snapshot is the image that sandboxes are made from.
type Snapshot struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	ImageName   string        `json:"imageName"`
	State       SnapshotState `json:"state"`
	ErrorReason string        `json:"errorReason"` // as Daytona wrote it, not cleaned
	General     bool          `json:"general"`     // Daytona's own
	CPU         float64       `json:"cpu"`         // cores of a sandbox made from it
	Memory      float64       `json:"mem"`         // GiB
	Disk        float64       `json:"disk"`        // GiB
	CreatedAt   Time          `json:"createdAt"`
}

// Snapshot returns the snapshot with a name or id; an *Error of kind NotFound
// if there is none.
func (c *Client) Snapshot(ctx context.Context, name string) (*Snapshot, error) {
	r := request{
		op: "look up snapshot " + clean(name), method: http.MethodGet,
		path: []string{"snapshots", name}, safe: true,
	}
	var s Snapshot
	if err := c.call(ctx, r, &s); err != nil {
		return nil, err
	}
	if s.ID == "" {
		return nil, fault.New(fault.Unavailable, "%s: the answer has no id", r.op).WithHint(hintURL)
	}
	return &s, nil
}

// Ready has a snapshot activated if it is inactive, and waits until it is
// active or ctx ends. It fails with a fault of kind Sandbox if the snapshot is
// broken, with its own reason; of kind Auth if the key may not activate it; of
// kind NotFound if it is being removed.
func (c *Client) Ready(ctx context.Context, name string) error {
	activated, slept := false, time.Duration(0)
	for told := false; ; {
		s, err := c.Snapshot(ctx, name)
		if err != nil {
			return err
		}
		switch s.State {
		case SnapshotActive:
			return nil
		case SnapshotError, SnapshotFailed:
			return fault.New(fault.Sandbox, "the snapshot %s is in state %s: %s",
				clean(name), s.State, cmp.Or(clean(s.ErrorReason), "Daytona gives no reason")).
				WithHint("make it anew: docs/snapshots.md; --snapshot takes another")
		case SnapshotRemoving:
			return fault.New(fault.NotFound, "the snapshot %s is being removed", clean(name)).WithHint(hintSnapshot)
		case SnapshotInactive:
			if !activated {
				notice.Tell(ctx, "the snapshot "+clean(name)+" was not used for long and is being activated")
				activated, told = true, true
				if err := c.activate(ctx, s); err != nil {
					return err
				}
				continue
			}
		}
		if slept >= slowAfter && !told {
			told = true
			notice.Tell(ctx, "the snapshot "+clean(name)+" is "+clean(string(s.State))+"; the first time this takes minutes")
		}
		if err := c.sleep(ctx, pollSlow); err != nil {
			return &Error{
				Op: "wait for snapshot " + clean(name), Message: "still " + clean(string(s.State)) + ": " + err.Error(),
				causes: []error{err, ctx.Err()},
			}
		}
		slept += pollSlow
	}
}

// activate takes the id: the API knows no names here.
func (c *Client) activate(ctx context.Context, s *Snapshot) error {
	err := c.call(ctx, request{
		op: "activate snapshot " + clean(s.Name), method: http.MethodPost,
		path: []string{"snapshots", s.ID, "activate"}, safe: true,
	}, nil)
	e, ok := errors.AsType[*Error](err)
	switch {
	case ok && e.Status == http.StatusForbidden:
		return fault.New(fault.Auth, "the snapshot %s is inactive, and the API key may not activate it: %w", clean(s.Name), err).
			WithHint("activate it in Daytona's dashboard, or give the key write:snapshots")
	case ok && e.Status == http.StatusBadRequest: // somebody else was quicker; its state tells
		return nil
	}
	return err
}
