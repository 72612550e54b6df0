package daytona_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t, place(t))})
		created := b.want(b.api("POST", "/sandbox", object{
			"name": "one", "env": object{"COLOUR": "blue"}, "labels": object{"a": "b"},
			"unknown": []string{"ignored"}, "ttlMinutes": 5,
		}), 200, `"state":"creating"`)
		id := created.text("id")

		got := b.want(b.api("GET", "/sandbox/one", nil), 200, `"state":"started"`)
		for field, want := range map[string]string{
			"id": id, "autoStopInterval": "15", "autoArchiveInterval": "10080", "autoDeleteInterval": "-1",
			"cpu": "1", "memory": "1", "disk": "3", "user": "daytona", "snapshot": "dev",
			"env": "map[COLOUR:blue]", "labels": "map[a:b]",
		} {
			if got.text(field) != want {
				t.Errorf("%s is %q, want %q", field, got.text(field), want)
			}
		}
		if _, out := b.run(id, "echo $COLOUR $DAYTONA_SANDBOX_ID"); out != "blue "+id+"\n" {
			t.Errorf("environment in the sandbox: %q", out)
		}

		b.want(b.api("POST", "/sandbox", object{"name": "one"}), 409, "already exists")
		gone := b.want(b.api("DELETE", "/sandbox/one", nil), 200, `"DESTROYED_one_`)
		b.want(b.api("GET", "/sandbox/one", nil), 404, "not found")
		again := b.create(object{"name": "one"})
		b.wait(id, "destroyed")
		if name := b.api("GET", "/sandbox/"+id, nil).text("name"); name != gone.text("name") || again == id {
			t.Errorf("the destroyed sandbox is called %q", name)
		}
		b.want(b.toolbox("GET", id, "/version", nil), 404, "")
	})
}

func TestCreateRefused(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Quota: daytona.Quota{CPU: 1}})
	for _, c := range []struct {
		request object
		message string
	}{
		{object{"snapshot": "nowhere"}, "Snapshot nowhere not found"},
		{object{"cpu": 64}, "Cannot specify Sandbox resources"},
		{object{"buildInfo": object{"dockerfileContent": "FROM x"}}, "does not build"},
		{object{"volumes": []object{{"volumeId": "v"}}}, "no volumes"},
		{object{"autoStopInterval": -1}, "autoStopInterval must not be less"},
		{object{"networkAllowList": "10.0.0.1"}, "not an IPv4 network"},
		{object{"domainAllowList": "a,b,c,d,e,f,g,h,i,j,k"}, "more than 10 domains"},
		{object{"labels": []string{"a"}}, "labels"},
	} {
		b.want(b.api("POST", "/sandbox", c.request), 400, c.message)
	}
	b.create(object{"name": "first"})
	b.want(b.api("POST", "/sandbox", nil), 400, "Total CPU limit exceeded. Maximum allowed: 1.")
	b.want(b.api("POST", "/sandbox/first/stop", nil), 200, "")
	b.wait("first", "stopped")
	b.create(object{"name": "second"})
	b.want(b.api("POST", "/sandbox/first/start", nil), 400, "Total CPU limit exceeded")
}

// A failed start is a 400, and leaves a sandbox that can only be deleted.
func TestFailedStart(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: broken{engine(t, place(t))}})
		b.want(b.api("POST", "/sandbox", object{"name": "one"}), 400, "Sandbox failed to start: out of luck")
		left := b.want(b.api("GET", "/sandbox/one", nil), 200, `"state":"error"`)
		if left.text("errorReason") != "out of luck" {
			t.Errorf("reason %q", left.text("errorReason"))
		}
		for _, verb := range []string{"start", "stop", "archive"} {
			b.want(b.api("POST", "/sandbox/one/"+verb, nil), 400, "errored state")
		}
		b.want(b.api("POST", "/sandbox/one/recover", nil), 400, "not recoverable")
		b.want(b.api("POST", "/sandbox", object{"name": "one"}), 409, "")
		b.want(b.api("DELETE", "/sandbox/one", nil), 200, "")
		b.wait(left.text("id"), "destroyed")
	})
}

// broken is an engine that starts nothing.
type broken struct{ daytona.Engine }

func (broken) Start(context.Context, string) ([]string, error) {
	return nil, errors.New("out of luck")
}

func TestStates(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t, place(t))})
		id := b.create(object{"name": "one"})
		b.want(b.upload(id, "kept/file", []byte("content")), 200, "")
		// Neither a background child nor one that left its session survives.
		exit, out := b.run(id, "(setsid sleep 1001 &) </dev/null >/dev/null 2>&1; sleep 1002 </dev/null >/dev/null 2>&1 & ")
		if exit != 0 {
			t.Fatal(out)
		}

		b.want(b.api("POST", "/sandbox/one/start", nil), 200, `"state":"started"`)
		b.want(b.api("POST", "/sandbox/one/archive", nil), 400, "not stopped")
		b.want(b.api("POST", "/sandbox/one/stop?force=true", nil), 200, `"state":"stopping"`)
		b.wait(id, "stopped")
		b.want(b.toolbox("POST", id, "/process/execute", object{"command": "true"}), 400, "Is the Sandbox started?")
		b.want(b.api("POST", "/sandbox/one/stop", nil), 400, "not started")

		b.want(b.api("POST", "/sandbox/one/archive", nil), 200, `"desiredState":"archived"`)
		b.wait(id, "archived")
		b.want(b.api("POST", "/sandbox/one/start", nil), 200, `"state":"restoring"`)
		b.wait(id, "started")
		if _, out := b.run(id, "cat kept/file; ps -e -o args 2>/dev/null | grep -c '[s]leep 100[12]'"); out != "content0\n" {
			t.Errorf("after a stop and start: %q", out)
		}
	})
}

func TestEphemeral(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(object{"autoDeleteInterval": 0})
	b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
	b.wait(id, "destroyed")
}

// While a state changes, nothing else may change it.
func TestChangeInProgress(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	b := serve(t, daytona.Options{Engine: slow{hollow(), gate}})
	id := b.create(nil)
	b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "stopping")
	for method, path := range map[string]string{"POST": "/start", "DELETE": ""} {
		b.want(b.api(method, "/sandbox/"+id+path, nil), 409, "Sandbox state change in progress")
	}
	close(gate)
	b.wait(id, "stopped")
}

type slow struct {
	daytona.Engine
	gate chan struct{}
}

func (s slow) Stop(ctx context.Context, id string) error {
	select {
	case <-s.gate:
	case <-ctx.Done():
	}
	return s.Engine.Stop(ctx, id)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(nil)
	b.want(b.api("PUT", "/sandbox/"+id+"/labels", object{"labels": object{"x": "y"}}), 200, `"labels":{"x":"y"}`)
	b.want(b.api("PUT", "/sandbox/"+id+"/labels", object{}), 400, "labels")
	b.want(b.api("POST", "/sandbox/"+id+"/autostop/30", nil), 201, `"autoStopInterval":30`)
	b.want(b.api("POST", "/sandbox/"+id+"/autoarchive/0", nil), 201, `"autoArchiveInterval":43200`)
	b.want(b.api("POST", "/sandbox/"+id+"/autodelete/-1", nil), 201, `"autoDeleteInterval":-1`)
	b.want(b.api("POST", "/sandbox/"+id+"/autostop/soon", nil), 400, "numeric")
	b.want(b.api("POST", "/sandbox/"+id+"/public/true", nil), 201, `"public":true`)
	b.want(b.api("GET", "/sandbox/"+id+"/toolbox-proxy-url", nil), 200, "/toolbox")

	// A list of domains cannot be enforced: the sandbox says that all is blocked.
	network := "/sandbox/" + id + "/network-settings"
	b.want(b.api("POST", network, object{"domainAllowList": "a.com,*.b.com"}), 200, `"networkBlockAll":true,"domainAllowList":"a.com,*.b.com"`)
	b.want(b.api("POST", network, object{"domainAllowList": ""}), 200, `"networkBlockAll":false`)
	b.want(b.api("POST", network, object{"networkAllowList": "::/0"}), 400, "IPv4")
}

// What the intervals promise happens by the clock, and only idleness counts.
func TestIntervals(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	b.create(object{"name": "idle", "autoStopInterval": 15, "autoArchiveInterval": 60, "autoDeleteInterval": 120})
	b.create(object{"name": "never", "autoStopInterval": 0})
	brief := b.create(object{"name": "brief", "autoStopInterval": 15, "autoArchiveInterval": 60, "autoDeleteInterval": 60})
	busy := b.create(object{"name": "busy", "autoStopInterval": 15})

	b.clock.advance(14 * time.Minute)
	b.want(b.api("POST", "/sandbox/"+busy+"/last-activity", nil), 201, "")
	b.clock.advance(2 * time.Minute)
	b.wait("idle", "stopped") // GET is no activity
	b.want(b.api("GET", "/sandbox/busy", nil), 200, `"state":"started"`)
	b.want(b.toolbox("GET", busy, "/version", nil), 200, "version")
	b.clock.advance(14 * time.Minute)
	b.want(b.api("GET", "/sandbox/busy", nil), 200, `"state":"started"`)
	b.clock.advance(time.Minute)
	b.wait("busy", "stopped")
	b.clock.advance(46 * time.Minute)
	b.wait("idle", "archived")
	b.wait(brief, "destroyed")
	b.clock.advance(25 * time.Hour)
	b.eventually("the end of the destroyed", func() bool { return b.api("GET", "/sandbox/"+brief, nil).status == 404 })
	b.want(b.api("GET", "/sandbox/never", nil), 200, `"state":"started"`)
	b.want(b.api("GET", "/sandbox/idle", nil), 200, `"state":"archived"`) // no interval deletes it any more
}

func TestAccess(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Key: "dtn_right", RateLimit: daytona.RateLimit{Create: 1}})
	url := b.server.URL()
	for _, header := range []string{"", "Bearer dtn_wrong", "Bearer dtn_righ", "Basic dtn_right"} {
		r := b.want(b.send("GET", url+"/sandbox/x", nil, "Authorization", header), 401, `"path":"/api/sandbox/x"`)
		for _, field := range []string{"timestamp", "statusCode", "error", "message"} {
			if r.text(field) == "" {
				t.Errorf("the error has no %s: %s", field, r.body)
			}
		}
		b.want(b.send("GET", strings.TrimSuffix(url, "api")+"toolbox/x/version", nil, "Authorization", header), 401, `"method":"GET"`)
	}
	b.want(b.send("GET", url+"/config", nil), 200, `"defaultSnapshot":"dev"`)
	b.want(b.api("GET", "/api-keys/current", nil), 200, "write:sandboxes")
	b.want(b.api("GET", "/sandbox/x", nil), 404, "not found")
	b.want(b.api("GET", "/nothing", nil), 404, "Cannot GET /api/nothing")
	b.want(b.api("POST", "/sandbox", strings.NewReader(`{"name": `+strings.Repeat(" ", 2<<20))), 413, "")

	// The limit's headers carry its name; there is no plain Retry-After.
	r := b.want(b.api("POST", "/sandbox", nil), 429, "Too Many Requests")
	if r.header.Get("Retry-After-sandbox-create") == "" || r.header.Get("Retry-After") != "" ||
		r.header.Get("X-RateLimit-Remaining-sandbox-create") != "0" ||
		r.header.Get("X-RateLimit-Limit-authenticated") != "10000" {
		t.Errorf("headers %v", r.header)
	}
}

// What a server knew, the next one knows: records, files, who was stopped.
func TestRestart(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		where := place(t)
		first := serve(t, daytona.Options{Engine: engine(t, where)}, keep)
		id := first.create(object{"name": "one", "env": object{"COLOUR": "blue"}})
		first.want(first.api("PUT", "/sandbox/one/labels", object{"labels": object{"x": "1"}}), 200, "")
		first.want(first.api("PUT", "/sandbox/one/labels", object{"labels": object{"x": "2"}}), 200, "")
		first.want(first.upload(id, "file", []byte("content")), 200, "")
		resting := first.create(object{"name": "two"})
		first.want(first.api("POST", "/sandbox/two/stop", nil), 200, "")
		first.wait(resting, "stopped")
		first.want(first.api("POST", "/sandbox/two/archive", nil), 200, "")
		first.wait(resting, "archived")
		gone := first.create(object{"name": "three"})
		first.want(first.api("DELETE", "/sandbox/three", nil), 200, "")
		first.wait(gone, "destroyed")
		first.close()

		second := serve(t, daytona.Options{Engine: engine(t, where)})
		one := second.want(second.api("GET", "/sandbox/one", nil), 200, `"labels":{"x":"2"}`)
		if one.text("id") != id || one.text("env") != "map[COLOUR:blue]" {
			t.Errorf("found %s", one.body)
		}
		second.want(second.api("GET", "/sandbox/two", nil), 200, `"state":"archived"`)
		second.want(second.api("GET", "/sandbox/"+gone, nil), 404, "")
		second.want(second.api("POST", "/sandbox/one/start", nil), 200, "")
		second.wait(id, "started")
		if _, out := second.run(id, "cat file"); out != "content" {
			t.Errorf("file after a restart: %q", out)
		}
	})
}

// Requests that end early leave nothing behind.
func TestCreateAbandoned(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	b := serve(t, daytona.Options{Engine: slowStart{hollow(), gate}})
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "POST", b.server.URL()+"/sandbox", strings.NewReader(`{"name":"one"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+b.server.Key())
	request.Header.Set("Content-Type", "application/json")
	failed := make(chan error, 1)
	go func() {
		response, err := b.http.Do(request)
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	b.wait("one", "creating")
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(gate)
	b.wait("one", "started")
}

type slowStart struct {
	daytona.Engine
	gate chan struct{}
}

func (s slowStart) Start(ctx context.Context, id string) ([]string, error) {
	select {
	case <-s.gate:
	case <-ctx.Done():
	}
	return s.Engine.Start(ctx, id)
}

// A start holds its request until the sandbox runs, or says why it does not.
func TestStartHeld(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{}, 1)
	gate <- struct{}{} // the first start is through
	b := serve(t, daytona.Options{Engine: slowStart{hollow(), gate}})
	id := b.create(nil)
	stop := func() {
		b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "stopping")
		b.wait(id, "stopped")
	}
	stop()
	answer := make(chan reply, 1)
	go func() { answer <- b.api("POST", "/sandbox/"+id+"/start", nil) }()
	b.wait(id, "starting")
	select {
	case r := <-answer:
		t.Errorf("answered while it starts: %s", r.body)
	default:
	}
	gate <- struct{}{}
	b.want(<-answer, 200, `"state":"started"`)
}

// A sandbox that does not start again is in state error, too.
func TestFailedRestart(t *testing.T) {
	t.Parallel()
	e := &fragile{Engine: hollow()}
	b := serve(t, daytona.Options{Engine: e})
	id := b.create(nil)
	b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "stopping")
	b.wait(id, "stopped")
	e.broken.Store(true)
	b.want(b.api("POST", "/sandbox/"+id+"/start", nil), 400, "Sandbox failed to start: out of luck")
	b.want(b.api("GET", "/sandbox/"+id, nil), 200, `"state":"error"`)
}

// fragile is an engine that starts things until it is broken.
type fragile struct {
	daytona.Engine
	broken atomic.Bool
}

func (e *fragile) Start(ctx context.Context, id string) ([]string, error) {
	if e.broken.Load() {
		return broken{}.Start(ctx, id)
	}
	return e.Engine.Start(ctx, id)
}
