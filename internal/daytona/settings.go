package daytona

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// SetLabels replaces all labels of a sandbox.
//
// It calls PUT /sandbox/{sandboxIdOrName}/labels.
func (c *Client) SetLabels(ctx context.Context, id string, labels map[string]string) error {
	if labels == nil {
		labels = map[string]string{} // null is refused
	}
	return c.call(ctx, request{
		op: "label sandbox " + clean(id), method: http.MethodPut, path: []string{"sandbox", id, "labels"},
		body: jsonBody(map[string]any{"labels": labels}), safe: true,
	}, nil)
}

// Intervals say, in minutes, when Daytona does something with a sandbox by
// itself; nil leaves what it is.
type Intervals struct {
	AutoStop    *int // of idleness; 0 never
	AutoArchive *int // after the stop; 0 the server's maximum
	AutoDelete  *int // after the stop; 0 at once, -1 never
}

// SetIntervals sets those that are not nil, one after the other; it ends with
// the first that fails.
//
// It calls POST /sandbox/{sandboxIdOrName}/autostop/{interval},
// POST /sandbox/{sandboxIdOrName}/autoarchive/{interval} and
// POST /sandbox/{sandboxIdOrName}/autodelete/{interval}.
func (c *Client) SetIntervals(ctx context.Context, id string, i Intervals) error {
	for _, one := range []struct {
		name    string
		minutes *int
	}{{"autostop", i.AutoStop}, {"autoarchive", i.AutoArchive}, {"autodelete", i.AutoDelete}} {
		if one.minutes == nil {
			continue
		}
		err := c.call(ctx, request{
			op: "set " + one.name + " of sandbox " + clean(id), method: http.MethodPost,
			path: []string{"sandbox", id, one.name, strconv.Itoa(*one.minutes)}, safe: true,
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// Network says what a sandbox may reach. Without either it is everything that
// the organization's tier allows.
type Network struct {
	BlockAll bool    `json:"networkBlockAll"`
	Domains  Domains `json:"domainAllowList"` // at most ten; empty: no list
}

// missing names the settings, as the API spells them, that s does not have.
func (n Network) missing(s *Sandbox) []string {
	var names []string
	if n.BlockAll && !s.NetworkBlockAll {
		names = append(names, "networkBlockAll")
	}
	if len(n.Domains) > 0 && !n.Domains.same(s.Domains) {
		names = append(names, "domainAllowList")
	}
	return names
}

// SetNetwork replaces what a sandbox may reach, its list of addresses
// included, and returns the sandbox as it then is. Servers ignore settings
// that they do not know: if the sandbox came back without one, SetNetwork
// fails with a fault of kind Sandbox.
//
// It calls POST /sandbox/{sandboxIdOrName}/network-settings.
func (c *Client) SetNetwork(ctx context.Context, id string, n Network) (*Sandbox, error) {
	r := request{
		op: "set the network of sandbox " + clean(id), method: http.MethodPost,
		path: []string{"sandbox", id, "network-settings"}, body: jsonBody(n), safe: true,
	}
	var s Sandbox
	if err := c.call(ctx, r, &s); err != nil {
		return nil, err
	}
	if missing := n.missing(&s); missing != nil {
		return nil, fault.New(fault.Sandbox, "%s: Daytona did not take %s", r.op, strings.Join(missing, " and "))
	}
	return &s, nil
}
