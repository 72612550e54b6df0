package hub

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// cutBody promises more than it sends.
func cutBody(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	w.Write([]byte(`{"id": 7, "na`))
}

// stall answers nothing until the client gives up.
func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

var tooMany = answer(429, map[string]string{"Retry-After": "1"}, `{"message":"slow down"}`)

// TestFaults meets each request of each method with each fault, for good.
func TestFaults(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name string
		h    http.HandlerFunc
		want fault.Kind
	}{
		{"401", answer(401, nil, `{"message":"Bad credentials"}`), fault.Auth},
		{"403", answer(403, map[string]string{"X-Accepted-GitHub-Permissions": "contents=write"}, `{"message":"Resource not accessible by personal access token"}`), fault.Auth},
		{"404", answer(404, nil, `{"message":"Not Found"}`), fault.NotFound},
		{"409", answer(409, nil, `{"message":"it changed"}`), fault.Conflict},
		{"422", answer(422, nil, `{"message":"Validation Failed","errors":[{"resource":"X","field":"y","code":"invalid"}]}`), fault.Failed},
		{"429", tooMany, fault.Quota},
		{"500", answer(500, nil, `oops`), fault.Unavailable},
		{"cut", cutBody, fault.Unavailable},
		{"stall", stall, fault.Unavailable},
		{"cancel", stall, fault.Cancelled},
	}
	for _, m := range methods() {
		for _, f := range faults {
			t.Run(m.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s, c := setup(t)
				if m.setup != nil {
					m.setup(s)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				h := f.h
				switch f.name {
				case "cancel":
					h = func(w http.ResponseWriter, r *http.Request) { cancel(); f.h(w, r) }
				case "stall":
					c.attempt, c.attempts = 150*time.Millisecond, 2
				}
				s.on(m.line, h)
				err := m.call(ctx, c)
				want, special := m.want[f.name]
				switch {
				case special && want == "":
					if err != nil {
						t.Fatalf("got %v, want success", err)
					}
				case err == nil:
					t.Fatalf("got success, want %s", f.want)
				case fault.KindOf(err) != f.want:
					t.Fatalf("got %s (%v), want %s", fault.KindOf(err), err, f.want)
				case strings.Contains(err.Error()+fault.HintOf(err), canary):
					t.Fatalf("the token shows in %v", err)
				}
				if s.count(m.line) == 0 {
					t.Fatalf("%s was never sent", m.line)
				}
			})
		}
	}
}

// TestFaultOnce meets each request with a passing fault: the method succeeds,
// and what makes something new is sent again only after looking.
func TestFaultOnce(t *testing.T) {
	t.Parallel()
	for _, m := range methods() {
		for name, h := range map[string]http.HandlerFunc{"500": answer(500, nil, `oops`), "502": answer(502, nil, `<html>`), "cut": cutBody, "429": tooMany} {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s, c := setup(t)
				if m.setup != nil {
					m.setup(s)
				}
				s.mu.Lock()
				well := s.answers[m.line]
				s.mu.Unlock()
				s.on(m.line, inTurn(h, well))
				if err := m.call(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if len(s.slept) == 0 {
					t.Error("did not wait before the second attempt")
				}
				if !m.once || name == "429" {
					return
				}
				// Between the two there must have been a look.
				var between, sent int
				for _, r := range s.seen {
					if r.Line == m.line {
						sent++
					} else if sent == 1 {
						between++
					}
				}
				if sent != 2 || between == 0 {
					t.Errorf("sent %d times with %d requests in between", sent, between)
				}
			})
		}
	}
}

func TestWhatUsersAreTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		h              http.HandlerFunc
		anonymous      bool
		kind           fault.Kind
		sentence, hint string
	}{
		{name: "bad token", h: answer(401, nil, `{"message":"Bad credentials"}`), kind: fault.Auth,
			sentence: "refused the token (401 Bad credentials)", hint: "expired or revoked"},
		{name: "no token", h: answer(401, nil, `{"message":"Requires authentication"}`), anonymous: true, kind: fault.Auth,
			sentence: "wants a token", hint: "GITHUB_TOKEN"},
		{name: "single sign-on", h: answer(403, map[string]string{"X-GitHub-SSO": "required; url=https://github.com/orgs/acme/sso?authorization_request=AB"}, `{"message":"Resource protected by organization SAML enforcement."}`),
			kind: fault.Auth, sentence: "single sign-on", hint: "https://github.com/orgs/acme/sso?authorization_request=AB"},
		{name: "single sign-on, odd link", h: answer(403, map[string]string{"X-GitHub-SSO": "required; url=javascript:x"}, `{}`),
			kind: fault.Auth, sentence: "single sign-on", hint: "in your token settings"},
		{name: "permission by header", h: answer(403, map[string]string{"X-Accepted-GitHub-Permissions": "pull_requests=write,contents=read; issues=write"}, `{"message":"Resource not accessible by personal access token"}`),
			kind: fault.Auth, sentence: "lacks a permission", hint: "`pull requests: write, contents: read` or `issues: write` on acme/shop"},
		{name: "permission by what we know", h: answer(403, nil, `{"message":"Resource not accessible by integration"}`),
			kind: fault.Auth, sentence: "lacks a permission", hint: "`issues: read` on acme/shop"},
		{name: "classic scopes", h: answer(404, map[string]string{"X-OAuth-Scopes": "gist, read:org"}, `{"message":"Not Found"}`),
			kind: fault.NotFound, sentence: "not found, or the token has no access", hint: "scopes: gist, read:org) needs the scope `repo`"},
		{name: "archived", h: answer(403, nil, `{"message":"Repository was archived so is read-only."}`), kind: fault.NotAdmitted, sentence: "archived"},
		{name: "locked", h: answer(403, nil, `{"message":"Unable to create comment because issue is locked."}`), kind: fault.NotAdmitted, sentence: "locked"},
		{name: "legal", h: answer(451, nil, `{"message":"Repository access blocked"}`), kind: fault.NotAdmitted, sentence: "451"},
		{name: "issues off", h: answer(410, nil, `{"message":"Issues has been disabled in this repository."}`), kind: fault.NotFound, sentence: "switched off"},
		{name: "deleted", h: answer(410, nil, `{"message":"This issue was deleted"}`), kind: fault.NotFound, sentence: "deleted"},
		{name: "empty", h: answer(409, nil, `{"message":"Git Repository is empty."}`), kind: fault.Conflict, sentence: "empty", hint: "first commit"},
		{name: "rule", h: answer(422, nil, `{"message":"Repository rule violations found\n\nChanges must be made through a pull request."}`), kind: fault.NotAdmitted, sentence: "a rule", hint: "dayclaude/*"},
		{name: "request id", h: answer(503, map[string]string{"X-GitHub-Request-Id": "AB:12"}, ``), kind: fault.Unavailable, sentence: "request AB:12"},
		{name: "control characters", h: answer(422, nil, `{"message":"a\u001b[31mb\u202ec"}`), kind: fault.Failed, sentence: "(422 a[31mbc)"},
		{name: "teapot", h: answer(418, nil, `{"message":"short and stout"}`), kind: fault.Failed, sentence: "418 short and stout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			c.anon = tt.anonymous
			s.on("GET "+at+"/issues/42", tt.h)
			_, err := c.Issue(t.Context(), shop, 42)
			if err == nil || fault.KindOf(err) != tt.kind {
				t.Fatalf("got %s: %v, want %s", fault.KindOf(err), err, tt.kind)
			}
			if !strings.Contains(err.Error(), tt.sentence) || !strings.HasPrefix(err.Error(), "reading issue acme/shop#42: ") {
				t.Errorf("error %q lacks %q", err, tt.sentence)
			}
			if !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("hint %q lacks %q", fault.HintOf(err), tt.hint)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("no *Error in %#v", err)
			}
			if tt.name == "empty" != errors.Is(err, ErrEmpty) {
				t.Errorf("errors.Is(ErrEmpty) = %t", errors.Is(err, ErrEmpty))
			}
		})
	}
}

func TestInterruptedByItsOwnReason(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	reason := fault.New(fault.Limit, "the run's time is up")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.on("GET /user", func(w http.ResponseWriter, r *http.Request) { cancel(reason); stall(w, r) })
	if _, err := c.Viewer(ctx); !errors.Is(err, reason) || fault.KindOf(err) != fault.Limit {
		t.Fatalf("got %v", err)
	}
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	c.http.Transport.(*transport).next = roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("connection refused")
	})
	_, err := c.Viewer(t.Context())
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "did not answer: connection refused") {
		t.Fatalf("got %v", err)
	}
	if len(s.slept) != c.attempts-1 {
		t.Errorf("waited %d times, want %d", len(s.slept), c.attempts-1)
	}
	for i := 1; i < len(s.slept); i++ {
		if s.slept[i] < c.backoff<<i/2 {
			t.Errorf("wait %d is %v: does not grow", i, s.slept[i])
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzAnswered(f *testing.F) {
	f.Add([]byte(`{"message":"Validation Failed","errors":[{"resource":"Label","field":"name","code":"invalid"}]}`))
	f.Add([]byte(`{"message":"x","errors":["a string"]}`))
	f.Add([]byte("\xff\x00\x1b[2J"))
	f.Fuzz(func(t *testing.T, said []byte) {
		resp := &http.Response{StatusCode: 422, Header: http.Header{}, Body: http.NoBody}
		resp.Body = http.MaxBytesReader(nil, readCloser{strings.NewReader(string(said))}, maxErrorAnswer)
		e := answered(resp)
		if len(e.Message) > 400 || strings.ContainsAny(e.Message, "\n\r\x1b\x00") {
			t.Fatalf("message %q", e.Message)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
