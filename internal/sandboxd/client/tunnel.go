package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// Bounds of a tunnel, whose other end may be hostile. At most
// (maxLinger+maxWaiting) windows of 256 KiB are held for it.
const (
	maxStreams = 64             // accepted and not closed; sandboxd opens at most 48
	maxWaiting = 32             // opened by the sandbox and not yet accepted: sandboxd counts on as many
	maxLinger  = 2 * maxStreams // with those that the sandbox does not close in its turn
	maxPings   = 10             // in a row that may come faster than one a second
)

// Tunnel opens the tunnel and returns the host's end: Accept gives the
// streams that the sandbox opens, and fails once the tunnel is gone. ctx
// bounds the opening. Close closes the WebSocket and all streams. A newer
// tunnel to the same sandboxd closes this one.
func (c *Client) Tunnel(ctx context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	const path = "/v1/tunnel"
	//nolint:bodyclose // Dial: "you never need to close resp.Body yourself"
	socket, resp, err := websocket.Dial(ctx, strings.TrimSuffix(c.cfg.BaseURL, "/")+path,
		&websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.header()})
	if err != nil {
		if resp != nil && resp.Body != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal(resp, path)
		}
		return nil, wayError(err, path)
	}
	config := yamux.DefaultConfig()
	config.AcceptBacklog = maxWaiting
	config.KeepAliveInterval = 10 * time.Second
	config.StreamCloseTimeout = 30 * time.Second
	config.LogOutput = io.Discard // it would log each malformed frame
	conn := &guard{Conn: websocket.NetConn(context.WithoutCancel(ctx), socket, websocket.MessageBinary), socket: socket}
	session, err := yamux.Server(conn, config)
	if err != nil {
		return nil, errors.Join(err, socket.CloseNow())
	}
	return &listener{session: session, free: make(chan struct{}, maxStreams)}, nil
}

// listener is the host's end of a tunnel.
type listener struct {
	session *yamux.Session
	free    chan struct{} // holds one for each open stream
}

// Accept waits for a stream, and before that for a free place for it.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.session.CloseChan():
		for { // what still waits to be accepted, then why it is closed
			conn, err := l.session.Accept()
			if err != nil {
				return nil, l.gone(err)
			}
			_ = conn.Close()
		}
	}
	conn, err := l.session.Accept()
	if err == nil && l.session.NumStreams() > maxLinger {
		_ = l.Close()
		return nil, broken("it keeps more than %d streams open", maxLinger)
	}
	if err != nil {
		return nil, l.gone(err)
	}
	return &stream{Conn: conn, release: sync.OnceFunc(func() { <-l.free })}, nil
}

func (l *listener) gone(err error) error {
	return fault.New(fault.Unavailable, "tunnel: %w", &causes{ErrCut, err})
}

func (l *listener) Close() error   { return l.session.Close() }
func (l *listener) Addr() net.Addr { return l.session.Addr() }

// stream gives its place free when it is closed.
type stream struct {
	net.Conn
	release func()
}

func (s *stream) Close() error {
	defer s.release()
	return s.Conn.Close()
}

// guard reads yamux's frames as they pass and breaks the tunnel when pings
// come in floods: yamux starts a goroutine for each, which lives for as long
// as the sender does not read.
type guard struct {
	net.Conn
	socket *websocket.Conn

	head   [12]byte // of the frame at hand
	have   int
	body   uint32 // bytes of it still to come
	pings  int
	latest time.Time
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.follow(p[:n], time.Now()); bad != nil {
		return 0, bad
	}
	return n, err
}

// Close ends the connection without waiting for the sandbox to agree.
func (g *guard) Close() error { return g.socket.CloseNow() }

// follow keeps track of frames: 12 bytes of header (version, type, flags,
// stream, length), then length bytes if the type is 0, data; type 2 is a
// ping. See yamux's spec.md.
func (g *guard) follow(p []byte, now time.Time) error {
	for len(p) > 0 {
		if g.body > 0 {
			skip := min(uint32(min(len(p), 1<<30)), g.body)
			g.body -= skip
			p = p[skip:]
			continue
		}
		n := copy(g.head[g.have:], p)
		p = p[n:]
		if g.have += n; g.have < len(g.head) {
			return nil
		}
		g.have = 0
		switch g.head[1] {
		case 0:
			g.body = binary.BigEndian.Uint32(g.head[8:])
		case 2:
			g.pings = max(0, g.pings-int(min(now.Sub(g.latest)/time.Second, maxPings))) + 1
			g.latest = now
			if g.pings > maxPings {
				return fmt.Errorf("%w: a flood of pings", errBroken)
			}
		}
	}
	return nil
}
