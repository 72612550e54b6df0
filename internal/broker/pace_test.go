package broker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p, now := &pace{}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range burst {
		if wait := p.delay(now); wait != 0 {
			t.Fatalf("request %d of a burst waits %s", i+1, wait)
		}
	}
	for i, want := range []time.Duration{1, 2, 3} {
		if wait := p.delay(now); wait != want*interval {
			t.Errorf("request %d after a burst waits %s", i+1, wait)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.wait(cancelled, now); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is cancelled waits: %v", err)
	}
	// All four have had their turn by now, and one more request fits.
	now = now.Add(5 * interval)
	if wait := p.delay(now); wait != 0 {
		t.Errorf("after a pause it waits %s", wait)
	}
	if wait := p.delay(now); wait != interval {
		t.Errorf("the next one waits %s", wait)
	}
	now = now.Add(time.Hour)
	for range burst {
		if wait := p.delay(now); wait != 0 {
			t.Errorf("after an hour it waits %s", wait)
		}
	}
	if wait := p.delay(now); wait != interval {
		t.Errorf("an hour is saved up for: %s", wait)
	}
}

// TestPaceHolds: whatever is asked for waits for its turn.
func TestPaceHolds(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(1, 1))
	b := serve(t, Config{Anthropic: up.URL, GitURL: up.URL, Repositories: []string{"octo/shop"}})
	b.pace.next = time.Now().Add(time.Hour)
	for _, call := range []struct{ method, path, body string }{
		{http.MethodPost, "/anthropic/v1/messages", requestBody("")},
		{http.MethodPost, "/anthropic/v1/messages/count_tokens", `{"model":"claude-sonnet-5","messages":[]}`},
		{http.MethodGet, "/git/octo/shop.git/info/refs?service=git-upload-pack", ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, call.method, call.path, strings.NewReader(call.body)))
		if ctx.Err() == nil {
			t.Errorf("%s %s did not wait", call.method, call.path)
		}
		cancel()
	}
	if got := up.requests(); len(got) != 0 {
		t.Errorf("the upstream got %+v", got)
	}
}
