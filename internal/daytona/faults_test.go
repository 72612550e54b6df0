package daytona_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func refusing(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { daytona.Refuse(w, status, message) }
}

// gone closes the connection without an answer.
func gone(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Each method meets each fault, for as long as it lasts.
func TestEveryMethodMeetsEveryFault(t *testing.T) {
	t.Parallel()
	server := standIn(t)
	for _, f := range []struct {
		name   string
		answer http.HandlerFunc
		reason daytona.Reason
		kind   fault.Kind
		status int
		says   string
		atOnce bool // waiting does not mend it
		outage bool // it does
	}{
		{"401", refusing(401, "Invalid key "+canary), daytona.ReasonKey, fault.Auth, 401, "refused the API key: Invalid key [redacted] (401", true, false},
		{"403", refusing(403, "Access denied"), daytona.ReasonPermission, fault.Auth, 403, "denied access: Access denied", true, false},
		{"403 suspended", refusing(403, "Organization is suspended: no credits"), daytona.ReasonSuspended, fault.Quota, 403, "no credits", true, false},
		{"404", refusing(404, "gone\n\x1b[31mfor good"), daytona.ReasonNotFound, fault.NotFound, 404, "gone [31mfor good", false, false},
		{"404 empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, daytona.ReasonNotFound, fault.NotFound, 404, "not found (404", false, false},
		{"409", refusing(409, "already exists"), daytona.ReasonConflict, fault.Conflict, 409, "already exists", false, false},
		{"quota", refusing(400, "Total CPU limit exceeded. Maximum: 4"), daytona.ReasonQuota, fault.Quota, 400, "Total CPU", true, false},
		{"not started", refusing(400, "failed to get runner info: Is the Sandbox started?"), daytona.ReasonSandbox, fault.Sandbox, 400, "started?", false, false},
		{"429", daytona.Limited, daytona.ReasonRateLimit, fault.Quota, 429, "Too Many Requests", false, false},
		{"500", refusing(500, ""), daytona.ReasonFault, fault.Unavailable, 500, "Some Error", false, true},
		{"502 page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			_, _ = io.WriteString(w, "<html>bad</html>")
		}, daytona.ReasonFault, fault.Unavailable, 502, "bad gateway", false, true},
		{"status in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, `{"statusCode":404,"message":["a","b"]}`)
		}, daytona.ReasonNotFound, fault.NotFound, 404, "a, b", false, false},
		{"login page", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) }, daytona.ReasonKey, fault.Auth, 307, "refused the API key", true, false},
		{"moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 301) }, daytona.ReasonElsewhere, fault.Usage, 301, "redirect", true, false},
		{"cut body", daytona.Cut, daytona.ReasonFault, fault.Unavailable, 200, "cut", false, false},
		{"no answer", gone, daytona.ReasonFault, fault.Unavailable, 0, "EOF", false, true},
		{"web page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<!doctype html>") }, daytona.ReasonFault, fault.Unavailable, 200, "web page", false, false},
		{"no body", func(http.ResponseWriter, *http.Request) {}, daytona.ReasonFault, fault.Unavailable, 200, "not what the API documents", false, false},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, server)
			for _, m := range methods() {
				t.Run(m.name, func(t *testing.T) {
					w.T = t
					call := m.arrange(w)
					before, slept := len(w.requests()), len(w.pauses())
					w.meet(always(func(rw http.ResponseWriter, r *http.Request) {
						rw.Header().Set("X-Request-Id", "req-1")
						_, _ = io.Copy(io.Discard, r.Body)
						if r.URL.Path == "/elsewhere" {
							t.Error("a redirect was followed")
						}
						f.answer(rw, r)
					}))
					err := call(t.Context())
					w.meet(nil)
					if m.empty && f.status == 200 && f.name != "web page" || m.stream && (f.name == "web page" || f.name == "no body") || m.fine == f.status && f.status != 0 {
						if err != nil {
							t.Fatalf("got %v, want success", err)
						}
						return
					}
					e, ok := errors.AsType[*daytona.Error](err)
					if !ok || e.Status != f.status || e.Reason != f.reason {
						t.Fatalf("got %#v, want an *Error with status %d, reason %s", err, f.status, f.reason)
					}
					if got := fault.KindOf(err); got != f.kind {
						t.Errorf("kind %s, want %s (%v)", got, f.kind, err)
					}
					says := f.says
					if m.socket && f.status == 200 && f.name != "web page" {
						says = "the answer is no WebSocket"
					}
					if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), canary) || strings.ContainsAny(err.Error(), "\n\x1b") {
						t.Errorf("error %q should say %q, on one line, without the key", err, says)
					}
					if strings.Count(err.Error(), "tried again") > 1 {
						t.Errorf("patience in patience: %v", err)
					}
					if f.status != 0 && e.RequestID != "req-1" {
						t.Errorf("request id %q", e.RequestID)
					}
					if daytona.NotRunning(err) != (f.reason == daytona.ReasonSandbox) {
						t.Errorf("not running: %v", err)
					}
					n, paused := len(w.requests())-before, w.pauses()[slept:]
					if f.status == 429 && !m.hurried {
						if e.RetryAfter != 7*time.Second || n != len(paused)+1 || daytona.Total(paused) < daytona.Outlasts {
							t.Errorf("retry after %s, %d requests, %d pauses of %s", e.RetryAfter, n, len(paused), daytona.Total(paused))
						}
						for _, d := range paused {
							if d < 7*time.Second {
								t.Errorf("paused %s, less than was asked", d)
							}
						}
					}
					switch spent := daytona.Total(paused); {
					case f.atOnce && spent > 0:
						t.Errorf("waited %s although nothing would mend it", spent)
					case f.outage && !m.once && !m.hurried && spent < daytona.Outlasts:
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

// The first request of each method fails, or the answer to its first order is
// lost; the rest reach Daytona.
func TestOneFaultIsOvercome(t *testing.T) {
	t.Parallel()
	server := standIn(t)
	for _, f := range []struct {
		name  string
		meets func() obstacle
		done  bool // nothing had happened when it was answered: everything is repeated
	}{
		{"429", func() obstacle { return once(daytona.Limited) }, true},
		{"503", func() obstacle { return once(refusing(503, "down")) }, false},
		{"no answer", func() obstacle { return once(gone) }, false},
		{"cut body", func() obstacle { return once(daytona.Cut) }, false},
		{"answer lost", deaf, false},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, server)
			for _, m := range methods() {
				t.Run(m.name, func(t *testing.T) {
					w.T = t
					call := m.arrange(w)
					before := len(w.requests())
					w.meet(f.meets())
					err := call(t.Context())
					w.meet(nil)
					lost := m.once && !f.done && !(m.empty && f.name == "cut body") || m.hurried && f.name != "cut body" || m.stream && f.name == "cut body"
					if lost != (err != nil) {
						t.Errorf("got %v after %v", err, w.requests()[before:])
					}
				})
			}
		})
	}
}

// Each method ends with its context while Daytona is silent, or stops amid an
// answer.
func TestEveryMethodEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := standIn(t)
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun %v", begun), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, server)
			for _, m := range methods() {
				t.Run(m.name, func(t *testing.T) {
					w.T = t
					call := m.arrange(w)
					arrived := make(chan struct{}, 10)
					w.meet(always(func(rw http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if begun {
							_, _ = io.WriteString(rw, `{"id":"`)
							_ = http.NewResponseController(rw).Flush()
						}
						arrived <- struct{}{}
						<-r.Context().Done()
					}))
					defer w.meet(nil)
					ends(t, call, arrived, begun && m.empty)
				})
			}
		})
	}
}

// ends holds a call that hangs against the ways its context can end. One that
// is fine had all that it needs of the answer when it hung.
func ends(t *testing.T, call func(context.Context) error, arrived chan struct{}, fine bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) && (!fine || err != nil) {
		t.Errorf("stalled: got %v", err)
	}
	for len(arrived) > 0 {
		<-arrived
	}

	limit := fault.New(fault.Limit, "the run's time is up")
	ctx, stop := context.WithCancelCause(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-arrived
		stop(limit)
	}()
	err := call(ctx)
	<-done
	if (!errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Limit) && (!fine || err != nil) {
		t.Errorf("cancelled with a cause: got %v of kind %s", err, fault.KindOf(err))
	}

	ctx, end := context.WithCancel(t.Context())
	end()
	if err := call(ctx); !errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Cancelled {
		t.Errorf("cancelled: got %v of kind %s", err, fault.KindOf(err))
	}
}
