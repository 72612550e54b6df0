package daytona

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// PreviewTokenHeader carries Preview.Token.
const PreviewTokenHeader = "X-Daytona-Preview-Token"

// Preview is the way to a port in a sandbox. The API key has no business
// there: it would give the proxy, and whatever listens, more than it needs.
type Preview struct {
	URL   string        // without a slash at its end
	Token secret.String // changes at every start of the sandbox
}

// Preview returns the URL and token of a port. The answer is cached for a
// second by Daytona: right after a start it may still be the one before.
func (c *Client) Preview(ctx context.Context, id string, port int) (Preview, error) {
	r := request{
		op: fmt.Sprintf("look up port %d of sandbox %s", port, clean(id)), method: http.MethodGet,
		path: []string{"sandbox", id, "ports", strconv.Itoa(port), "preview-url"}, safe: true,
	}
	var answer struct{ URL, Token string }
	if err := c.call(ctx, r, &answer); err != nil {
		return Preview{}, err
	}
	u, err := c.told(answer.URL)
	if err != nil {
		return Preview{}, fmt.Errorf("%s: %w", r.op, err)
	}
	return Preview{URL: u.String(), Token: secret.New(answer.Token)}, nil
}
