package daytona

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pingEvery keeps a silent connection from being closed on its way, and is how
// long an answer may take.
const pingEvery = 30 * time.Second

// dial opens a WebSocket, within callTimeout for one attempt. The key goes
// where r goes and nowhere else: redirects are not followed. Messages have no
// limit of their own, because nobody holds a whole one: read them in pieces.
// The caller closes it.
func (c *Client) dial(ctx context.Context, r request) (*websocket.Conn, error) {
	var ws *websocket.Conn
	err := c.repeat(ctx, r, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, r.late(callTimeout))
		defer cancel()
		req, err := c.prepare(ctx, r)
		if err != nil {
			return err
		}
		var resp *http.Response
		//nolint:bodyclose // Dial: "you never need to close resp.Body yourself"
		ws, resp, err = websocket.Dial(ctx, req.URL.String(), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: req.Header})
		switch {
		case err == nil:
			ws.SetReadLimit(-1)
			c.heard(ctx)
			return nil
		case resp != nil && resp.StatusCode >= 300:
			return c.refused(ctx, r, resp)
		case resp != nil && webPage(resp):
			return r.unreadable(ctx, resp, errors.New("the answer is a web page"))
		case resp != nil:
			return r.unreadable(ctx, resp, errors.New("the answer is no WebSocket"))
		}
		return r.unanswered(ctx, err)
	})
	return ws, err
}

// keepAwake pings every so often until the function that it returns is called, which closes
// the connection. One that does not answer as fast is closed earlier, so that
// reading fails, unless idle says that nobody reads: then answers are not seen.
func keepAwake(ctx context.Context, ws *websocket.Conn, every time.Duration, idle func() bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var pinging sync.WaitGroup
	pinging.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ping, done := context.WithTimeout(ctx, every)
			err := ws.Ping(ping)
			done()
			if err != nil && ctx.Err() == nil && !idle() {
				_ = ws.CloseNow()
				return
			}
		}
	})
	return func() {
		cancel()
		_ = ws.CloseNow()
		pinging.Wait()
	}
}
