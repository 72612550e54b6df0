package daytona

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// holdTimeout is for one POST: the server may hold it for 30 s.
const holdTimeout = 90 * time.Second

// CreateSandbox is what is asked of a new sandbox. There is no field for its
// environment: GET /sandbox shows that in clear, and warm pools serve only
// creates without one.
type CreateSandbox struct {
	Name            string            `json:"name"`               // required: by it a lost answer is found
	Labels          map[string]string `json:"labels"`             // required: by them it is known as ours
	Snapshot        string            `json:"snapshot,omitempty"` // id or name; default: the server's
	Target          string            `json:"target,omitempty"`   // region; default: Config.Target
	NetworkBlockAll bool              `json:"networkBlockAll,omitempty"`
	Domains         Domains           `json:"domainAllowList,omitempty"` // at most ten; empty: no list

	// Minutes; nil leaves the server's default (15, 10080, -1).
	AutoStop    *int `json:"autoStopInterval,omitempty"`    // of idleness; 0 never
	AutoArchive *int `json:"autoArchiveInterval,omitempty"` // after the stop; 0 the server's maximum
	AutoDelete  *int `json:"autoDeleteInterval,omitempty"`  // after the stop; 0 at once, -1 never
}

// Ungranted names the settings of asked, as the API spells them, that s does
// not have: servers ignore what they do not know. s must come from Create, Get
// or Wait; items of a list lack fields.
func (s *Sandbox) Ungranted(asked CreateSandbox) []string {
	var names []string
	miss := func(name string, missing bool) {
		if missing {
			names = append(names, name)
		}
	}
	other := func(asked, got *int) bool { return asked != nil && (got == nil || *got != *asked) }
	miss("labels", !carries(s.Labels, asked.Labels))
	names = append(names, Network{asked.NetworkBlockAll, asked.Domains}.missing(s)...)
	miss("autoStopInterval", other(asked.AutoStop, s.AutoStop))
	if asked.AutoArchive != nil && *asked.AutoArchive != 0 {
		miss("autoArchiveInterval", other(asked.AutoArchive, s.AutoArchive))
	}
	miss("autoDeleteInterval", other(asked.AutoDelete, s.AutoDelete))
	return names
}

// Create makes a sandbox, waits until it is at rest, and returns it as it was
// granted (see Ungranted): started, or, if one of this name with our labels
// was there already, in whatever state that rests.
//
// The name is what makes it safe to ask again: Daytona refuses one that is
// taken. After an answer that is lost or a refusal, what stands under the name
// decides. With the same labels it is ours; if broken, it is deleted and made
// again once, and if that breaks too, Create fails with an *Error with
// ReasonSandbox and leaves the second for a look. With other labels another host
// holds the name: a *Held, of kind Conflict.
//
// Create waits for a runner for a quarter of an hour, and for a snapshot that
// is not ready (see Ready) or an image that is pulled until ctx ends.
//
// It calls POST /sandbox, and GET /sandbox/{sandboxIdOrName} before it returns.
func (c *Client) Create(ctx context.Context, asked CreateSandbox) (*Sandbox, error) {
	if asked.Name == "" || len(asked.Labels) == 0 {
		return nil, fault.New(fault.Usage, "create sandbox: it needs a name and labels")
	}
	asked.Target = cmp.Or(asked.Target, c.target)
	outage, runners := c.trouble(patience), c.trouble(runnersPatience)
	replaced, woken := false, false
	for {
		s, err := c.createOrFind(ctx, asked)
		e, ok := errors.AsType[*Error](err)
		switch {
		case err == nil && !s.State.Failed():
			return s, nil
		case err == nil && replaced:
			return nil, s.failure()
		case err == nil:
			c.log.WarnContext(ctx, "broken sandbox is replaced", "sandbox", s.ID, "name", s.Name, "reason", clean(s.ErrorReason))
			// By id: should somebody else have the name by now, theirs stays.
			if err := c.Delete(ctx, s.ID); err != nil {
				return nil, err
			}
			replaced = true
		case !ok || ctx.Err() != nil:
			return nil, err
		case e.Reason == ReasonSnapshot && asked.Snapshot != "" && !woken:
			if err := c.Ready(ctx, asked.Snapshot); err != nil {
				return nil, err
			}
			woken = true
		case e.Reason == ReasonRunners:
			if err := runners.pause(ctx, e); err != nil {
				return nil, err
			}
		case e.unclear() || e.Reason == ReasonConflict:
			// Nothing has the name: the request was lost on its way there, or
			// the name is just becoming free.
			if err := outage.pause(ctx, e); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// createOrFind posts once and returns what then has the name, at rest but
// perhaps broken. If nothing has it, the error is the one that the post met.
func (c *Client) createOrFind(ctx context.Context, asked CreateSandbox) (*Sandbox, error) {
	var made Sandbox
	err := c.call(ctx, request{
		op: "create sandbox " + clean(asked.Name), method: http.MethodPost, path: []string{"sandbox"},
		body: jsonBody(asked), timeout: holdTimeout,
	}, &made)
	if err == nil {
		// The answer is the record as it was at first; what was granted is
		// in the one that is read back.
		return c.poll(ctx, cmp.Or(made.ID, asked.Name), func(s *Sandbox) bool { return s.State.AtRest() })
	}
	e, ok := errors.AsType[*Error](err)
	taken := ok && (e.Status == http.StatusConflict || e.Status == http.StatusBadRequest)
	if !ok || ctx.Err() != nil || !taken && !e.unclear() {
		return nil, err
	}
	found, lookErr := c.Get(ctx, asked.Name)
	switch {
	case notFound(lookErr):
		return nil, err
	case lookErr != nil:
		return nil, lookErr
	case found.State.gone():
		return nil, err
	case !carries(found.Labels, asked.Labels):
		return nil, heldElsewhere(found)
	}
	return c.poll(ctx, found.ID, func(s *Sandbox) bool { return s.State.AtRest() })
}

// Held is why a name can't be had: another host, or another store of this
// one, holds it.
type Held struct{ Sandbox *Sandbox }

// Error says which, and since when.
func (h *Held) Error() string {
	return fmt.Sprintf("sandbox %s was made by another host at %s", clean(h.Sandbox.Name), h.Sandbox.CreatedAt.UTC().Format("2006-01-02 15:04 MST"))
}

func heldElsewhere(found *Sandbox) error {
	return fault.New(fault.Conflict, "%w", &Held{found}).
		WithHint("wait until it is deleted there, or take another name")
}
