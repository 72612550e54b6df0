package daytona

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Sandbox is a sandbox as Daytona describes it: what was granted, which may be
// less than what was asked. A server that does not know a field leaves it zero.
type Sandbox struct {
	ID             string            `json:"id"`
	OrganizationID string            `json:"organizationId"`
	Name           string            `json:"name"`
	Snapshot       string            `json:"snapshot"`
	User           string            `json:"user"` // whom processes run as
	State          State             `json:"state"`
	DesiredState   State             `json:"desiredState"` // "" on servers that do not say
	ErrorReason    string            `json:"errorReason"`  // as Daytona wrote it, not cleaned
	Recoverable    bool              `json:"recoverable"`
	Labels         map[string]string `json:"labels"`
	Target         string            `json:"target"` // region
	Class          string            `json:"sandboxClass"`
	CPU            float64           `json:"cpu"`    // cores
	Memory         float64           `json:"memory"` // GiB
	Disk           float64           `json:"disk"`   // GiB
	Public         bool              `json:"public"` // previews need no token

	NetworkBlockAll bool    `json:"networkBlockAll"`
	Domains         Domains `json:"domainAllowList"` // empty: no list

	AutoStop    *int `json:"autoStopInterval"`    // minutes of idleness; 0 never
	AutoArchive *int `json:"autoArchiveInterval"` // minutes after the stop
	AutoDelete  *int `json:"autoDeleteInterval"`  // minutes after the stop; 0 at once, negative never

	CreatedAt      Time `json:"createdAt"`
	UpdatedAt      Time `json:"updatedAt"`
	LastActivityAt Time `json:"lastActivityAt"`

	DaemonVersion   string `json:"daemonVersion"`
	ToolboxProxyURL string `json:"toolboxProxyUrl"`
}

// Domains are host names, or wildcards like *.example.com; the API has them as
// one text with commas.
type Domains []string

// MarshalText joins the names with commas.
func (d Domains) MarshalText() ([]byte, error) { return []byte(strings.Join(d, ",")), nil }

// UnmarshalText splits at commas and drops blanks.
func (d *Domains) UnmarshalText(text []byte) error {
	*d = nil
	for name := range strings.SplitSeq(string(text), ",") {
		if name = strings.TrimSpace(name); name != "" {
			*d = append(*d, name)
		}
	}
	return nil
}

// same reports whether both let the same names through.
func (d Domains) same(other Domains) bool {
	return slices.Equal(d.normal(), other.normal())
}

func (d Domains) normal() []string {
	names := strings.Split(strings.ToLower(strings.Join(d, ",")), ",")
	slices.Sort(names)
	return slices.Compact(names)
}

// Time is a time in an answer: zero when it is missing or not RFC 3339.
type Time struct{ time.Time }

// UnmarshalJSON never fails: a date that cannot be read is not worth a run.
func (t *Time) UnmarshalJSON(b []byte) error {
	t.Time = time.Time{}
	var text string
	if json.Unmarshal(b, &text) == nil {
		t.Time, _ = time.Parse(time.RFC3339, text) // zero when it fails
	}
	return nil
}

// Get returns the sandbox with an id or name; an *Error with ReasonNotFound if
// there is none. A sandbox that was deleted has lost its name.
//
// It calls GET /sandbox/{sandboxIdOrName}.
func (c *Client) Get(ctx context.Context, idOrName string) (*Sandbox, error) {
	r := request{
		op: "look up sandbox " + clean(idOrName), method: http.MethodGet,
		path: []string{"sandbox", idOrName}, safe: true,
	}
	var s Sandbox
	if err := c.call(ctx, r, &s); err != nil {
		return nil, err
	}
	if s.ID == "" {
		return nil, r.lacks("id")
	}
	return &s, nil
}

// Filter says which sandboxes List returns. What is empty lets any through.
type Filter struct {
	Labels map[string]string // all of them must be there
	States []State           // one of them
	Name   string            // the name begins so
}

// query is f as the API has it.
func (f Filter) query() (url.Values, error) {
	query := url.Values{
		"limit": {"200"},       // the most that the API allows
		"sort":  {"createdAt"}, // unlike the last activity, by default, it does not change between pages
	}
	if len(f.Labels) > 0 {
		labels, err := json.Marshal(f.Labels)
		if err != nil {
			return nil, err
		}
		query.Set("labels", string(labels))
	}
	for _, state := range f.States {
		query.Add("states", string(state))
	}
	if f.Name != "" {
		query.Set("name", f.Name)
	}
	return query, nil
}

// lets reports whether s is one of those that f is for.
func (f Filter) lets(s *Sandbox) bool {
	return carries(s.Labels, f.Labels) && strings.HasPrefix(s.Name, f.Name) &&
		(len(f.States) == 0 || slices.Contains(f.States, s.State))
}

// List returns the sandboxes that match, page by page; it ends after the first
// error. Daytona's list items lack some fields: Get a sandbox before relying
// on what it was granted. Servers ignore filters that they do not know, so
// each item is held against f here too.
//
// It calls GET /sandbox.
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[*Sandbox, error] {
	return func(yield func(*Sandbox, error) bool) {
		query, err := f.query()
		if err != nil {
			yield(nil, fmt.Errorf("list sandboxes: %w", err))
			return
		}
		seen := map[string]bool{}
		for {
			var page struct {
				Items      []*Sandbox `json:"items"`
				NextCursor string     `json:"nextCursor"`
			}
			r := request{op: "list sandboxes", method: http.MethodGet, path: []string{"sandbox"}, query: query, safe: true}
			if err := c.call(ctx, r, &page); err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page.Items {
				if s != nil && f.lets(s) && !yield(s, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			if seen[page.NextCursor] {
				yield(nil, fault.New(fault.Unavailable, "list sandboxes: Daytona's pages go in a circle"))
				return
			}
			seen[page.NextCursor] = true
			query.Set("cursor", page.NextCursor)
		}
	}
}

// carries reports whether all of want are in labels.
func carries(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Touch posts activity, which starts the count to auto-stop anew. Neither
// processes in the sandbox nor Get do that. It wants the id, not the name. It
// is not repeated: who keeps a sandbox awake comes again in a minute.
//
// It calls POST /sandbox/{sandboxId}/last-activity.
func (c *Client) Touch(ctx context.Context, id string) error {
	return c.call(ctx, request{
		op: "keep sandbox " + clean(id) + " awake", method: http.MethodPost,
		path: []string{"sandbox", id, "last-activity"}, timeout: touchTimeout, hurried: true,
	}, nil)
}
