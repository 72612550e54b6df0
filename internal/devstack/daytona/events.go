package daytona

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// How long a client of the events may be silent: it answers each ping.
const (
	pingEvery = 25 * time.Second
	pongWait  = 20 * time.Second
)

// Packets of Socket.IO 4 on Engine.IO 4, as far as one who only sends needs
// them. What follows the digits is JSON.
const (
	packetOpen       = "0"
	packetClose      = "1"
	packetPing       = "2"
	packetConnect    = "40"
	packetDisconnect = "41"
	packetEvent      = "42"
	packetRefused    = "44"
)

// watcher is one client that hears the events.
type watcher struct {
	packets chan []byte
	leave   context.CancelFunc
}

// move puts a sandbox into a state and tells who listens. The caller holds
// s.mu.
func (s *Server) move(b *sandbox, to state) {
	from := b.State
	b.State = to
	if from != to {
		s.log.Debug("sandbox moves", "sandbox", b.ID, "from", from, "to", to)
		s.publish("sandbox.state.updated", map[string]any{"sandbox": s.view(b), "oldState": from, "newState": to})
	}
}

// publish sends an event to all who listen; one who does not keep up has to
// come again. The caller holds s.mu.
func (s *Server) publish(event string, body any) {
	if len(s.watchers) == 0 {
		return
	}
	packet := packetOf(packetEvent, []any{event, body})
	for w := range s.watchers {
		select {
		case w.packets <- packet:
		default:
			w.leave()
		}
	}
}

func packetOf(kind string, body any) []byte {
	text, _ := json.Marshal(body) // all that is sent is of plain types
	return append([]byte(kind), text...)
}

// serveEvents is what the SDKs listen to while they wait for a state.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		return
	}
	defer s.work.Done()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	me := &watcher{packets: make(chan []byte, 256), leave: cancel}
	if !s.greet(ctx, conn) {
		return
	}
	s.mu.Lock()
	s.watchers[me] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, me)
		s.mu.Unlock()
	}()
	// Whoever reads this misses nothing from now on.
	if send(ctx, conn, packetOf(packetConnect, map[string]string{"sid": rand.Text()})) != nil {
		return
	}
	reading.Go(func() {
		defer cancel()
		for {
			packet, err := receive(ctx, conn, pingEvery+pongWait)
			if err != nil || string(packet) == packetClose || string(packet) == packetDisconnect {
				return
			}
		}
	})
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for packet := []byte(nil); ; {
		select {
		case <-ctx.Done():
			return
		case packet = <-me.packets:
		case <-ping.C:
			packet = []byte(packetPing)
		}
		if send(ctx, conn, packet) != nil {
			return
		}
	}
}

// greet opens the connection and reports whether the client has the API key.
func (s *Server) greet(ctx context.Context, conn *websocket.Conn) (known bool) {
	open := packetOf(packetOpen, map[string]any{
		"sid": rand.Text(), "upgrades": []string{}, "maxPayload": 1_000_000,
		"pingInterval": pingEvery.Milliseconds(), "pingTimeout": pongWait.Milliseconds(),
	})
	if send(ctx, conn, open) != nil {
		return false
	}
	packet, err := receive(ctx, conn, pongWait)
	text, connects := bytes.CutPrefix(packet, []byte(packetConnect))
	if err != nil || !connects {
		return false
	}
	var auth struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(text, &auth) == nil && s.isKey(auth.Token) {
		return true
	}
	_ = send(ctx, conn, packetOf(packetRefused, map[string]string{"message": "Unauthorized"}))
	return false
}

func send(ctx context.Context, conn *websocket.Conn, packet []byte) error {
	ctx, cancel := context.WithTimeout(ctx, pongWait)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, packet)
}

func receive(ctx context.Context, conn *websocket.Conn, within time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, packet, err := conn.Read(ctx)
	return packet, err
}
