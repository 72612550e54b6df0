package daytona

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
)

// A connection that never came about did nothing, so even what is never
// repeated otherwise is.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	c, srv, pauses := serve(t, started())
	var fails atomic.Int64
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if fails.Add(1) <= 2 {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("network is unreachable")}
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	t.Cleanup(c.http.CloseIdleConnections)
	if _, err := srv.toolbox(c).Execute(t.Context(), Command{Line: "true"}); err != nil {
		t.Fatal(err)
	}
	if n := len(pauses()); n != 2 {
		t.Errorf("%d pauses", n)
	}
}

func TestPauseEndsWithTheContext(t *testing.T) {
	t.Parallel()
	c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Limited(w, nil) }))
	ctx, cancel := context.WithCancel(t.Context())
	c.sleep = func(ctx context.Context, d time.Duration) error { cancel(); return pause.For(ctx, d) }
	err := c.Start(ctx, id)
	if !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled || !strings.Contains(err.Error(), "Too Many") {
		t.Errorf("got %v of kind %s", err, fault.KindOf(err))
	}
}

func TestLongRetryAfterIsTheCallers(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "900")
		Refuse(w, 429, "too many failed logins")
	}))
	_, err := c.Get(t.Context(), id)
	if e, ok := errors.AsType[*Error](err); !ok || e.RetryAfter != 15*time.Minute || len(srv.seen()) != 1 {
		t.Errorf("got %v after %d requests", err, len(srv.seen()))
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After-sandbox-create", "3", 3 * time.Second},
		{"Retry-After", " 1.5 ", 1500 * time.Millisecond},
		{"Retry-Afterwards", "3", 0},
		{"Retry-After-x", "-3", 0},
		{"Retry-After-x", "NaN", 0},
		{"Retry-After-x", "1e300", 24 * time.Hour},
		{"Retry-After", "Mon, 23 Nov 2026 10:00:00 GMT", 0},
	} {
		h := http.Header{}
		h.Add(tt.name, tt.value)
		h.Add("Retry-After-other", "0")
		if got := retryAfter(h); got != tt.want {
			t.Errorf("%s: %s gives %s, want %s", tt.name, tt.value, got, tt.want)
		}
	}
}

// An attempt that takes too long is given up although the caller has time.
func TestOneStalledAttemptIsOvercome(t *testing.T) {
	t.Parallel()
	for _, safe := range []bool{true, false} {
		var n atomic.Int64
		c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				<-r.Context().Done()
				return
			}
			answer(w, 200, record(Started, Started, ""))
		}))
		var s Sandbox
		r := request{op: "look", method: http.MethodGet, path: []string{"sandbox", id}, safe: safe, timeout: time.Second}
		err := c.call(t.Context(), r, &s)
		switch {
		case safe && (err != nil || s.ID != id):
			t.Errorf("got %v", err)
		case !safe && (fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "within 1s") || n.Load() != 1):
			t.Errorf("got %v after %d requests", err, n.Load())
		}
	}
}
