package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hashicorp/yamux"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// tunnelTo opens a tunnel to a sandbox that does as it likes with it.
func tunnelTo(t *testing.T, sandbox func(net.Conn)) net.Listener {
	t.Helper()
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer socket.CloseNow()
		sandbox(websocket.NetConn(context.Background(), socket, websocket.MessageBinary))
	})
	listener, err := c.Tunnel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func quiet() *yamux.Config {
	config := yamux.DefaultConfig()
	config.AcceptBacklog = maxWaiting
	config.LogOutput = io.Discard
	return config
}

func TestTunnelCarries(t *testing.T) {
	t.Parallel()
	said := make(chan string, 1)
	listener := tunnelTo(t, func(conn net.Conn) {
		session, err := yamux.Client(conn, quiet())
		if err != nil {
			t.Error(err)
			return
		}
		defer session.Close()
		stream, err := session.Open()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(stream, "ping")
		answer := make([]byte, 4)
		_, _ = io.ReadFull(stream, answer)
		said <- string(answer)
	})
	stream, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, 4)
	if _, err := io.ReadFull(stream, heard); err != nil || string(heard) != "ping" {
		t.Errorf("%q, %v", heard, err)
	}
	_, _ = io.WriteString(stream, "pong")
	if got := <-said; got != "pong" {
		t.Errorf("the sandbox heard %q", got)
	}
	// The sandbox is gone now: that is an error of its own kind.
	if _, err := listener.Accept(); !errors.Is(err, ErrCut) || fault.KindOf(err) != fault.Unavailable {
		t.Errorf("after the end: %v", err)
	}
	_ = stream.Close()
	_ = stream.Close() // once more frees nothing
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}

// No more than maxStreams are given out until one is closed.
func TestTunnelBoundsStreams(t *testing.T) {
	t.Parallel()
	listener := tunnelTo(t, func(conn net.Conn) {
		session, err := yamux.Client(conn, quiet())
		if err != nil {
			t.Error(err)
			return
		}
		defer session.Close()
		for {
			if stream, err := session.Open(); err != nil {
				return
			} else if _, err := stream.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	var first net.Conn
	for i := range maxStreams {
		stream, err := listener.Accept()
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if i == 0 {
			first = stream
		}
	}
	next := make(chan error, 1)
	go func() { _, err := listener.Accept(); next <- err }()
	select {
	case err := <-next:
		t.Fatalf("stream %d came: %v", maxStreams+1, err)
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	if err := <-next; err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

func TestTunnelBreaksFloods(t *testing.T) {
	t.Parallel()
	tunnel := tunnelTo(t, func(conn net.Conn) {
		ping := []byte(frame(framePing, flagSYN, 0, 0, ""))
		for {
			if _, err := conn.Write(ping); err != nil {
				return
			}
		}
	})
	<-tunnel.(*listener).session.CloseChan()
	for range 10 {
		if _, err := tunnel.Accept(); !errors.Is(err, ErrCut) || !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	}
}

func TestGuardFollowsFrames(t *testing.T) {
	t.Parallel()
	var stream []byte
	for range maxPings {
		stream = append(stream, frame(framePing, 0, 0, 0, "")...)
		stream = append(stream, frame(frameData, 0, 1, 30, strings.Repeat("x", 30))...)
		stream = append(stream, frame(frameWindow, 0, 1, 1<<20, "")...)
	}
	for _, step := range []int{1, 5, 12, 1000} {
		g, now := &guard{}, time.Now()
		for rest := stream; len(rest) > 0; {
			n := min(step, len(rest))
			if err := g.follow(rest[:n], now); err != nil {
				t.Fatalf("in steps of %d: %v", step, err)
			}
			rest = rest[n:]
		}
		if g.follow([]byte(frame(framePing, 0, 0, 0, "")), now) == nil {
			t.Errorf("in steps of %d: one ping more passed", step)
		}
		if err := g.follow([]byte(frame(framePing, 0, 0, 0, "")), now.Add(time.Minute)); err != nil {
			t.Errorf("a ping after a minute: %v", err)
		}
	}
}
