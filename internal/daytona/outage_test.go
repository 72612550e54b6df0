package daytona

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// waits collects what the user is told.
type waits struct {
	mu   sync.Mutex
	told []string
}

// hear returns a context whose calls tell w.
func (w *waits) hear(t *testing.T) context.Context {
	return notice.With(t.Context(), func(notice string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, notice)
	})
}

func (w *waits) want(t *testing.T, parts ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.EqualFunc(w.told, parts, strings.Contains) {
		t.Errorf("the user was told %q, want %q", w.told, parts)
	}
}

// An outage is told once, however many calls meet it; the next one anew.
func TestOutageIsToldOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	down := 0 // requests that meet an outage still
	healthy := started()
	c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down > 0 {
			down--
			Refuse(w, 503, "upstream connect error")
			return
		}
		healthy.ServeHTTP(w, r)
	}))
	told, other := &waits{}, &waits{}
	mine, theirs := told.hear(t), other.hear(t)
	fail := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		down = n
	}
	look := func(ctx context.Context) {
		if _, err := c.Get(ctx, id); err != nil {
			t.Error(err)
		}
	}
	fail(tellAfter - 1)
	look(mine)
	told.want(t) // a hiccup

	fail(30)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() { look(mine) })
	}
	calls.Wait()
	once := []string{"upstream connect error (503); trying again for 3m0s", "Daytona answers again, after "}
	told.want(t, once...)
	fail(5)
	look(mine)
	told.want(t, append(once, once...)...)
	other.want(t)
	fail(5)
	look(theirs)
	other.want(t, once...)
}

// lookup is a transport whose host has no address.
type lookup struct{ found bool }

func (l *lookup) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.found {
		rec := httptest.NewRecorder()
		answer(rec, 200, record(Started, Started, ""))
		return rec.Result(), nil
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), Server: "10.0.0.1:53", IsNotFound: true}}
}

// A wrong URL is told at once. Once Daytona has answered, it is the network.
func TestWrongURL(t *testing.T) {
	t.Parallel()
	c, _, pauses := serve(t, started())
	via := &lookup{}
	c.http = &http.Client{Transport: via}
	_, err := c.Get(t.Context(), id)
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "Daytona does not answer at "+c.base.Host+": there is no such host") ||
		strings.Contains(err.Error(), "10.0.0.1") || !strings.Contains(fault.HintOf(err), "DAYTONA_API_URL") || len(pauses()) > 0 {
		t.Errorf("got %v (hint %q) after %v", err, fault.HintOf(err), pauses())
	}
	via.found = true
	if _, err := c.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	via.found = false
	if _, err := c.Get(t.Context(), id); fault.KindOf(err) != fault.Unavailable || Total(pauses()) < Outlasts {
		t.Errorf("got %v after %v", err, pauses())
	}

	for name, h := range map[string]http.HandlerFunc{
		"web server": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<h1>Not found</h1>"))
		},
		"without /api": func(w http.ResponseWriter, r *http.Request) { Refuse(w, 404, "Cannot GET "+r.URL.Path) },
	} {
		c, srv, _ := serve(t, h)
		for range 2 { // what was answered so is no answer of Daytona's
			_, err := c.Get(t.Context(), id)
			if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "no Daytona API answers at "+c.base.Host) || fault.HintOf(err) != hintURL {
				t.Errorf("%s: got %v of kind %s", name, err, fault.KindOf(err))
			}
		}
		if n := len(srv.seen()); n != 2 || c.answered.Load() {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

// A certificate that is not valid (now) is told at once, with the clock.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(started())
	t.Cleanup(s.Close)
	roots := s.Client().Transport.(*http.Transport).Clone()
	roots.TLSClientConfig.Time = func() time.Time { return time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC) }
	t.Cleanup(roots.CloseIdleConnections)
	c, err := New(Config{BaseURL: s.URL + "/api", Key: secret.New(canary), HTTP: &http.Client{Transport: roots}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), id)
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "not yet valid") || fault.HintOf(err) != hintClock {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

// A stalled server is named, too.
func TestStalledServerIsNamed(t *testing.T) {
	t.Parallel()
	c, _, _ := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	err := c.call(t.Context(), request{op: "look", method: http.MethodGet, path: []string{"sandbox"}, timeout: time.Millisecond, hurried: true}, nil)
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "Daytona did not answer at "+c.base.Host+" within 1ms") {
		t.Errorf("got %v", err)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		states   []SnapshotState // one after the other; the last lasts
		activate int             // what activating is answered with; 0: it must not be asked
		asked    int             // how often; default once if at all
		kind     fault.Kind
		says     string
		told     []string
	}{
		"active":             {states: []SnapshotState{"active"}},
		"inactive":           {states: []SnapshotState{"inactive", "pulling", "active"}, activate: 200, told: []string{"being activated"}},
		"activated by two":   {states: []SnapshotState{"inactive", "pulling", "active"}, activate: 400, told: []string{"being activated"}},
		"put aside just now": {states: append(slices.Repeat([]SnapshotState{"inactive"}, 100), "active"), activate: 400, asked: 2, told: []string{"being activated"}},
		"may not activate":   {states: []SnapshotState{"inactive"}, activate: 403, kind: fault.Auth, says: "the API key may not activate it", told: []string{"being activated"}},
		"pulled":             {states: []SnapshotState{"pulling", "active"}},
		"pulled for long":    {states: append(slices.Repeat([]SnapshotState{"pulling"}, 40), "active"), told: []string{"is pulling; the first time"}},
		"a state of 2030":    {states: []SnapshotState{"defrosting", "active"}},
		"broken":             {states: []SnapshotState{"error"}, kind: fault.Sandbox, says: "in state error: no such image"},
		"broken on the way":  {states: []SnapshotState{"pulling", "build_failed"}, kind: fault.Sandbox, says: "build_failed: no such image"},
		"removed":            {states: []SnapshotState{"removing"}, kind: fault.NotFound, says: "is being removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			states, asked := tt.states, 0
			c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.Method == http.MethodPost && r.URL.Path == "/api/snapshots/snap/activate" {
					asked++
					answer(w, tt.activate, map[string]any{"statusCode": tt.activate, "message": "Access denied"})
					return
				}
				answer(w, 200, map[string]any{"id": "snap", "name": "slim", "state": next(&states), "errorReason": "no such image"})
			}))
			told := &waits{}
			err := c.Ready(told.hear(t), "slim")
			if (err == nil) != (tt.kind == "") || err != nil && (fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || fault.HintOf(err) == "") {
				t.Errorf("got %v of kind %s, want %q of kind %q", err, fault.KindOf(err), tt.says, tt.kind)
			}
			if want := max(tt.asked, min(tt.activate, 1)); asked != want {
				t.Errorf("asked %d times to activate, want %d", asked, want)
			}
			told.want(t, tt.told...)
		})
	}
}

// A wait for a runner is long but not endless, and told.
func TestNoRunners(t *testing.T) {
	t.Parallel()
	for _, free := range []bool{true, false} {
		moods := slices.Repeat([]string{"no runners"}, 500)
		if free {
			moods = moods[:20]
		}
		p := &platform{t: t, moods: moods, boxes: map[string]map[string]any{}}
		c, _, pauses := serve(t, p)
		told := &waits{}
		_, err := c.Create(told.hear(t), asked())
		told.want(t, "No available runners")
		if free != (err == nil) || !free && (fault.KindOf(err) != fault.Unavailable || fault.HintOf(err) != hintRunners || Total(pauses()) < runnersPatience) {
			t.Errorf("free %v: got %v after %s", free, err, Total(pauses()))
		}
	}
}

// A snapshot that sleeps is woken on the way; a create that waits for its
// image tells.
func TestCreateWithSleepingSnapshot(t *testing.T) {
	t.Parallel()
	p := &platform{t: t, moods: []string{"inactive"}, boxes: map[string]map[string]any{}, slow: 80}
	active := false
	c, _, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/activate"):
			active = true
			answer(w, 200, nil)
		case strings.Contains(r.URL.Path, "/snapshots/"):
			state := SnapshotInactive
			if active {
				state = SnapshotActive
			}
			answer(w, 200, map[string]any{"id": "snap", "name": "slim", "state": state})
		default:
			p.ServeHTTP(w, r)
		}
	}))
	told := &waits{}
	s, err := c.Create(told.hear(t), asked())
	if err != nil || s.State != Started || p.made != 1 || !active {
		t.Errorf("got %+v, %v after %d creates", s, err, p.made)
	}
	told.want(t, "being activated", "is pulling_snapshot; the first time that takes minutes")
}

// A broken sandbox that can be recovered is; if not it says why.
func TestRecover(t *testing.T) {
	t.Parallel()
	broken, mended := record(Errored, Errored, "disk full"), record(Started, Started, "")
	for name, tt := range map[string]struct {
		orders []int
		looks  []map[string]any
		sent   int
		kind   fault.Kind
		says   string
	}{
		"recovered":    {orders: []int{200}, looks: []map[string]any{record(Starting, Started, ""), mended}, sent: 1},
		"answer lost":  {orders: []int{0}, looks: []map[string]any{mended}, sent: 1},
		"not heard":    {orders: []int{0, 0, 200}, looks: []map[string]any{broken, broken, mended}, sent: 3},
		"in a while":   {orders: []int{200}, looks: []map[string]any{broken, broken, record(Stopped, Started, ""), mended}, sent: 1},
		"in vain":      {orders: []int{200}, looks: []map[string]any{broken}, sent: 1, kind: fault.Sandbox, says: "disk full"},
		"not possible": {orders: []int{403}, looks: []map[string]any{broken}, sent: 1, kind: fault.Auth, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := &script{orders: tt.orders, looks: tt.looks}
			c, _, _ := serve(t, script)
			s, err := c.Recover(context.WithoutCancel(t.Context()), id)
			if tt.kind == "" && (err != nil || s.State != Started) || tt.kind != "" && (fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %+v, %v", s, err)
			}
			if script.sent != tt.sent {
				t.Errorf("asked %d times", script.sent)
			}
		})
	}
}
