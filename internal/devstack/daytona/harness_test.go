package daytona_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// bench is a running server and a client of it that knows nothing but HTTP.
type bench struct {
	*testing.T
	server *daytona.Server
	clock  *clock
	http   *http.Client
	close  func()
}

// clock moves when a test says so, and a little at each look.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.advance(time.Microsecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// serve starts a server; its sandboxes go with the test.
func serve(t *testing.T, opts daytona.Options, with ...func(*daytona.Options)) *bench {
	t.Helper()
	b := &bench{T: t, clock: &clock{now: time.Now()}}
	opts.Now = b.clock.Now
	opts.RemoveOnClose = true
	for _, change := range with {
		change(&opts)
	}
	if len(opts.Snapshots) == 0 {
		// The image's own entrypoint would take the port that tests listen on.
		opts.Snapshots = []daytona.Snapshot{{Name: "dev", Image: image, Entrypoint: []string{"true"}}}
	}
	out := slog.DiscardHandler
	if testing.Verbose() {
		out = slog.NewTextHandler(t.Output(), nil)
	}
	opts.Log = slog.New(transitions{out, t})
	wrap := opts.Wrap
	check := checking(t)
	opts.Wrap = func(next http.Handler) http.Handler {
		if wrap != nil {
			next = wrap(next)
		}
		return check(next)
	}
	server, err := daytona.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.server = server
	transport := &http.Transport{}
	b.http = &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Timeout: time.Minute,
	}
	b.close = sync.OnceFunc(func() {
		transport.CloseIdleConnections()
		if err := server.Close(cleanup(t)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(b.close)
	return b
}

// transitions holds what the log tells of sandboxes against the table of the
// client, for as long as a test's server runs.
type transitions struct {
	slog.Handler
	t *testing.T
}

func (h transitions) Enabled(context.Context, slog.Level) bool { return true }

func (h transitions) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "sandbox moves" {
		states := map[string]client.State{}
		r.Attrs(func(a slog.Attr) bool {
			states[a.Key] = client.State(a.Value.String())
			return true
		})
		if !slices.Contains(states["from"].Follows(), states["to"]) {
			h.t.Errorf("%s does not follow %s", states["to"], states["from"])
		}
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// keep leaves the sandboxes to the next server.
func keep(opts *daytona.Options) { opts.RemoveOnClose = false }

// reply is an answer read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) text(key string) string {
	var object map[string]any
	_ = json.Unmarshal(r.body, &object)
	if object[key] == nil {
		return ""
	}
	return fmt.Sprint(object[key])
}

func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// send makes a request. A body that is no reader is sent as JSON; headers
// come in pairs.
func (b *bench) send(method, url string, body any, headers ...string) reply {
	b.Helper()
	var reader io.Reader
	if o, ok := body.(object); ok && o == nil {
		body = nil
	}
	switch body := body.(type) {
	case nil:
	case io.Reader:
		reader = body
	default:
		data, err := json.Marshal(body)
		if err != nil {
			b.Fatal(err)
		}
		reader = bytes.NewReader(data)
		headers = append([]string{"Content-Type", "application/json"}, headers...)
	}
	request, err := http.NewRequestWithContext(b.Context(), method, url, reader)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.http.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, data}
}

// api calls the API with the key.
func (b *bench) api(method, path string, body any, headers ...string) reply {
	b.Helper()
	headers = append([]string{"Authorization", "Bearer " + b.server.Key()}, headers...)
	return b.send(method, b.server.URL()+path, body, headers...)
}

// toolbox calls a sandbox's toolbox with the key.
func (b *bench) toolbox(method, id, path string, body any, headers ...string) reply {
	b.Helper()
	headers = append([]string{"Authorization", "Bearer " + b.server.Key()}, headers...)
	return b.send(method, strings.TrimSuffix(b.server.URL(), "/api")+"/toolbox/"+id+path, body, headers...)
}

type object = map[string]any

// want fails the test unless the reply has the status and holds the text.
func (b *bench) want(r reply, status int, part string) reply {
	b.Helper()
	if r.status != status || !strings.Contains(string(r.body), part) {
		b.Fatalf("got %d %s; want %d and %q", r.status, r.body, status, part)
	}
	return r
}

// create makes a sandbox and waits until it is started.
func (b *bench) create(request object) string {
	b.Helper()
	if request == nil {
		request = object{}
	}
	id := b.want(b.api("POST", "/sandbox", request), 200, `"state":"creating"`).text("id")
	b.wait(id, "started")
	return id
}

// wait polls until the sandbox has the state.
func (b *bench) wait(id, state string) reply {
	b.Helper()
	var last reply
	b.eventually("state "+state, func() bool {
		last = b.api("GET", "/sandbox/"+id, nil)
		return last.text("state") == state
	})
	return last
}

func (b *bench) eventually(what string, done func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("timed out waiting for %s", what)
		}
		select {
		case <-b.Context().Done():
			b.Fatal(b.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// run executes a command line and returns its exit code and output.
func (b *bench) run(id, line string) (exit int, output string) {
	b.Helper()
	var result struct {
		ExitCode int    `json:"exitCode"`
		Result   string `json:"result"`
	}
	b.want(b.toolbox("POST", id, "/process/execute", object{"command": line}), 200, "").into(b.T, &result)
	return result.ExitCode, result.Result
}

// preview opens a port's preview.
func (b *bench) preview(id string, port int) (url, token string) {
	b.Helper()
	r := b.want(b.api("GET", fmt.Sprintf("/sandbox/%s/ports/%d/preview-url", id, port), nil), 200, id)
	return r.text("url"), r.text("token")
}
