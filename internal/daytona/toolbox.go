package daytona

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Toolbox is Daytona's own server in a sandbox: files and commands, as the
// sandbox's user. What it answers comes from the sandbox and is untrusted.
// Every call counts as activity.
type Toolbox struct {
	c    *Client
	base *url.URL // of the proxy
	id   string   // of the sandbox
	err  error    // of base; every call returns it
}

// Toolbox returns the toolbox of a sandbox that is started. When the sandbox's
// record has no usable address for it, every call fails.
func (c *Client) Toolbox(s *Sandbox) *Toolbox {
	base, err := c.told(s.ToolboxProxyURL)
	if err != nil {
		return &Toolbox{c: c, err: fmt.Errorf("toolbox of sandbox %s: %w", clean(s.ID), err)}
	}
	return &Toolbox{c: c, base: base, id: s.ID}
}

// call is Client.call to this toolbox.
func (t *Toolbox) call(ctx context.Context, r request, out any) error {
	if t.err != nil {
		return t.err
	}
	return t.c.call(ctx, t.route(r), out)
}

// route sends r to this toolbox.
func (t *Toolbox) route(r request) request {
	r.base = t.base
	r.path = append([]string{t.id}, r.path...)
	return r
}

// HomeDir returns the home directory of the sandbox's user.
//
// It calls GET /user-home-dir.
func (t *Toolbox) HomeDir(ctx context.Context) (string, error) {
	r := request{op: "look up the sandbox's home directory", method: http.MethodGet, path: []string{"user-home-dir"}, safe: true}
	var answer struct{ Dir string }
	if err := t.call(ctx, r, &answer); err != nil {
		return "", err
	}
	if absolute(answer.Dir) != nil {
		return "", fault.New(fault.Sandbox, "%s: %q is not an absolute path", r.op, clean(answer.Dir))
	}
	return answer.Dir, nil
}
