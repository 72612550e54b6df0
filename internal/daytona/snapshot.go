package daytona

import (
	"context"
	"net/http"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// SnapshotState is a snapshot's state, spelled as the API spells it. Only an
// active one can be used at once.
type SnapshotState string

// The snapshot states that a run cares about; others mean that one is on its
// way there, or is being removed.
const (
	SnapshotActive   SnapshotState = "active"
	SnapshotInactive SnapshotState = "inactive" // unused for long; must be activated
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
