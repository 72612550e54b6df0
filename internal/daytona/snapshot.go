package daytona

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	Size        float64       `json:"size"`        // GiB of the image; 0 until it is known
	Entrypoint  []string      `json:"entrypoint"`  // nil: the image's own
	Build       *Build        `json:"buildInfo"`   // nil: made from ImageName
	CreatedAt   Time          `json:"createdAt"`
	LastUsedAt  Time          `json:"lastUsedAt"`
}

// Build says how Daytona builds an image.
type Build struct {
	Dockerfile string   `json:"dockerfileContent"`
	Contexts   []string `json:"contextHashes,omitempty"` // as put to ObjectStorageAccess
}

// CreateSnapshot is what is asked of a new snapshot.
type CreateSnapshot struct {
	Name       string   `json:"name"`                 // letters, digits, and _ . - : /
	ImageName  string   `json:"imageName,omitempty"`  // with a tag that is not latest, or a digest
	Build      *Build   `json:"buildInfo,omitempty"`  // in place of ImageName
	Entrypoint []string `json:"entrypoint,omitempty"` // default: the image's own; a build's is in its Dockerfile
	CPU        int      `json:"cpu,omitempty"`        // cores of a sandbox made from it; default: Daytona's
	Memory     int      `json:"memory,omitempty"`     // GiB
	Disk       int      `json:"disk,omitempty"`       // GiB
	Region     string   `json:"regionId,omitempty"`   // default: Config.Target
}

// made reports whether s is what was asked for.
func (asked CreateSnapshot) made(s *Snapshot) bool {
	if asked.Build != nil && s.Build != nil {
		return s.Build.Dockerfile == asked.Build.Dockerfile && slices.Equal(s.Build.Contexts, asked.Build.Contexts)
	}
	return asked.Build == nil && s.Build == nil && s.ImageName == asked.ImageName
}

// CreateSnapshot asks for a snapshot; Ready waits until it can be used, and
// SnapshotLogs has what a build says. A name that is taken is an *Error with
// ReasonConflict. When an answer is lost, what has the name decides.
//
// It calls POST /snapshots.
func (c *Client) CreateSnapshot(ctx context.Context, asked CreateSnapshot) (*Snapshot, error) {
	asked.Region = cmp.Or(asked.Region, c.target)
	r := request{
		op: "create snapshot " + clean(asked.Name), method: http.MethodPost, path: []string{"snapshots"}, body: jsonBody(asked),
		needs: "write:snapshots",
	}
	if asked.Name == "" || (asked.ImageName == "") == (asked.Build == nil) {
		return nil, fault.New(fault.Usage, "%s: it needs a name, and an image or a build", r.op)
	}
	for t := c.trouble(patience); ; {
		var s Snapshot
		err := c.call(ctx, r, &s)
		e, ok := errors.AsType[*Error](err)
		again := t.failed > 0 && is(err, ReasonConflict) // perhaps with ourselves
		switch {
		case err == nil:
			return s.checked(r)
		case !ok || ctx.Err() != nil || !e.unclear() && !again:
			return nil, err
		}
		found, lookErr := c.Snapshot(ctx, asked.Name)
		switch {
		case lookErr == nil && asked.made(found):
			return found, nil
		case lookErr != nil && !notFound(lookErr):
			return nil, lookErr
		case again:
			return nil, err
		}
		if err := t.pause(ctx, e); err != nil {
			return nil, err
		}
	}
}

// Snapshots returns all snapshots that sandboxes can be made from, Daytona's
// own among them, oldest first; it ends after the first error.
//
// It calls GET /snapshots.
func (c *Client) Snapshots(ctx context.Context) iter.Seq2[*Snapshot, error] {
	return func(yield func(*Snapshot, error) bool) {
		for n := 1; ; n++ {
			var page struct {
				Items      []*Snapshot `json:"items"`
				TotalPages int         `json:"totalPages"`
			}
			err := c.call(ctx, request{
				op: "list snapshots", method: http.MethodGet, path: []string{"snapshots"}, safe: true,
				query: url.Values{"page": {strconv.Itoa(n)}, "limit": {"200"}, "sort": {"createdAt"}, "order": {"asc"}},
			}, &page)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page.Items {
				if s != nil && !yield(s, nil) {
					return
				}
			}
			if n >= page.TotalPages || len(page.Items) == 0 {
				return
			}
		}
	}
}

// Snapshot returns the snapshot with a name or id; an *Error with
// ReasonNotFound if there is none.
//
// It calls GET /snapshots/{id}.
func (c *Client) Snapshot(ctx context.Context, name string) (*Snapshot, error) {
	r := request{
		op: "look up snapshot " + clean(name), method: http.MethodGet,
		path: []string{"snapshots", name}, safe: true,
	}
	var s Snapshot
	if err := c.call(ctx, r, &s); err != nil {
		return nil, err
	}
	return s.checked(r)
}

// checked refuses an answer that cannot be used.
func (s *Snapshot) checked(r request) (*Snapshot, error) {
	if s.ID == "" {
		return nil, r.lacks("id")
	}
	return s, nil
}

// DeleteSnapshot asks for a snapshot, by id or name, to be removed, which takes
// seconds. Sandboxes made from it stay. One that is not there is an *Error with
// ReasonNotFound, one of Daytona's own an *Error with ReasonPermission.
//
// It calls DELETE /snapshots/{id}, and GET /snapshots/{id} before, because
// that takes ids only.
func (c *Client) DeleteSnapshot(ctx context.Context, idOrName string) error {
	s, err := c.Snapshot(ctx, idOrName)
	if err != nil {
		return err
	}
	err = c.call(ctx, request{
		op: "delete snapshot " + clean(s.Name), method: http.MethodDelete, path: []string{"snapshots", s.ID}, safe: true,
		needs: "delete:snapshots",
	}, nil)
	if notFound(err) {
		return nil
	}
	return err
}

// askAgain is when activating is asked for again: for ten minutes after it was
// put aside, a snapshot cannot be activated.
const askAgain = time.Minute

// Ready has a snapshot activated if it is inactive, and waits until it is
// active or ctx ends. It fails with an *Error with ReasonSnapshot if the
// snapshot is broken, in its own words; with ReasonPermission if the key may
// not activate it; with ReasonNotFound if it is being removed.
//
// It calls GET /snapshots/{id} and POST /snapshots/{id}/activate.
func (c *Client) Ready(ctx context.Context, name string) error {
	slept, ask := time.Duration(0), time.Duration(0)
	for told := false; ; {
		s, err := c.Snapshot(ctx, name)
		if err != nil {
			return err
		}
		switch s.State {
		case SnapshotActive:
			return nil
		case SnapshotError, SnapshotFailed:
			f := fault.New(fault.Sandbox, "%s", cmp.Or(clean(s.ErrorReason), "Daytona gives no reason")).
				WithHint("make it anew: docs/snapshots.md; --snapshot takes another")
			return standing(ReasonSnapshot, f, "the snapshot "+clean(name)+" is in state "+clean(string(s.State)))
		case SnapshotRemoving:
			f := fault.New(fault.NotFound, "it is being removed").WithHint(hintSnapshot)
			return standing(ReasonNotFound, f, "the snapshot "+clean(name))
		case SnapshotInactive:
			if slept < ask {
				break
			}
			if ask == 0 {
				notice.Tell(ctx, "the snapshot "+clean(name)+" was not used for long and is being activated")
			}
			told, ask = true, slept+askAgain
			if err := c.activate(ctx, s); err != nil {
				return err
			}
			continue
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
	case is(err, ReasonPermission):
		return fault.New(fault.Auth, "the snapshot %s is inactive, and the API key may not activate it: %w", clean(s.Name), err).
			WithHint("activate it in Daytona's dashboard, or give the key write:snapshots")
	case ok && e.Status == http.StatusBadRequest: // somebody else was quicker, or it is too early; its state tells
		return nil
	}
	return err
}
