package daytona

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
)

// cut answers 200, promises more than it sends, and closes the connection.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"id":"`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func limited(w http.ResponseWriter) {
	w.Header()["Retry-After-sandbox-lifecycle"] = []string{"7"}
	w.Header()["X-RateLimit-Reset-authenticated"] = []string{"99"}
	refuse(w, 429, "ThrottlerException: Too Many Requests")
}

// Each method meets each fault, for as long as it lasts.
func TestEveryMethodMeetsEveryFault(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name   string
		answer http.HandlerFunc
		kind   fault.Kind
		status int
		says   string
		atOnce bool // waiting does not mend it
		outage bool // it does
	}{
		{"401", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 401, "Invalid key "+canary) }, fault.Auth, 401, "refused the API key: Invalid key [redacted] (401", true, false},
		{"403", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Access denied") }, fault.Auth, 403, "denied access: Access denied", true, false},
		{"403 suspended", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "Organization is suspended: no credits") }, fault.Quota, 403, "no credits", true, false},
		{"404", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "gone\n\x1b[31mfor good") }, fault.NotFound, 404, "gone [31mfor good", false, false},
		{"404 empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, fault.NotFound, 404, "not found (404", false, false},
		{"409", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 409, "already exists") }, fault.Conflict, 409, "already exists", false, false},
		{"quota", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "Total CPU limit exceeded. Maximum: 4") }, fault.Quota, 400, "Total CPU", true, false},
		{"not started", func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, 400, "failed to get runner info: Is the Sandbox started?")
		}, fault.Sandbox, 400, "started?", false, false},
		{"429", func(w http.ResponseWriter, _ *http.Request) { limited(w) }, fault.Quota, 429, "Too Many Requests", false, false},
		{"500", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 500, "") }, fault.Unavailable, 500, "Some Error", false, true},
		{"502 page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			_, _ = io.WriteString(w, "<html>bad</html>")
		}, fault.Unavailable, 502, "bad gateway", false, true},
		{"status in the body", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 500, map[string]any{"statusCode": 404, "message": []string{"a", "b"}})
		}, fault.NotFound, 404, "a, b", false, false},
		{"login page", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) }, fault.Auth, 307, "refused the API key", true, false},
		{"moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 301) }, fault.Usage, 301, "redirect", true, false},
		{"cut body", cut, fault.Unavailable, 200, "cut", false, false},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, fault.Unavailable, 0, "EOF", false, true},
		{"web page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html>") }, fault.Unavailable, 200, "web page", true, false},
		{"no body", func(http.ResponseWriter, *http.Request) {}, fault.Unavailable, 200, "not what the API documents", false, false},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c, srv, pauses := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "req-1")
				_, _ = io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/elsewhere" {
					t.Error("a redirect was followed")
				}
				f.answer(w, r)
			}))
			for _, m := range methods {
				t.Run(m.name, func(t *testing.T) {
					before, slept := len(srv.seen()), len(pauses())
					err := m.call(t.Context(), c, srv.toolbox(c))
					switch {
					case m.empty && f.status == 200 && f.name != "web page",
						m.name == "Delete" && f.status == 404,
						m.name == "Download" && (f.name == "web page" || f.name == "no body"):
						if err != nil {
							t.Fatalf("got %v, want success", err)
						}
						return
					}
					e, ok := errors.AsType[*Error](err)
					if !ok || e.Status != f.status {
						t.Fatalf("got %#v, want an *Error with status %d", err, f.status)
					}
					if got := fault.KindOf(err); got != f.kind {
						t.Errorf("kind %s, want %s (%v)", got, f.kind, err)
					}
					if !strings.Contains(err.Error(), f.says) || strings.Contains(err.Error(), canary) || strings.ContainsAny(err.Error(), "\n\x1b") {
						t.Errorf("error %q should say %q, on one line, without the key", err, f.says)
					}
					if f.status != 0 && e.RequestID != "req-1" {
						t.Errorf("request id %q", e.RequestID)
					}
					if NotRunning(err) != (f.name == "not started") {
						t.Errorf("not running: %v", err)
					}
					n, paused := len(srv.seen())-before, pauses()[slept:]
					if f.status == 429 && !m.hurried {
						if e.RetryAfter != 7*time.Second || n != len(paused)+1 || total(paused) < outlasts {
							t.Errorf("retry after %s, %d requests, %d pauses of %s", e.RetryAfter, n, len(paused), total(paused))
						}
						for _, d := range paused {
							if d < 7*time.Second {
								t.Errorf("paused %s, less than was asked", d)
							}
						}
					}
					switch spent := total(paused); {
					case f.atOnce && spent > 0:
						t.Errorf("waited %s although nothing would mend it", spent)
					case f.outage && !m.once && !m.hurried && spent < outlasts:
						t.Errorf("gave up after %s", spent)
					}
					if (m.once && f.status != 429 || m.hurried) && n != 1 {
						t.Errorf("%d requests: what may have happened was repeated", n)
					}
				})
			}
		})
	}
}

// outlasts is what an outage may take at least: two minutes and what comes
// after them.
const outlasts = 150 * time.Second

func total(pauses []time.Duration) (sum time.Duration) {
	for _, d := range pauses {
		sum += d
	}
	return sum
}

// The first request of each method fails, the rest meet a healthy server.
func TestOneFaultIsOvercome(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name   string
		answer http.HandlerFunc
		done   bool // nothing had happened when it was answered: everything is repeated
	}{
		{"429", func(w http.ResponseWriter, _ *http.Request) { limited(w) }, true},
		{"503", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "down") }, false},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		{"cut body", cut, false},
	} {
		for _, m := range methods {
			t.Run(f.name+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				healthy := good()
				var n atomic.Int64
				c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1) == 1 {
						_, _ = io.Copy(io.Discard, r.Body)
						f.answer(w, r)
						return
					}
					healthy.ServeHTTP(w, r)
				}))
				err := m.call(t.Context(), c, srv.toolbox(c))
				lost := m.once && !f.done || m.hurried && f.name != "cut body" || m.name == "Download" && f.name == "cut body"
				if lost != (err != nil) {
					t.Errorf("got %v after %v", err, srv.seen())
				}
			})
		}
	}
}

func TestEveryMethodEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 10)
			c, srv, _ := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				arrived <- struct{}{}
				<-r.Context().Done()
			}))
			tb := srv.toolbox(c)

			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := m.call(ctx, c, tb); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("stalled: got %v", err)
			}
			for len(arrived) > 0 {
				<-arrived
			}

			limit := fault.New(fault.Limit, "the run's time is up")
			ctx, stop := context.WithCancelCause(t.Context())
			go func() { <-arrived; stop(limit) }()
			err := m.call(ctx, c, tb)
			if !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Limit {
				t.Errorf("cancelled with a cause: got %v of kind %s", err, fault.KindOf(err))
			}

			ctx, end := context.WithCancel(t.Context())
			end()
			if err := m.call(ctx, c, tb); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
				t.Errorf("cancelled: got %v of kind %s", err, fault.KindOf(err))
			}
		})
	}
}

// A connection that never came about did nothing, so even what is never
// repeated otherwise is.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	c, srv, pauses := serve(t, good())
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
	c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { limited(w) }))
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
		refuse(w, 429, "too many failed logins")
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

func FuzzRefusal(f *testing.F) {
	for _, seed := range []string{
		`{"statusCode":400,"message":"a\nb","error":"Bad Request"}`, `{"message":["a","b"]}`, `{"statusCode":"x","message":5}`,
		`<html>`, "", `{"statusCode":400,"mess`, "plain\x00\x1b[2J", `null`, `[]`, `{"message":"Is the Sandbox started?"}`,
	} {
		f.Add([]byte(seed), 400)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		got, message := parseRefusal(body)
		if got != 0 && (got < 400 || got > 599) {
			t.Errorf("status %d", got)
		}
		reason, fe := classify(status, clean(message))
		if reason == "" || fe.Kind == "" || fe.Message == "" || len(fe.Message) > 600 || strings.ContainsFunc(fe.Message, func(r rune) bool { return r < ' ' }) {
			t.Errorf("fault %#v", fe)
		}
	})
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

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status  int
		message string
		reason  Reason
		kind    fault.Kind
		says    string
	}{
		{400, "", ReasonInvalid, fault.Failed, "bad request"},
		{400, "Total CPU limit exceeded. Maximum allowed: 10.", ReasonQuota, fault.Quota, "Total CPU"},
		{400, "CPU request 64 exceeds maximum allowed per sandbox (4)", ReasonQuota, fault.Quota, "CPU request"},
		{403, "Snapshot quota exceeded. Maximum allowed: 30", ReasonQuota, fault.Quota, "Snapshot quota"},
		{400, "Snapshot nope not found. Did you add it?", ReasonNotFound, fault.NotFound, "nope"},
		{400, "Snapshot old is not active", ReasonSnapshot, fault.Sandbox, "old"},
		{400, "No available runners", ReasonRunners, fault.Unavailable, "runners"},
		{400, "Sandbox failed to start: no such image", ReasonSandbox, fault.Sandbox, "no such image"},
		{400, "no IP address found. Is the Sandbox started?", ReasonSandbox, fault.Sandbox, "started"},
		{401, "Invalid credentials", ReasonKey, fault.Auth, "refused the API key: Invalid"},
		{307, "", ReasonKey, fault.Auth, "refused the API key"},
		{403, "Access denied", ReasonPermission, fault.Auth, "denied access: Access"},
		{403, "Organization is suspended: no credits", ReasonSuspended, fault.Quota, "no credits"},
		{402, "", ReasonQuota, fault.Quota, "payment required"},
		{404, "Disk quota volume not found", ReasonNotFound, fault.NotFound, "volume"},
		{408, "", ReasonFault, fault.Unavailable, "request timeout"},
		{409, "Sandbox state change in progress", ReasonConflict, fault.Conflict, "in progress"},
		{422, "class does not support pause", ReasonInvalid, fault.Failed, "pause"},
		{429, "", ReasonRateLimit, fault.Quota, "rate limit"},
		{308, "", ReasonElsewhere, fault.Usage, "redirect"},
		{503, "Object storage is not configured", ReasonFault, fault.Unavailable, "not configured"},
		{599, "", ReasonFault, fault.Unavailable, "no reason given"},
	} {
		reason, f := classify(tt.status, tt.message)
		if reason != tt.reason || f.Kind != tt.kind || !strings.Contains(f.Message, tt.says) {
			t.Errorf("%d %q: got %s, %+v", tt.status, tt.message, reason, f)
		}
		if hinted := f.Hint != ""; !hinted && !slices.Contains([]Reason{ReasonInvalid, ReasonNotFound, ReasonConflict, ReasonSandbox}, reason) {
			t.Errorf("%d %q: no hint", tt.status, tt.message)
		}
	}
}
