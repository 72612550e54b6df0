package daytona

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// PreviewTokenHeader carries Preview.Token.
const PreviewTokenHeader = "X-Daytona-Preview-Token"

// MaxSigned is the longest that a SignedPreview may open a port.
const MaxSigned = 24 * time.Hour

// Preview is the way to a port in a sandbox. The API key has no business
// there: it would give the proxy, and whatever listens, more than it needs.
type Preview struct {
	URL   string        // without a slash at its end
	Token secret.String // changes at every start of the sandbox
}

// Preview returns the URL and token of a port. The answer is cached for a
// second by Daytona: right after a start it may still be the one before.
//
// It calls GET /sandbox/{sandboxIdOrName}/ports/{port}/preview-url.
func (c *Client) Preview(ctx context.Context, id string, port int) (Preview, error) {
	r := portRequest(id, port, "preview-url")
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

// SignedPreview opens a port in a sandbox to whoever has the URL.
type SignedPreview struct {
	URL       secret.String // the token is in its host name
	ExpiresAt time.Time     // by this machine's clock; restarts of the sandbox do not change it
}

// SignedPreview makes a URL of a port that needs no token for ttl, between a
// second and MaxSigned, rounded up to seconds.
//
// It calls GET /sandbox/{sandboxIdOrName}/ports/{port}/signed-preview-url.
func (c *Client) SignedPreview(ctx context.Context, id string, port int, ttl time.Duration) (SignedPreview, error) {
	r := portRequest(id, port, "signed-preview-url")
	if ttl <= 0 || ttl > MaxSigned {
		return SignedPreview{}, fault.New(fault.Usage, "%s: %s is not between 1 second and %s", r.op, ttl, MaxSigned)
	}
	seconds := roundUp(ttl, time.Second)
	r.query = url.Values{"expiresInSeconds": {strconv.Itoa(seconds)}}
	asked := c.now()
	var answer struct{ URL string }
	if err := c.call(ctx, r, &answer); err != nil {
		return SignedPreview{}, err
	}
	u, err := c.told(answer.URL)
	if err != nil { // which quotes the URL
		return SignedPreview{}, fault.New(fault.Unavailable, "%s: Daytona answered with an unusable URL", r.op)
	}
	return SignedPreview{URL: secret.New(u.String()), ExpiresAt: asked.Add(time.Duration(seconds) * time.Second)}, nil
}

// portRequest asks for what opens a port.
func portRequest(id string, port int, what string) request {
	return request{
		op: fmt.Sprintf("look up port %d of sandbox %s", port, clean(id)), method: http.MethodGet,
		path: []string{"sandbox", id, "ports", strconv.Itoa(port), what}, safe: true,
	}
}

// roundUp counts the units that d takes.
func roundUp(d, unit time.Duration) int { return int((d + unit - 1) / unit) }
