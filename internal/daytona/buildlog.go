package daytona

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

const (
	maxBuild    = 2 * time.Hour // that SnapshotLogs follows
	maxBuildLog = 64 << 20      // bytes
)

// SnapshotLogs follows what the build of a snapshot, by id or name, writes,
// until the build ended, ctx did, or after two hours or 64 MiB. Daytona may
// cut it before: the snapshot's state tells how the build went (see Ready). A
// snapshot that was not built is an *Error with ReasonNotFound. The text is
// untrusted. The caller closes it.
//
// It calls GET /snapshots/{id} and GET /snapshots/{id}/build-logs-url, then
// that URL, with the API key: only on the server of the API or of the proxies
// in GET /config, never on a host below those, which would be a sandbox's.
func (c *Client) SnapshotLogs(ctx context.Context, idOrName string) (io.ReadCloser, error) {
	s, err := c.Snapshot(ctx, idOrName) // what follows takes ids only
	if err != nil {
		return nil, err
	}
	r := request{
		op: "follow the build of snapshot " + clean(s.Name), method: http.MethodGet,
		path: []string{"snapshots", s.ID, "build-logs-url"}, timeout: holdTimeout, safe: true,
	}
	var answer struct{ URL string }
	if err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	logs, err := c.trusted(ctx, answer.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	return c.stream(ctx, request{
		op: r.op, base: logs, method: http.MethodGet, query: url.Values{"follow": {"true"}}, timeout: maxBuild, safe: true,
	}, maxBuildLog)
}

// trusted checks a URL that the API answered with, and that is on a server
// which gets the API key anyway.
func (c *Client) trusted(ctx context.Context, raw string) (*url.URL, error) {
	u, err := c.told(raw)
	if err != nil || sameOrigin(u, c.base) {
		return u, err
	}
	cfg, err := c.Config(ctx)
	if err != nil {
		return nil, err
	}
	known := func(proxy string) bool {
		p, err := c.told(proxy)
		return err == nil && sameOrigin(u, p)
	}
	if !slices.ContainsFunc(cfg.proxies(), known) {
		return nil, fault.New(fault.Unavailable, "Daytona answered with a URL at %s, which is none of its own servers", clean(u.Host))
	}
	return u, nil
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
