// Package daytona is the one client of Daytona: its API, and the toolbox that
// runs in each sandbox.
//
//	c, err := daytona.New(daytona.Config{Key: key})
//	s, err := c.Create(ctx, daytona.CreateSandbox{Name: name, Labels: ours})
//	home, err := c.Toolbox(s).HomeDir(ctx)
//
// The same code talks to Daytona's cloud, to a self-hosted Daytona and to the
// embedded one; only the base URL differs. What is safe to repeat is repeated
// here. A call that fails returns an *Error, which says the reason and wraps a
// *fault.Error with kind and hint; when the caller's context ended, the *Error
// wraps the context's error and its cause instead. A call that cannot be made,
// because of its arguments, is a fault of kind Usage. What a call waits for is
// told through package notice. Operations are named as in Daytona's OpenAPI
// documents.
//
// Answers are decoded leniently, because servers of several ages are in use:
// unknown fields are ignored and missing ones stay zero. Texts in them are
// untrusted; those that end up in errors are cleaned and cut.
package daytona

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// DefaultURL is the base URL of Daytona's cloud.
const DefaultURL = "https://app.daytona.io/api"

// protocolVersion is the version of Daytona's API that this client was written
// against. The toolbox changes some answers by it, so it is fixed.
const protocolVersion = "0.205.1"

const (
	callTimeout     = 60 * time.Second // one attempt of an ordinary call
	transferTimeout = 10 * time.Minute // one attempt to move files
	touchTimeout    = 10 * time.Second // Touch

	maxAnswer  = 8 << 20  // bytes of an answer that is decoded
	maxRefusal = 64 << 10 // bytes of an error's body that are read
)

// Config is what a Client needs. Only Key must be set.
type Config struct {
	BaseURL string        // default DefaultURL
	Key     secret.String // API key; it goes to BaseURL and the toolbox's proxy, nowhere else
	Target  string        // region of new sandboxes and snapshots; default: the organization's
	Version string        // of dayclaude, for the User-Agent
	HTTP    *http.Client  // default http.DefaultClient; its CheckRedirect and Timeout are not used
	Log     *slog.Logger  // default: none
}

// Client calls Daytona. It is safe for concurrent use.
type Client struct {
	base   *url.URL
	key    func() string // not the secret itself: fmt would print it from a field that is not exported
	target string
	agent  string
	http   *http.Client
	log    *slog.Logger

	answered atomic.Bool // once at least: the URL is right

	now   func() time.Time
	sleep func(context.Context, time.Duration) error // returns the context's cause when it ends first
}

// New makes a client; it sends nothing. A missing key is a fault of kind Auth,
// an unusable URL one of kind Usage.
func New(cfg Config) (*Client, error) {
	if cfg.Key.IsZero() {
		return nil, fault.New(fault.Auth, "no Daytona API key").WithHint(hintKey)
	}
	base, err := parseBase(cmp.Or(cfg.BaseURL, DefaultURL))
	if err != nil {
		return nil, fault.New(fault.Usage, "Daytona's API URL: %w", err).WithHint(hintURL)
	}
	hc := *cmp.Or(cfg.HTTP, http.DefaultClient)
	hc.Timeout = 0 // each call has its own
	// A redirect would carry the key elsewhere; and from Daytona's proxy it
	// means "log in first", which is an answer.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		base:   base,
		key:    cfg.Key.Reveal,
		target: cfg.Target,
		agent:  "dayclaude/" + cmp.Or(cfg.Version, "dev"),
		http:   &hc,
		log:    cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		now:    time.Now,
		sleep:  pause.For,
	}, nil
}

// parseBase reads a URL that paths can be appended to.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(raw, "/"))
	switch {
	case err != nil:
		return nil, errors.New("not a URL") // url's own error quotes it, with any password
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("%q is not an http or https URL", clean(u.Redacted()))
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%q has more than scheme, host and path", clean(u.Scheme+"://"+u.Host))
	}
	return u, nil
}

// told checks a URL that the API answered with, before anything secret is sent
// there: a channel that began encrypted stays so.
func (c *Client) told(raw string) (*url.URL, error) {
	u, err := parseBase(raw)
	if err == nil && c.base.Scheme == "https" && u.Scheme != "https" {
		err = fmt.Errorf("%q is not encrypted", clean(raw))
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "Daytona answered with an unusable URL: %w", err)
	}
	return u, nil
}

// region is the query of calls that are about a region.
func (c *Client) region() url.Values {
	if c.target == "" {
		return nil
	}
	return url.Values{"regionId": {c.target}}
}

// request is one call. Every attempt of it sends the same bytes.
type request struct {
	op      string   // what is attempted, on what: begins the error's text
	base    *url.URL // default: the API's
	method  string
	path    []string // segments, not escaped; none may be empty
	query   url.Values
	body    func() (io.Reader, int64, error) // nil: none
	mime    string                           // of the body; default JSON
	timeout time.Duration                    // of one attempt; default callTimeout
	safe    bool                             // repeating it does no harm
	hurried bool                             // it is not worth repeating
	keyless bool                             // it needs no key
	needs   string                           // permissions of the key, if others than what hintPermissions says
	quiet   time.Duration                    // of stream: how long a Read may wait; default: for ever
	hide    func() string                    // a secret that is sent, kept out of errors; may be nil
}

// jsonBody is a body for request.
func jsonBody(v any) func() (io.Reader, int64, error) {
	return func() (io.Reader, int64, error) {
		b, err := json.Marshal(v)
		return bytes.NewReader(b), int64(len(b)), err
	}
}

// call sends r, repeats it where that is safe, and decodes the answer into out
// unless out is nil. An answer that cannot be decoded is an *Error with the
// answer's own (good) status.
func (c *Client) call(ctx context.Context, r request, out any) error {
	r.base = cmp.Or(r.base, c.base)
	return c.repeat(ctx, r, func() error {
		limit := cmp.Or(r.timeout, callTimeout)
		ctx, cancel := context.WithTimeoutCause(ctx, limit, r.late(limit))
		defer cancel()
		resp, err := c.open(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		switch {
		case webPage(resp): // not even Daytona
			return r.unreadable(ctx, resp, errors.New("the answer is a web page"))
		case err != nil && out != nil:
			return r.unreadable(ctx, resp, fmt.Errorf("the answer was cut: %w", err))
		case out == nil: // the status said it all
			c.heard(ctx)
			return nil
		case len(b) > maxAnswer:
			return r.unreadable(ctx, resp, fmt.Errorf("the answer is larger than %d bytes", maxAnswer))
		}
		if err := json.Unmarshal(b, out); err != nil {
			return r.unreadable(ctx, resp, fmt.Errorf("the answer is not what the API documents: %w", err))
		}
		c.heard(ctx)
		return nil
	})
}

// open makes one attempt and returns a good answer with its body open.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	req, err := c.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if source, ok := errors.AsType[*sourceError](err); ok {
		return nil, fmt.Errorf("%s: %w", r.op, source)
	}
	if err != nil {
		return nil, r.unanswered(ctx, err)
	}
	c.log.DebugContext(ctx, "daytona answered", "op", r.op, "method", r.method, "path", r.route(), "status", resp.StatusCode)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, c.refused(ctx, r, resp)
	}
	return resp, nil
}

// prepare makes r's HTTP request.
func (c *Client) prepare(ctx context.Context, r request) (*http.Request, error) {
	segments := make([]string, len(r.path))
	for i, s := range r.path {
		if s == "" || s == "." || s == ".." {
			// DELETE /sandbox/ with nothing behind it would be another call.
			return nil, fault.New(fault.Usage, "%s: empty or relative name", r.op)
		}
		segments[i] = url.PathEscape(s)
	}
	u := r.base.JoinPath(segments...)
	u.RawQuery = r.query.Encode()

	var body io.Reader
	var size int64
	if r.body != nil {
		var err error
		if body, size, err = r.body(); err != nil {
			return nil, fmt.Errorf("%s: %w", r.op, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	req.ContentLength = size
	if body != nil {
		req.Header.Set("Content-Type", cmp.Or(r.mime, "application/json"))
	}
	req.Header.Set("Accept", "application/json, */*;q=0.1")
	if !r.keyless {
		req.Header.Set("Authorization", "Bearer "+c.key())
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("X-Daytona-Source", "dayclaude")
	req.Header.Set("X-Daytona-SDK-Version", protocolVersion)
	return req, nil
}

// heard notes that Daytona answered a call.
func (c *Client) heard(ctx context.Context) {
	c.answered.Store(true)
	notice.Back(ctx, service, c.now())
}

// route is the path below the base URL, as logs and errors show it.
func (r request) route() string { return clean("/" + strings.Join(r.path, "/")) }
