package sandboxd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"
)

// maxStreams bounds the requests that are in the tunnel at once. It is below
// what the host accepts: yamux closes a session in which a stream waits long
// to be accepted.
const maxStreams = 48

// maxWaiting is how many streams may wait for the host to accept them; it
// refuses more. Opening another one then waits.
const maxWaiting = 32

// tunnel is the way to the host: the newest session that it opened, or none.
type tunnel struct {
	patience time.Duration

	mu      sync.Mutex
	session *yamux.Session
	opened  chan struct{} // closed when a session comes, replaced when it is taken
	shut    bool
}

func newTunnel(patience time.Duration) *tunnel {
	return &tunnel{patience: patience, opened: make(chan struct{})}
}

// errNoTunnel is why a request could not be passed on.
var errNoTunnel = errors.New("the host did not open a tunnel in time")

// accept turns the request into a tunnel, replaces the one before, and
// returns when the new one is gone.
func (t *tunnel) accept(w http.ResponseWriter, r *http.Request) error {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return err
	}
	config := yamux.DefaultConfig()
	config.AcceptBacklog = maxWaiting
	config.KeepAliveInterval = 10 * time.Second // how soon a host that vanished is noticed
	config.LogOutput = io.Discard
	session, err := yamux.Client(websocket.NetConn(context.WithoutCancel(r.Context()), socket, websocket.MessageBinary), config)
	if err != nil {
		return errors.Join(err, socket.CloseNow())
	}
	defer session.Close()
	if !t.replace(session) {
		return errShutdown
	}
	select {
	case <-session.CloseChan():
	case <-r.Context().Done():
	}
	return nil
}

// replace makes session the one in use, unless the tunnel was closed for good.
func (t *tunnel) replace(session *yamux.Session) bool {
	t.mu.Lock()
	if t.shut {
		t.mu.Unlock()
		return false
	}
	old := t.session
	t.session = session
	close(t.opened)
	t.opened = make(chan struct{})
	t.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return true
}

// close ends the session and lets no more in.
func (t *tunnel) close() {
	t.mu.Lock()
	session := t.session
	t.session, t.shut = nil, true
	t.mu.Unlock()
	if session != nil {
		_ = session.Close()
	}
}

// dial opens a stream to the host. While there is no session it waits for
// one.
func (t *tunnel) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.patience, errNoTunnel)
	defer cancel()
	for {
		t.mu.Lock()
		session, opened := t.session, t.opened
		t.mu.Unlock()
		if session != nil && !session.IsClosed() {
			if stream, err := session.Open(); err == nil {
				return stream, nil
			}
			_ = session.Close() // it cannot open streams any more
			continue
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// proxy passes every request on to the host as it is, and its answer back as
// it comes. Each has a stream of its own: one that an old tunnel left could
// not be told from a good one before a request is lost on it.
func (t *tunnel) proxy(log *slog.Logger) http.Handler {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) },
		DisableKeepAlives:  true,
		DisableCompression: true,
		MaxConnsPerHost:    maxStreams,
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "host", ""
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn("request not passed on", "path", r.URL.Path, "error", err)
			status := http.StatusBadGateway
			if errors.Is(err, errNoTunnel) {
				status = http.StatusServiceUnavailable
			}
			writeAPIError(w, status, fmt.Sprintf("sandboxd: %v", err))
		},
	}
}

// writeAPIError answers in the shape of the Messages API's errors, which
// Claude Code shows and retries.
func writeAPIError(w http.ResponseWriter, status int, message string) {
	type detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Type  string `json:"type"`
		Error detail `json:"error"`
	}{"error", detail{"api_error", message}})
}
