package daytona

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestNew(t *testing.T) {
	t.Parallel()
	key := secret.New(canary)
	for _, tt := range []struct {
		name string
		cfg  Config
		kind fault.Kind // "": works
	}{
		{"default", Config{Key: key}, ""},
		{"self-hosted", Config{Key: key, BaseURL: "http://localhost:3000/api/"}, ""},
		{"no key", Config{}, fault.Auth},
		{"no scheme", Config{Key: key, BaseURL: "app.daytona.io/api"}, fault.Usage},
		{"file", Config{Key: key, BaseURL: "file:///api"}, fault.Usage},
		{"password", Config{Key: key, BaseURL: "https://u:hunter2@x/api"}, fault.Usage},
		{"password in what cannot be parsed", Config{Key: key, BaseURL: "https://u:hunter2@x:y/api"}, fault.Usage},
		{"query", Config{Key: key, BaseURL: "https://x/api?a=b"}, fault.Usage},
	} {
		c, err := New(tt.cfg)
		switch {
		case tt.kind == "" && err != nil, tt.kind != "" && (err == nil || fault.KindOf(err) != tt.kind || fault.HintOf(err) == ""):
			t.Errorf("%s: got %v", tt.name, err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error tells the password: %v", tt.name, err)
		case err == nil && strings.Contains(fmt.Sprintf("%v %+v %#v", c, c, c), canary):
			t.Errorf("%s: the client prints its key", tt.name)
		}
	}
	hc := &http.Client{Timeout: time.Second}
	if _, err := New(Config{Key: key, HTTP: hc}); err != nil || hc.Timeout != time.Second || hc.CheckRedirect != nil {
		t.Errorf("the caller's client was changed: %+v, %v", hc, err)
	}
}

// Names come from elsewhere: none may reach another path than its own.
func TestNamesStayInTheirSegment(t *testing.T) {
	t.Parallel()
	var got string
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.RequestURI
		answer(w, 200, record(Started, Started, ""))
	}))
	for _, bad := range []string{"", ".", ".."} {
		if err := c.Delete(t.Context(), bad); fault.KindOf(err) != fault.Usage {
			t.Errorf("Delete(%q): %v", bad, err)
		}
		tb := c.Toolbox(&Sandbox{ID: bad, ToolboxProxyURL: srv.URL})
		if _, err := tb.HomeDir(t.Context()); fault.KindOf(err) != fault.Usage {
			t.Errorf("toolbox of %q: %v", bad, err)
		}
	}
	if n := len(srv.seen()); n != 0 {
		t.Fatalf("%d requests", n)
	}
	for _, odd := range []string{"a/b", "a?force=true", "../snapshots/x", "%2e%2e", "a#b", "a b", "ü"} {
		if _, err := c.Get(t.Context(), odd); err != nil {
			t.Fatal(err)
		}
		if u, err := url.ParseRequestURI(got); err != nil || path.Base(u.EscapedPath()) != url.PathEscape(odd) || u.Path != "/api/sandbox/"+odd || u.RawQuery != "" {
			t.Errorf("%q was asked for as %s", odd, got)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"`+strings.Repeat("x", maxAnswer)+`"}`)
	}))
	_, err := c.Get(t.Context(), id)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 200 || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %.200v", err)
	}
}

func TestLenientDecoding(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body string
		check      func(*Sandbox) bool // nil: an error is wanted
	}{
		{"only an id", `{"id":"a"}`, func(s *Sandbox) bool {
			return s.ID == "a" && !s.State.AtRest() && s.AutoStop == nil && s.CreatedAt.IsZero() && s.Domains == nil
		}},
		{"nulls", `{"id":"a","labels":null,"createdAt":null,"domainAllowList":null,"autoStopInterval":null,"state":null}`,
			func(s *Sandbox) bool { return s.ID == "a" && len(s.Labels) == 0 && s.AutoStop == nil }},
		{"odd dates", `{"id":"a","createdAt":"","updatedAt":5,"lastActivityAt":"2026-11-23T10:00:00.5+01:00"}`, func(s *Sandbox) bool {
			return s.CreatedAt.IsZero() && s.UpdatedAt.IsZero() && s.LastActivityAt.Equal(time.Date(2026, 11, 23, 9, 0, 0, 5e8, time.UTC))
		}},
		{"domains", `{"id":"a","domainAllowList":" a.com, ,*.b.com","autoStopInterval":0,"cpu":0.5}`, func(s *Sandbox) bool {
			return slices.Equal(s.Domains, Domains{"a.com", "*.b.com"}) && *s.AutoStop == 0 && s.CPU == 0.5
		}},
		{"no id", `{"name":"x"}`, nil},
		{"a list", `[]`, nil},
	} {
		c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.body) }))
		s, err := c.Get(t.Context(), id)
		if tt.check == nil {
			if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("%s: got %+v, %v", tt.name, s, err)
			}
			continue
		}
		if err != nil || !tt.check(s) {
			t.Errorf("%s: got %+v, %v", tt.name, s, err)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	item := func(id string, labels map[string]string) map[string]any {
		return map[string]any{"id": id, "name": id, "labels": labels, "state": "archived"}
	}
	circle := false
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("labels") != `{"dayclaude/store":"s1"}` || q.Get("limit") != "200" {
			t.Errorf("query %v", q)
		}
		switch {
		case q.Get("cursor") == "":
			answer(w, 200, map[string]any{"items": []any{item("a", ours), item("foreign", map[string]string{"dayclaude/store": "s2"}), nil}, "nextCursor": "p2"})
		case circle:
			answer(w, 200, map[string]any{"nextCursor": "p2"})
		default:
			answer(w, 200, map[string]any{"items": []any{item("b", map[string]string{"dayclaude/store": "s1", "x": ""}), item("bare", nil)}, "nextCursor": nil})
		}
	}))
	var ids []string
	for s, err := range c.List(t.Context(), Filter{Labels: ours}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	if !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("got %v", ids)
	}
	for range c.List(t.Context(), Filter{Labels: ours}) {
		break
	}
	if n := len(srv.seen()); n != 3 {
		t.Errorf("%d requests: a page was fetched that nobody asked for", n)
	}
	circle = true
	var last error
	for _, last = range c.List(t.Context(), Filter{Labels: ours}) {
	}
	if fault.KindOf(last) != fault.Unavailable || !strings.Contains(last.Error(), "circle") {
		t.Errorf("got %v", last)
	}
}

// The key, and what lies behind a preview token, must not go to an address in
// clear because an answer said so.
func TestToldAddresses(t *testing.T) {
	t.Parallel()
	secure, err := New(Config{Key: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	plain, _, _ := serve(t, http.NotFoundHandler())
	for _, tt := range []struct {
		raw           string
		secure, plain bool
	}{
		{"https://proxy.app.daytona.io/toolbox", true, true},
		{"http://proxy.app.daytona.io/toolbox", false, true},
		{"", false, false},
		{"/toolbox", false, false},
		{"ftp://x", false, false},
		{"https://x?y=", false, false},
		{"https://u@x", false, false},
	} {
		for c, want := range map[*Client]bool{secure: tt.secure, plain: tt.plain} {
			tb := c.Toolbox(&Sandbox{ID: id, ToolboxProxyURL: tt.raw})
			if (tb.err == nil) != want {
				t.Errorf("%q: %v", tt.raw, tb.err)
			}
			if !want && (tb.Spawn(t.Context(), "s", "x") == nil || tb.Upload(t.Context()) == nil) {
				t.Errorf("%q was used", tt.raw)
			}
		}
	}
}
