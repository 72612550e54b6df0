package daytona_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// said reports whether a method's comment names the operation that a request
// is one of. (Where build logs are is in an answer.)
func said(comment string, r *http.Request) bool {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/")
	if rest, toolbox := strings.CutPrefix(r.URL.EscapedPath(), "/toolbox/"); toolbox {
		_, path, ok = strings.Cut(rest, "/")
	}
	for _, f := range operation.FindAllStringSubmatch(comment, -1) {
		named := regexp.MustCompile("^" + parameters.ReplaceAllString(f[2][1:], "[^/]+") + "$")
		if f[1] == r.Method && named.MatchString(path) {
			return true
		}
	}
	return !ok
}

// What every request carries, and what none does; and that its method's
// comment tells of it.
func TestRequestsCarryWhatDaytonaWants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	texts := comments(t)
	for _, m := range methods() {
		t.Run(m.name, func(t *testing.T) {
			w.T = t
			call := m.arrange(w)
			key := "Bearer " + canary
			if m.name == "Client.Config" {
				key = ""
			}
			w.meet(func(rw http.ResponseWriter, r *http.Request, server http.Handler) {
				for name, want := range map[string]string{
					"Authorization":         key,
					"User-Agent":            "dayclaude/1.2.3",
					"X-Daytona-Source":      "dayclaude",
					"X-Daytona-Sdk-Version": "0.205.1",
				} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("%s %s: %s is %q", r.Method, r.URL.Path, name, got)
					}
				}
				if r.ContentLength < 0 || strings.Contains(r.RequestURI, canary) {
					t.Errorf("%s %s: length %d", r.Method, r.RequestURI, r.ContentLength)
				}
				if !said(texts[m.name], r) {
					t.Errorf("its comment does not tell of %s %s", r.Method, r.URL.Path)
				}
				server.ServeHTTP(rw, r)
			})
			defer w.meet(nil)
			if err := call(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is set of a sandbox is what it then has.
func TestSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	ctx, id := t.Context(), w.sandbox(daytona.Started).ID
	labels := map[string]string{"dayclaude/store": "s2", "x": ""}
	if err := w.client.SetLabels(ctx, id, labels); err != nil {
		t.Error(err)
	}
	if err := w.client.SetIntervals(ctx, id, daytona.Intervals{AutoStop: new(0), AutoDelete: new(30)}); err != nil {
		t.Error(err)
	}
	domains := daytona.Domains{"*.npmjs.org", "pypi.org"}
	if _, err := w.client.SetNetwork(ctx, id, daytona.Network{Domains: domains}); err != nil {
		t.Error(err)
	}
	want := daytona.CreateSandbox{Labels: labels, Domains: domains, AutoStop: new(0), AutoDelete: new(30)}
	s, err := w.client.Get(ctx, id)
	if err != nil || s.Ungranted(want) != nil || len(s.Labels) != 2 || *s.AutoArchive != 43200 {
		t.Errorf("got %+v, %v; not granted: %v", s, err, s.Ungranted(want))
	}
	if s, err := w.client.SetNetwork(ctx, id, daytona.Network{BlockAll: true}); err != nil || !s.NetworkBlockAll || len(s.Domains) > 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := w.client.SetLabels(ctx, id, nil); err != nil {
		t.Error(err)
	}
	if s, err := w.client.SetNetwork(ctx, id, daytona.Network{}); err != nil || s.NetworkBlockAll || len(s.Labels) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// A network that was not set is told: the server may be too old for it.
func TestNetworkThatIsNotSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	id := w.sandbox(daytona.Started).ID
	w.meet(always(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"id":"x","networkBlockAll":false}`))
	}))
	_, err := w.client.SetNetwork(t.Context(), id, daytona.Network{BlockAll: true, Domains: daytona.Domains{"pypi.org"}})
	if err == nil || !strings.Contains(err.Error(), "did not take networkBlockAll and domainAllowList") {
		t.Errorf("got %v", err)
	}
}

// Filters are Daytona's to apply; where it does not know one, List does.
func TestListFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	made := map[string]string{}
	for _, name := range []string{"a-1", "a-2", "b-1"} {
		s, err := w.client.Create(t.Context(), daytona.CreateSandbox{Name: name, Labels: map[string]string{"series": name[:1]}})
		if err != nil {
			t.Fatal(err)
		}
		made[name] = s.ID
	}
	if err := w.client.Stop(t.Context(), made["a-2"]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Wait(t.Context(), made["a-2"], daytona.Stopped); err != nil {
		t.Fatal(err)
	}
	for _, ignored := range []bool{false, true} {
		w.meet(func(rw http.ResponseWriter, r *http.Request, server http.Handler) {
			if ignored {
				r.URL.RawQuery = ""
			}
			server.ServeHTTP(rw, r)
		})
		for name, tt := range map[string]struct {
			filter daytona.Filter
			want   []string
		}{
			"all":         {daytona.Filter{}, []string{"a-1", "a-2", "b-1"}},
			"name":        {daytona.Filter{Name: "a-"}, []string{"a-1", "a-2"}},
			"state":       {daytona.Filter{States: []daytona.State{daytona.Stopped}}, []string{"a-2"}},
			"states":      {daytona.Filter{States: []daytona.State{daytona.Stopped, daytona.Started}, Name: "a"}, []string{"a-1", "a-2"}},
			"label":       {daytona.Filter{Labels: map[string]string{"series": "b"}}, []string{"b-1"}},
			"all of them": {daytona.Filter{Labels: map[string]string{"series": "a"}, Name: "a-1", States: []daytona.State{daytona.Started}}, []string{"a-1"}},
			"none":        {daytona.Filter{Name: "c"}, nil},
		} {
			var got []string
			for s, err := range w.client.List(t.Context(), tt.filter) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, s.Name)
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s, filters ignored %v: got %v, want %v", name, ignored, got, tt.want)
			}
		}
	}
}

// What opens a sandbox is bounded before it is asked for, and its token is in
// no error.
func TestAccessIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	for _, ttl := range []time.Duration{0, -time.Second, daytona.MaxSigned + 1} {
		if _, err := w.client.SignedPreview(t.Context(), "x", 8080, ttl); err == nil || !strings.Contains(err.Error(), "between") {
			t.Errorf("%s: got %v", ttl, err)
		}
	}
	if _, err := w.client.SSHAccess(t.Context(), "x", 0); err == nil {
		t.Error("SSH access for no time")
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	query := ""
	w.meet(always(func(_ http.ResponseWriter, r *http.Request) { query = r.URL.RawQuery }))
	_, _ = w.client.SignedPreview(t.Context(), "x", 8080, 1500*time.Millisecond) // no body is no answer
	if query != "expiresInSeconds=2" {
		t.Errorf("asked for %s", query)
	}
	_, _ = w.client.SSHAccess(t.Context(), "x", 61*time.Second)
	if query != "expiresInMinutes=2" {
		t.Errorf("asked for %s", query)
	}
	w.meet(always(func(rw http.ResponseWriter, r *http.Request) { daytona.Refuse(rw, 404, "Cannot DELETE "+r.RequestURI) }))
	if err := w.client.RevokeSSHAccess(t.Context(), "x", secret.New("sesame")); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v", err)
	}
	w.meet(always(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"url":"ftp://8080-sesame.proxy.example"}`))
	}))
	if _, err := w.client.SignedPreview(t.Context(), "x", 8080, time.Minute); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v", err)
	}
}

// Where images and build contexts go.
func TestPushAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	images, err := w.client.RegistryPushAccess(t.Context())
	if err != nil || images.Registry != registry.Host || images.Project != "org" || images.Username != "robot" ||
		images.Password.Reveal() != "sesame" || images.ExpiresAt.IsZero() {
		t.Errorf("got %+v, %v", images, err)
	}
	contexts, err := w.client.ObjectStorageAccess(t.Context())
	if err != nil || contexts.URL != storage.URL || contexts.Bucket != "builds" || contexts.Region != "us-east-1" || contexts.OrganizationID == "" ||
		contexts.AccessKey != "AK" || contexts.Secret.Reveal() != "sesame" || contexts.SessionToken.Reveal() != "simsim" {
		t.Errorf("got %+v, %v", contexts, err)
	}
	if text := fmt.Sprintf("%+v %#v", images, contexts); strings.Contains(text, "sesame") || strings.Contains(text, "simsim") {
		t.Errorf("printed %s", text)
	}

	w = newWorld(t, standIn(t, func(o *devstack.Options) { o.Storage = nil }))
	if _, err := w.client.ObjectStorageAccess(t.Context()); reasonOf(err) != daytona.ReasonFault {
		t.Errorf("no storage: %v", err)
	}
}

// A signed preview opens a port to who has no token, a plain one does not.
func TestSignedPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	box := w.sandbox(daytona.Started)
	plain, err := w.client.Preview(t.Context(), box.ID, 8080)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.client.SignedPreview(t.Context(), box.ID, 8080, 2*time.Minute-time.Nanosecond)
	if err != nil || time.Until(signed.ExpiresAt) > 2*time.Minute || time.Until(signed.ExpiresAt) < time.Minute {
		t.Fatalf("got %+v, %v", signed, err)
	}
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for url, want := range map[string]int{plain.URL: http.StatusTemporaryRedirect, signed.URL.Reveal(): http.StatusBadGateway} { // nothing listens there
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _ = resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("got %d, want %d", resp.StatusCode, want)
		}
	}
}
