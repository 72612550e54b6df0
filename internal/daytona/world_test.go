package daytona_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/front"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testbox"
)

const (
	canary   = "dtn_canary_0123456789"
	snapshot = "dayclaude/slim:1"
)

var (
	ours     = map[string]string{"dayclaude/store": "s1"}
	registry = &devstack.Registry{Host: "registry.example:5000", Project: "org", Username: "robot", Secret: "sesame"}
	storage  = &devstack.Storage{URL: "https://s3.example", Bucket: "builds", AccessKey: "AK", Secret: "sesame", SessionToken: "simsim"}
)

// standIn starts an embedded Daytona for a test and its subtests.
func standIn(t *testing.T, with ...func(*devstack.Options)) *devstack.Server {
	t.Helper()
	opts := devstack.Options{
		Engine: testbox.Processes(t), Key: canary, Snapshots: []devstack.Snapshot{{Name: snapshot, Entrypoint: []string{"echo", "ready"}}},
		Registry: registry, Storage: storage,
	}
	for _, change := range with {
		change(&opts)
	}
	return testbox.Serve(t, opts)
}

// world is a client whose way to an embedded Daytona leads through a front,
// where a test can answer in Daytona's place. The client pauses in no time.
type world struct {
	*testing.T
	server *devstack.Server
	client *daytona.Client
	front  *front.Front
	pauses func() []time.Duration
	box    *daytona.Sandbox // see sandbox
	made   int              // names that were used up

	meets atomic.Pointer[obstacle]
	mu    sync.Mutex
	seen  []string // requests that reached the front: method and path
}

// obstacle stands before Daytona and may answer in its place.
type obstacle func(w http.ResponseWriter, r *http.Request, daytona http.Handler)

// always answers everything so.
func always(answer http.HandlerFunc) obstacle {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) { answer(w, r) }
}

// once answers the first request so.
func once(answer http.HandlerFunc) obstacle {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, daytona http.Handler) {
		if n.Add(1) > 1 {
			daytona.ServeHTTP(w, r)
			return
		}
		answer(w, r)
	}
}

// deaf lets the first order pass, anything but a GET, and loses the answer.
func deaf() obstacle {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, daytona http.Handler) {
		if r.Method == http.MethodGet || n.Add(1) > 1 {
			daytona.ServeHTTP(w, r)
			return
		}
		daytona.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
}

// newWorld makes a world of a sandbox on the server; nothing stands in its
// client's way yet.
func newWorld(t *testing.T, server *devstack.Server) *world {
	t.Helper()
	w := &world{T: t, server: server}
	var err error
	if w.front, err = front.New(server.URL(), w.around); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.front.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.client, err = daytona.New(daytona.Config{
		BaseURL: w.front.URL(), Key: secret.New(canary), Version: "1.2.3", HTTP: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.pauses = w.client.Hurry()
	return w
}

func (w *world) around(daytona http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		if o := w.meets.Load(); o != nil {
			(*o)(rw, r, daytona)
			return
		}
		daytona.ServeHTTP(rw, r)
	})
}

// requests returns what reached the front so far.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// meet has all requests meet an obstacle; nil takes it away.
func (w *world) meet(o obstacle) {
	if o == nil {
		w.meets.Store(nil)
		return
	}
	w.meets.Store(&o)
}

// name returns a name that nothing has.
func (w *world) name() string {
	w.made++
	return fmt.Sprintf("dayclaude-%d-%d", time.Now().UnixNano(), w.made)
}

// sandbox returns a sandbox in a state that rests: the world's own, if that can
// still be brought there.
func (w *world) sandbox(state daytona.State) *daytona.Sandbox {
	w.Helper()
	do := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatalf("a sandbox that is %s: %v", state, err)
		}
	}
	wait := func(states ...daytona.State) {
		w.Helper()
		s, err := w.client.Wait(w.Context(), w.box.ID, states...)
		do(err)
		w.box = s
	}
	breaks := func() {
		w.Helper()
		do(w.server.Break(w.box.ID, "disk full", true))
		for !w.box.State.Failed() { // nobody asked for it, so Wait would not wait
			s, err := w.client.Get(w.Context(), w.box.ID)
			do(err)
			w.box = s
		}
	}
	if w.box != nil {
		wait(daytona.Started, daytona.Stopped, daytona.Archived, daytona.Errored, daytona.Destroyed)
	}
	if w.box == nil || w.box.State == daytona.Destroyed || w.box.State.Failed() {
		s, err := w.client.Create(w.Context(), w.asked())
		do(err)
		w.box = s
	}
	if w.box.State != state && w.box.State != daytona.Started {
		do(w.client.Start(w.Context(), w.box.ID))
		wait(daytona.Started)
	}
	switch {
	case w.box.State == state:
		return w.box
	case state == daytona.Errored:
		breaks()
	default: // stopped
		do(w.client.Stop(w.Context(), w.box.ID))
		wait(state)
	}
	return w.box
}

// toolbox is that of a sandbox that is started.
func (w *world) toolbox() *daytona.Toolbox {
	w.Helper()
	return w.client.Toolbox(w.sandbox(daytona.Started))
}

func (w *world) asked() daytona.CreateSandbox {
	return daytona.CreateSandbox{Name: w.name(), Labels: ours, Snapshot: snapshot, AutoStop: new(15), AutoArchive: new(0), AutoDelete: new(-1)}
}
