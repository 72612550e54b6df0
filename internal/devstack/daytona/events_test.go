package daytona_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// listen opens the event socket with a key, up to the answer to that.
func (b *bench) listen(ctx context.Context, key string) (conn *websocket.Conn, answer string) {
	b.Helper()
	url := strings.Replace(b.server.URL(), "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: b.http})
	if err != nil {
		b.Fatal(err)
	}
	if open := b.packet(ctx, conn); !strings.HasPrefix(open, `0{`) || !strings.Contains(open, `"pingInterval":25000`) {
		b.Errorf("the first packet is %s", open)
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte(`40{"token":"`+key+`"}`)); err != nil {
		b.Fatal(err)
	}
	return conn, b.packet(ctx, conn)
}

func (b *bench) packet(ctx context.Context, conn *websocket.Conn) string {
	b.Helper()
	_, packet, err := conn.Read(ctx)
	if err != nil {
		b.Fatal(err)
	}
	return string(packet)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	ctx, cancel := context.WithTimeout(t.Context(), b.http.Timeout)
	defer cancel()
	stranger, answer := b.listen(ctx, "dtn_wrong")
	if answer != `44{"message":"Unauthorized"}` {
		t.Errorf("a wrong key gets %s", answer)
	}
	if _, packet, err := stranger.Read(ctx); err == nil {
		t.Errorf("a wrong key hears %s", packet)
	}
	conn, answer := b.listen(ctx, b.server.Key())
	if !strings.HasPrefix(answer, `40{"sid":"`) {
		t.Fatalf("the key gets %s", answer)
	}
	id := b.create(nil)
	b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "stopping")
	b.wait(id, "stopped")
	b.want(b.api("DELETE", "/sandbox/"+id, nil), 200, "destroying")

	var heard []string
	for !slices.Contains(heard, "destroying>destroyed") {
		text, isEvent := strings.CutPrefix(b.packet(ctx, conn), "42")
		if !isEvent {
			continue
		}
		var event [2]json.RawMessage
		var body struct {
			ID, State, OldState, NewState string
			Sandbox                       struct{ ID, State string }
		}
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := json.Unmarshal(event[1], &body); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch name := string(event[0]); {
		case name == `"sandbox.created"` && body.ID == id:
			heard = append(heard, body.State)
		case name == `"sandbox.state.updated"` && body.Sandbox.ID == id && body.Sandbox.State == body.NewState:
			heard = append(heard, body.OldState+">"+body.NewState)
		default:
			t.Errorf("unexpected event %s", text)
		}
	}
	want := []string{"creating", "creating>started", "started>stopping", "stopping>stopped", "stopped>destroying", "destroying>destroyed"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte("41")); err != nil {
		t.Error(err)
	}
	if _, _, err := conn.Read(ctx); err == nil {
		t.Error("the connection stays open after the client left")
	}
}
