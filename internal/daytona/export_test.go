package daytona

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// Hurry gives the client a clock of its own, which its pauses only set on, and
// returns how to read them.
func (c *Client) Hurry() (pauses func() []time.Duration) {
	var mu sync.Mutex
	var slept []time.Duration
	now := time.Now()
	c.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	c.sleep = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		slept, now = append(slept, d), now.Add(d)
		return context.Cause(ctx)
	}
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return append([]time.Duration(nil), slept...)
	}
}

// Refuse answers as Daytona does when it refuses.
func Refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"statusCode": status, "message": message, "error": "Some Error", "path": "/x"})
}

// Limited answers as Daytona does when a rate limit is reached.
func Limited(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Retry-After-sandbox-lifecycle"] = []string{"7"}
	w.Header()["X-RateLimit-Reset-authenticated"] = []string{"99"}
	Refuse(w, 429, "ThrottlerException: Too Many Requests")
}

// Cut answers 200, promises more than it sends, and closes the connection.
func Cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"id":"`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// Outlasts is what an outage may take at least: two minutes and what comes
// after them.
const Outlasts = 150 * time.Second

// Total is how long all pauses took.
func Total(pauses []time.Duration) (sum time.Duration) {
	for _, d := range pauses {
		sum += d
	}
	return sum
}

// ID is the session's.
func (s *Session) ID() string { return s.id }
