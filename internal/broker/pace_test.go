package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// TestPaceHolds: whatever is asked for waits for its turn.
func TestPaceHolds(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(1, 1))
	b := serve(t, Config{Anthropic: up.URL, GitURL: up.URL, Repositories: []string{"octo/shop"}})
	b.pace = &pause.Pace{Interval: time.Hour}
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
