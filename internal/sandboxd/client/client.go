// Package client is the host's side of sandboxd: it gives tasks, reads what
// comes of them, and holds the host's end of the tunnel.
//
//	c := client.New(client.Config{BaseURL: preview.URL, Preview: preview.Token, Token: token})
//	health, err := c.Health(ctx)
//	listener, err := c.Tunnel(ctx) // serve the broker on it
//	status, err := c.CreateTask(ctx, task)
//	err = c.Events(ctx, task.ID, lastSeen, func(e api.Event) error { … })
//
// The sandbox is not trusted: every answer is bounded, decoded strictly and
// held to the limits that package api states; what is longer is cut, what is
// of another shape is an error of kind fault.Sandbox. Text is not cleaned for
// terminals here.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// What a request met on its way, for errors.Is. The preview proxy answers for
// a sandbox that cannot.
var (
	ErrUnauthorized = errors.New("the preview token is not valid any more")     // proxy, 307: fetch a new one
	ErrNotStarted   = errors.New("the sandbox is not started")                  // proxy, 400
	ErrNotListening = errors.New("no sandboxd listens in the sandbox")          // proxy, 502; or refused
	ErrClaim        = errors.New("sandboxd does not accept this run's token")   // sandboxd, 401: write the claim file again
	ErrCut          = errors.New("the connection to the sandbox broke")         // what was under way can be resumed
	errBroken       = errors.New("the sandbox sent something it must not send") // never retried
)

// Time-outs of calls that are not streams, and bounds of answers.
const (
	callTimeout  = 30 * time.Second
	bulkTimeout  = 15 * time.Minute // changeset: the sandbox first makes it
	quietTimeout = time.Minute      // a stream that is silent for longer is cut: sandboxd pulses every 15 s
	maxAnswer    = 1 << 20
)

// Config says where sandboxd is and what opens the way to it.
type Config struct {
	BaseURL string        // preview URL, or http://host:port
	Preview secret.String // x-daytona-preview-token; none without a proxy
	Token   secret.String // whose hash is in the claim file
	HTTP    *http.Client  // nil: one with defaults. Its redirects and Timeout are not used
	Log     *slog.Logger
}

// Client talks to one sandboxd. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
}

// New makes a client; it sends nothing.
func New(cfg Config) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	hc := http.Client{}
	if cfg.HTTP != nil {
		hc = *cfg.HTTP
	}
	hc.Timeout = 0 // streams; each call has a context with its own
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg: cfg, http: &hc}
}

// Health asks whether sandboxd is there, which it is without a token.
func (c *Client) Health(ctx context.Context) (health api.Health, err error) {
	err = c.call(ctx, http.MethodGet, "/healthz", nil, &health)
	health.Version, health.Instance = cut(health.Version, maxWord), cut(health.Instance, maxWord)
	return health, err
}

// CreateTask starts a task. It may be repeated: the same task is found again.
// A different task of the same id, or another one under way, is
// fault.Conflict.
func (c *Client) CreateTask(ctx context.Context, task api.Task) (api.Status, error) {
	body, err := json.Marshal(task)
	if err != nil {
		return api.Status{}, err
	}
	return c.status(ctx, http.MethodPost, "/v1/tasks", body, task.ID)
}

// Task asks how a task stands; fault.NotFound if there is none.
func (c *Client) Task(ctx context.Context, id string) (api.Status, error) {
	return c.status(ctx, http.MethodGet, taskPath(id, ""), nil, id)
}

// Cancel asks a task to end; Events tell when it did.
func (c *Client) Cancel(ctx context.Context, id string) (api.Status, error) {
	return c.status(ctx, http.MethodPost, taskPath(id, "cancel"), nil, id)
}

func (c *Client) status(ctx context.Context, method, path string, body []byte, id string) (api.Status, error) {
	var status api.Status
	if err := c.call(ctx, method, path, body, &status); err != nil {
		return api.Status{}, err
	}
	if status.ID != id {
		return api.Status{}, broken("%s is about task %q", path, cut(status.ID, maxWord))
	}
	return status, checkStatus(&status)
}

// Transcript copies Claude's session to w. More than maxBytes is an error,
// after that much was written; fault.NotFound if Claude never began one.
func (c *Client) Transcript(ctx context.Context, id string, w io.Writer, maxBytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, taskPath(id, "transcript"), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, io.LimitReader(resp.Body, maxBytes))
	if err != nil {
		return wayError(err, "transcript")
	}
	if n == maxBytes {
		if extra, _ := resp.Body.Read(make([]byte, 1)); extra > 0 {
			return broken("transcript: more than %d bytes", maxBytes)
		}
	}
	return nil
}

func taskPath(id, part string) string {
	path := "/v1/tasks/" + url.PathEscape(id)
	if part != "" {
		path += "/" + part
	}
	return path
}

// call sends a request and decodes its bounded answer.
func (c *Client) call(ctx context.Context, method, path string, body []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return wayError(err, path)
	case len(data) > maxAnswer:
		return broken("%s: more than %d bytes", path, maxAnswer)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return broken("%s: %v", path, err)
	}
	return nil
}

// send returns an answer of 200; anything else is an error.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.cfg.BaseURL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, fault.New(fault.Usage, "sandboxd: %w", err)
	}
	req.Header = c.header()
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, wayError(err, path)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refusal(resp, path)
	}
	return resp, nil
}

func (c *Client) header() http.Header {
	h := http.Header{"X-Daytona-Skip-Preview-Warning": {"true"}}
	if !c.cfg.Token.IsZero() {
		h.Set("Authorization", "Bearer "+c.cfg.Token.Reveal())
	}
	if !c.cfg.Preview.IsZero() {
		h.Set("X-Daytona-Preview-Token", c.cfg.Preview.Reveal())
	}
	return h
}

// wayError is a request that got no answer, or half of one. The URL is left
// out: it names the sandbox's public address.
func wayError(err error, path string) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("sandboxd %s: %w", path, err)
	}
	why := ErrCut
	if errors.Is(err, syscall.ECONNREFUSED) {
		why = ErrNotListening
	}
	return fault.New(fault.Unavailable, "sandboxd %s: %w", path, &causes{why, err})
}

// causes is a condition with the error that it was known by.
type causes struct{ condition, err error }

func (c *causes) Error() string   { return c.condition.Error() + ": " + c.err.Error() }
func (c *causes) Unwrap() []error { return []error{c.condition, c.err} }

// refusal is the error for an answer other than 200: sandboxd's own, or the
// preview proxy's.
func refusal(resp *http.Response, path string) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var said api.Error
	own := json.Unmarshal(data, &said) == nil && said.Kind != "" && said.Message != ""
	message := cut(said.Message, maxMessage)
	switch {
	case own && resp.StatusCode == http.StatusUnauthorized:
		return fault.New(fault.Auth, "sandboxd %s: %w: %s", path, ErrClaim, message)
	case own && resp.StatusCode == http.StatusNotFound:
		return fault.New(fault.NotFound, "sandboxd %s: %s", path, message)
	case own && resp.StatusCode == http.StatusConflict:
		return fault.New(fault.Conflict, "sandboxd %s: %s", path, message)
	case own && said.Kind == "disk_full":
		return fault.New(fault.Sandbox, "the sandbox's disk is full: %s", message).
			WithHint("`--new` begins with another sandbox; --snapshot takes one with a larger disk: docs/snapshots.md")
	case own:
		return fault.New(fault.Sandbox, "sandboxd %s: %s", path, message)
	case resp.StatusCode == http.StatusTemporaryRedirect, resp.StatusCode == http.StatusUnauthorized:
		return fault.New(fault.Auth, "sandboxd %s: %w (%d)", path, ErrUnauthorized, resp.StatusCode)
	case resp.StatusCode == http.StatusBadRequest:
		return fault.New(fault.Sandbox, "sandboxd %s: %w (400)", path, ErrNotStarted).
			WithHint("run the command again: it starts the sandbox")
	case resp.StatusCode == http.StatusBadGateway:
		return fault.New(fault.Unavailable, "sandboxd %s: %w (502)", path, ErrNotListening)
	case resp.StatusCode < http.StatusBadRequest: // neither sandboxd nor the proxy says that
		return broken("%s: answered %d", path, resp.StatusCode)
	}
	return fault.New(fault.Unavailable, "sandboxd %s: answered %d", path, resp.StatusCode)
}

// broken is an answer of a shape that sandboxd does not send. What the sandbox
// sent may stand in the arguments, at any length.
func broken(format string, args ...any) error {
	return fault.New(fault.Sandbox, "sandboxd: %w: %s", errBroken, cut(fmt.Sprintf(format, args...), maxMessage)).
		WithHint("the sandbox may have been tampered with: `dayclaude runs logs` shows what was done in it, `--new` begins with another")
}
