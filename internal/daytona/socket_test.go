package daytona

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A connection that answers no ping is closed, unless nobody reads from it.
func TestKeepAwake(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]bool{"read from": false, "not read from": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pings, speak := make(chan struct{}, 1000), make(chan struct{})
			_, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
					pings <- struct{}{}
					return false // no answer
				}})
				if err != nil {
					t.Error(err)
					return
				}
				defer ws.CloseNow()
				ctx := ws.CloseRead(r.Context())
				select {
				case <-speak:
					_ = ws.Write(ctx, websocket.MessageText, []byte("hi"))
				case <-ctx.Done():
				}
				<-ctx.Done()
			}))
			ws, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{HTTPClient: srv.Client()})
			if err != nil {
				t.Fatal(err)
			}
			defer keepAwake(t.Context(), ws, 5*time.Millisecond, func() bool { return idle })()
			<-pings
			if idle {
				<-pings // so the first one's silence was forgiven
				close(speak)
			}
			if _, _, err := ws.Read(t.Context()); idle != (err == nil) {
				t.Errorf("read: %v", err)
			}
		})
	}
}
