package github

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// window is a login's hour of requests.
type window struct {
	used  int
	reset time.Time
}

// secondary is an injected secondary rate limit.
type secondary struct {
	requests   int // writes that will still be refused
	retryAfter time.Duration
}

// anonymousLimit is GitHub's limit per hour for requests without a token.
const anonymousLimit = 60

// SetRemaining leaves a login this many requests of its hour ("" is those
// without a token).
func (s *Server) SetRemaining(login string, remaining int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window(login).used = s.limit(login) - remaining
}

// SecondaryLimit refuses the next writes as GitHub does when content is made
// too fast; without saying for how long if retryAfter is 0.
func (s *Server) SecondaryLimit(requests int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secondary = secondary{requests, retryAfter}
}

func (s *Server) limit(login string) int {
	if login == "" {
		return min(anonymousLimit, s.opts.RateLimit)
	}
	return s.opts.RateLimit
}

// window is the login's current one; s.mu is held.
func (s *Server) window(login string) *window {
	key := strings.ToLower(login)
	w := s.limits[key]
	if now := s.now(); w == nil || !now.Before(w.reset) {
		w = &window{reset: now.Add(time.Hour)}
		s.limits[key] = w
	}
	return w
}

// spend counts the request against the rate limit, or refuses it.
func (c *call) spend() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	login := c.token.login()
	limit, w := c.s.limit(login), c.s.window(login)
	exhausted := w.used >= limit
	if !exhausted {
		w.used++
	}
	h := c.w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Used", strconv.Itoa(w.used))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(limit-w.used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(w.reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
	switch {
	case exhausted && login == "":
		return refuse(403, "API rate limit exceeded for 127.0.0.1. (But here's the good news: Authenticated requests get a higher rate limit. Check out the documentation for more details.)")
	case exhausted:
		return refuse(403, "API rate limit exceeded for user ID %d.", c.s.user(login).id)
	case c.s.secondary.requests > 0 && c.r.Method != http.MethodGet:
		c.s.secondary.requests--
		if after := c.s.secondary.retryAfter; after > 0 {
			h.Set("Retry-After", strconv.Itoa(int(after.Seconds())))
		}
		return refuse(403, "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. Please retry your request again later.")
	}
	return nil
}

// getRateLimit answers GET /rate_limit, which costs nothing.
func getRateLimit(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	login := c.token.login()
	limit, w := c.s.limit(login), c.s.window(login)
	rate := object{"limit": limit, "used": w.used, "remaining": limit - w.used, "reset": w.reset.Unix()}
	search := object{"limit": 30, "used": 0, "remaining": 30, "reset": w.reset.Unix()}
	return object{"resources": object{"core": rate, "search": search}, "rate": rate}, nil
}
