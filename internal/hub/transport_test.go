package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestNew(t *testing.T) {
	t.Parallel()
	tests := []struct{ url, want string }{
		{"", "https://api.github.com/"},
		{"https://ghe.example.com/api/v3", "https://ghe.example.com/api/v3/"},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080/"},
		{"http://[::1]:1/", "http://[::1]:1/"},
		{"http://localhost:1/x/", "http://localhost:1/x/"},
		{"http://ghe.example.com/", ""},
		{"https://ghp_canary0123456789@api.github.com/", ""},
		{"https://api.github.com/?token=ghp_canary0123456789", ""},
		{"ftp://127.0.0.1/", ""},
		{"api.github.com", ""},
		{"https://\x7f", ""},
	}
	for _, tt := range tests {
		c, err := New(Config{APIURL: tt.url, Token: secret.New(canary)})
		switch {
		case tt.want == "" && fault.KindOf(err) != fault.Usage:
			t.Errorf("New(%q) = %v, want a usage fault", tt.url, err)
		case err != nil && strings.Contains(err.Error(), canary):
			t.Errorf("New(%q) shows the token: %v", tt.url, err)
		case tt.want != "" && (err != nil || c.base.String() != tt.want):
			t.Errorf("New(%q) = %v, want %s", tt.url, err, tt.want)
		}
	}
}

func TestTokenTravelsInTheHeaderOnly(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	if _, err := c.Viewer(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.requests("GET /user")[0]
	if got := r.Header.Get("Authorization"); got != "Bearer "+canary {
		t.Errorf("Authorization is %q", got)
	}
	if got := r.Header.Get("User-Agent"); got != agent {
		t.Errorf("User-Agent is %q", got)
	}
}

func redirect(status int, to string) http.HandlerFunc {
	return answer(status, map[string]string{"Location": to}, `{"message":"Moved Permanently"}`)
}

func TestMovedRepository(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("GET /repos/old/name", redirect(301, "/repositories/7"))
	s.mu.Lock()
	s.answers["GET /repositories/7"] = s.answers["GET "+at]
	s.mu.Unlock()
	var told []string
	r, err := c.Repository(notice.With(t.Context(), func(text string) { told = append(told, text) }), "old", "name")
	if err != nil || r.ID != 7 || r.FullName() != "acme/shop" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(told) != 1 || told[0] != "old/name was moved: it is acme/shop now" {
		t.Errorf("told %q", told)
	}
	if r := s.requests("GET /repositories/7")[0]; r.Header.Get("Authorization") == "" {
		t.Error("the redirect lost the token")
	}
}

func TestRedirectToAnotherHost(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.UserAgent() == agent {
			t.Errorf("the other host got %s with %q", r.URL, r.Header)
		}
	}))
	t.Cleanup(other.Close)
	s.on("GET "+at, redirect(302, other.URL+"/repos/acme/shop"))
	if _, err := c.Repository(t.Context(), "acme", "shop"); fault.KindOf(err) != fault.Failed || !errors.Is(err, errRedirect) {
		t.Fatalf("got %v", err)
	}
	if n := s.count("GET " + at); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestRedirectsWithoutEnd(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("GET /user", redirect(302, "/user"))
	if _, err := c.Viewer(t.Context()); fault.KindOf(err) != fault.Failed || !errors.Is(err, errRedirect) {
		t.Fatalf("got %v", err)
	}
	if n := s.count("GET /user"); n != maxRedirects+1 {
		t.Errorf("followed %d redirects", n-1)
	}
}

func TestRedirectedWrite(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	// 301: following it would turn the edit into a GET of the comment.
	s.on("PATCH "+at+"/issues/comments/5", redirect(301, "/repositories/7/issues/comments/5"))
	if _, _, err := c.Comment(t.Context(), shop, 42, 5, ownMarker, "x"); fault.KindOf(err) != fault.Conflict {
		t.Fatalf("got %v", err)
	}
	// 307: the write itself moves.
	s.on("PATCH "+at+"/issues/comments/5", redirect(307, "/repositories/7/issues/comments/5"))
	s.on("PATCH /repositories/7/issues/comments/5", answer(200, nil, ourComment))
	if _, _, err := c.Comment(t.Context(), shop, 42, 5, ownMarker, "x"); err != nil {
		t.Fatal(err)
	}
	if got := s.last("PATCH /repositories/7/issues/comments/5")["body"]; got != "x\n\n"+ownMarker {
		t.Errorf("sent %q", got)
	}
}

// endless answers with a status and bytes until the client hangs up.
func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, `{"login":"`)
		for chunk := strings.Repeat("a", 1<<16); r.Context().Err() == nil; {
			io.WriteString(w, chunk)
		}
	}
}

func TestAnswerWithoutEnd(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	c.http.Transport.(*transport).most = 1 << 20
	s.on("GET /user", endless(200))
	if _, err := c.Viewer(t.Context()); fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "too large") {
		t.Fatalf("got %v", err)
	}
	// The server's Close, at the end, waits for the handlers: the client must
	// have hung up on each.
	s.on("GET /user", endless(418))
	if _, err := c.Viewer(t.Context()); status(err) != 418 {
		t.Fatalf("got %v", err)
	}
}

// TestClockSkew has a machine whose clock is an hour off, either way: the limit
// is GitHub's to time.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		s, c := setup(t)
		github := s.now().Add(skew)
		limited := answer(403, map[string]string{
			"Date": github.UTC().Format(http.TimeFormat), "X-RateLimit-Remaining": "0",
			"X-RateLimit-Reset": strconv.FormatInt(github.Unix()+40, 10),
		}, `{"message":"API rate limit exceeded for user ID 1."}`)
		s.on("GET /user", inTurn(limited, answer(200, nil, `{"login":"robin"}`)))
		var told []string
		ctx := notice.With(t.Context(), func(text string) { told = append(told, text) })
		if _, err := c.Viewer(ctx); err != nil {
			t.Fatal(err)
		}
		if len(s.slept) != 1 || s.slept[0] < 38*time.Second || s.slept[0] > 41*time.Second {
			t.Errorf("a clock that is %s off waited %v", -skew, s.slept)
		}
		if len(told) != 1 || !strings.Contains(told[0], "GitHub's rate limit is reached until ") {
			t.Errorf("told %q", told)
		}
	}
}

func limitedUntil(until time.Time) http.HandlerFunc {
	return answer(403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": strconv.FormatInt(until.Unix(), 10)},
		`{"message":"API rate limit exceeded for user ID 1."}`)
}

func TestLongRateLimit(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	until := s.now().Add(20 * time.Minute).Truncate(time.Second)
	s.on("GET /user", limitedUntil(until))
	_, err := c.Viewer(t.Context())
	var limit *RateLimit
	if fault.KindOf(err) != fault.Quota || !errors.As(err, &limit) || limit.Until.Sub(until).Abs() > time.Second || limit.Secondary {
		t.Fatalf("got %v", err)
	}
	if want := limit.Until.UTC().Format("15:04:05 UTC"); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %s", err, want)
	}
	// Other calls do not even ask, until the limit is over.
	if _, err := c.Head(t.Context(), shop, "main"); fault.KindOf(err) != fault.Quota || s.count("GET "+at+"/git/ref/heads/main") != 0 {
		t.Fatalf("got %v after %d requests", err, s.count("GET "+at+"/git/ref/heads/main"))
	}
	_ = c.sleep(t.Context(), 21*time.Minute)
	if _, err := c.Head(t.Context(), shop, "main"); err != nil {
		t.Fatal(err)
	}
}

func TestShortRateLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		h    func(now time.Time) http.HandlerFunc
		want time.Duration
	}{
		"primary": {func(now time.Time) http.HandlerFunc { return limitedUntil(now.Add(30 * time.Second)) }, 29 * time.Second},
		"secondary with a time": {func(time.Time) http.HandlerFunc {
			return answer(403, map[string]string{"Retry-After": "7"}, `{"message":"You have exceeded a secondary rate limit."}`)
		}, 7 * time.Second},
		"secondary without a time": {func(time.Time) http.HandlerFunc {
			return answer(403, nil, `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes."}`)
		}, time.Minute},
		"a lower limit of its own, with no time": {func(time.Time) http.HandlerFunc {
			return answer(429, nil, `{"message":"Too many requests"}`)
		}, time.Minute},
		"in the past": {func(now time.Time) http.HandlerFunc { return limitedUntil(now.Add(-time.Hour)) }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			s.on("POST "+at+"/issues/42/comments", inTurn(tt.h(s.now()), answer(201, nil, ourComment)))
			if _, _, err := c.Comment(t.Context(), shop, 42, 0, "<!-- dayclaude thread=t_1 -->", "x"); err != nil {
				t.Fatal(err)
			}
			if len(s.slept) != 1 || s.slept[0] < tt.want-time.Second || s.slept[0] > tt.want+time.Second {
				t.Errorf("waited %v, want about %v", s.slept, tt.want)
			}
		})
	}
}

func TestRateLimitBeyondTheDeadline(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("GET /user", answer(429, map[string]string{"Retry-After": "50"}, `{}`))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Viewer(ctx); fault.KindOf(err) != fault.Quota {
		t.Fatalf("got %v", err)
	}
	if len(s.slept) != 0 {
		t.Errorf("waited %v though the deadline comes first", s.slept)
	}
}
