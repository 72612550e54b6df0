package hub

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/secret"
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
					c.attempt, c.outage = 150*time.Millisecond, 100*time.Millisecond
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
				case special && fault.KindOf(err) != want, !special && fault.KindOf(err) != f.want:
					t.Fatalf("got %s (%v), want %s%s", fault.KindOf(err), err, f.want, want)
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
		{name: "issues off", h: answer(410, nil, `{"message":"Issues has been disabled in this repository."}`), kind: fault.NotAdmitted, sentence: "switched off"},
		{name: "deleted", h: answer(410, nil, `{"message":"This issue was deleted"}`), kind: fault.NotFound, sentence: "deleted"},
		{name: "empty", h: answer(409, nil, `{"message":"Git Repository is empty."}`), kind: fault.Conflict, sentence: "empty", hint: "first commit"},
		{name: "rule", h: answer(422, nil, `{"message":"Repository rule violations found\n\nCannot create ref due to creations being restricted.\n\n"}`), kind: fault.Refused,
			sentence: "a rule of the repository refuses it (422 Repository rule violations found Cannot create ref", hint: "dayclaude/*"},
		{name: "rule, as a conflict", h: answer(409, nil, `{"message":"Repository rule violations found\n\nChanges must be made through a pull request."}`), kind: fault.Refused, sentence: "a rule"},
		{name: "signatures", h: answer(422, nil, `{"message":"Repository rule violations found\n\nCommits must have verified signatures."}`), kind: fault.Refused,
			sentence: "signed commits only", hint: "GitHub App"},
		{name: "no reason", h: answer(422, nil, `{"message":"Reference update failed"}`), kind: fault.Conflict, sentence: "does not take the branch", hint: "a branch whose name begins"},
		{name: "base gone", h: answer(422, nil, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"base","code":"invalid"}]}`), kind: fault.Conflict,
			sentence: "the base branch is gone (422 Validation Failed; base of PullRequest: invalid)", hint: "--base"},
		{name: "head gone", h: answer(422, nil, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","field":"head","code":"invalid"}]}`), kind: fault.Conflict, sentence: "was deleted meanwhile"},
		{name: "merged", h: answer(422, nil, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No commits between main and x"}]}`), kind: fault.Conflict, sentence: "holds the changes already"},
		{name: "address", h: answer(403, nil, "{\"message\":\"Although you appear to have the correct authorization credentials, the `acme` organization has an IP allow list enabled, and your IP address is not permitted to access this resource.\"}"),
			kind: fault.Auth, sentence: "does not take calls from this address (403 Although", hint: "IP allow list"},
		{name: "kind of token", h: answer(403, nil, "{\"message\":\"`acme` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions.\"}"),
			kind: fault.Auth, sentence: "does not take this kind of token (403 `acme` forbids", hint: "GITHUB_TOKEN"},
		{name: "unknown ban", h: answer(403, nil, `{"message":"At least one email address must be verified to do that."}`), kind: fault.Auth, sentence: "GitHub forbids it (403 At least", hint: "if the words do not say why"},
		{name: "not an API", h: answer(404, nil, `<html>`), kind: fault.NotFound, sentence: "does not answer as GitHub's API does (404 Not Found)", hint: "GITHUB_API_URL"},
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

// refuseConnections makes every connection fail, as of a host without a server.
func refuseConnections(c *Client) {
	c.http.Transport.(*transport).next = roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("connection refused")
	})
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	refuseConnections(c)
	began := s.now()
	_, err := c.Viewer(t.Context())
	host := strings.TrimPrefix(s.url, "http://")
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "GitHub at "+host+" did not answer: connection refused (tried for 2m") {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(fault.HintOf(err), "GITHUB_API_URL") {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	if lasted := s.now().Sub(began); lasted < 150*time.Second || lasted > 170*time.Second {
		t.Errorf("gave up after %s", lasted)
	}
	for i, d := range s.slept {
		if least := min(c.backoff<<min(i, 16), c.longest) / 2; d < least || d > c.longest {
			t.Errorf("wait %d is %v, want at least %v: it does not grow", i, d, least)
		}
	}
}

// TestOutage is a GitHub that is down for two minutes, on each request of each
// method: the user hears of it, and nothing fails.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, m := range methods() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			if m.setup != nil {
				m.setup(s)
			}
			s.mu.Lock()
			well := s.answers[m.line]
			s.mu.Unlock()
			down := s.now().Add(2 * time.Minute)
			s.on(m.line, func(w http.ResponseWriter, r *http.Request) {
				if s.now().Before(down) {
					answer(502, nil, `<html>`)(w, r)
					return
				}
				well(w, r)
			})
			var told []string
			ctx := notice.With(t.Context(), func(text string) { told = append(told, text) })
			if err := m.call(ctx, c); err != nil {
				t.Fatal(err)
			}
			if len(told) != 2 || !strings.Contains(told[0], "is in trouble (502 Bad Gateway); trying again for 2m30s") || !strings.Contains(told[1], "answers again, after 2m") {
				t.Errorf("told %q", told)
			}
		})
	}
}

// TestWebPage is a host that is no GitHub's API, such as one that wants a login.
func TestWebPage(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("GET /user", answer(200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, `<html>`))
	_, err := c.Viewer(t.Context())
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "does not answer as GitHub's API does") || !strings.Contains(fault.HintOf(err), "GITHUB_API_URL") || len(s.slept) > 0 {
		t.Fatalf("got %v after %v", err, s.slept)
	}
}

// TestLostWrites loses each answer to a write that took effect, for two
// minutes: what is found then is told as the outage's end.
func TestLostWrites(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	var told []string
	ctx := notice.With(t.Context(), func(text string) { told = append(told, text) })
	made := s.now().Add(2 * time.Minute) // GitHub's lists lag behind
	s.on("GET "+at+"/pulls", func(w http.ResponseWriter, r *http.Request) {
		if s.now().Before(made) {
			answer(200, nil, `[]`)(w, r)
			return
		}
		answer(200, nil, "["+openPull("robin", 7)+"]")(w, r)
	})
	s.on("POST "+at+"/pulls", answer(502, nil, ``))
	pull, err := c.PullRequest(ctx, shop, PullInput{Base: "main", Head: "fix", Title: "t", Body: "b"})
	if err != nil || pull.Number != 9 || len(told) != 2 || !strings.Contains(told[1], "answers again") {
		t.Fatalf("got %+v, %v, told %q", pull, err, told)
	}
}

// TestHiccup is not worth a word.
func TestHiccup(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("GET /user", inTurn(answer(502, nil, ``), answer(200, nil, `{"login":"robin"}`)))
	ctx := notice.With(t.Context(), func(text string) { t.Errorf("told %q", text) })
	if _, err := c.Viewer(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestUntrustedCertificate fails at once: waiting would not mend it.
func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(answer(200, nil, `{"login":"robin"}`))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c, err := New(Config{APIURL: srv.URL, Token: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Viewer(t.Context())
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "a certificate that this machine does not trust") || !strings.Contains(fault.HintOf(err), "clock") {
		t.Fatalf("got %v", err)
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
