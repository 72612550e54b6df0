package daytona_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

func TestSuspended(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(object{"name": "one"})
	b.server.Suspend("Depleted credits")
	b.wait(id, "stopped")
	b.want(b.api("POST", "/sandbox/one/start", nil), 403, "Organization is suspended: Depleted credits")
	b.want(b.api("POST", "/sandbox", nil), 403, "Organization is suspended: Depleted credits")
	b.want(b.api("GET", "/sandbox/one", nil), 200, "stopped")
	b.server.Suspend("")
	b.want(b.api("POST", "/sandbox/one/start", nil), 200, "")
	b.wait(id, "started")
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Permissions: []string{"write:sandboxes"}})
	id := b.create(object{"name": "one"})
	b.want(b.api("GET", "/api-keys/current", nil), 200, `"permissions":["write:sandboxes"]`)
	b.want(b.api("DELETE", "/sandbox/one", nil), 403, "Access denied")
	b.want(b.api("POST", "/snapshots/x/activate", nil), 403, "Access denied")
	b.server.SetPermissions("delete:sandboxes")
	for _, path := range []string{"/sandbox", "/sandbox/one/stop", "/sandbox/one/autostop/5"} {
		b.want(b.api("POST", path, nil), 403, "Access denied")
	}
	b.want(b.api("POST", "/sandbox/"+id+"/last-activity", nil), 201, "")
	b.want(b.api("DELETE", "/sandbox/one", nil), 200, "")
}

// What has no room is refused in Daytona's order: the name comes last.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	b.create(object{"name": "one"})
	b.server.SetRunners(false)
	b.want(b.api("POST", "/sandbox", object{"name": "one"}), 400, "No available runners")
	b.server.SetQuota(daytona.Quota{CPU: 1})
	b.want(b.api("POST", "/sandbox", object{"name": "one"}), 400, "Total CPU limit exceeded")
	b.server.SetQuota(daytona.Quota{})
	b.server.SetRunners(true)
	b.want(b.api("POST", "/sandbox", object{"name": "one"}), 409, "already exists")
}

// A runner pulls an image once; until it has, the sandbox says so.
func TestFirstPull(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Delays: daytona.Delays{Pull: 300 * time.Millisecond}})
	made := make(chan reply, 1)
	go func() { made <- b.api("POST", "/sandbox", object{"name": "first"}) }()
	b.wait("first", "pulling_snapshot")
	b.want(<-made, 200, `"state":"creating"`)
	b.wait("first", "started")
	b.create(object{"name": "second"})
}

func TestSnapshotStates(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Snapshots: []daytona.Snapshot{{Name: "slim"}}})
	set := func(state, reason string) {
		t.Helper()
		if err := b.server.SetSnapshot("slim", state, reason); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.server.SetSnapshot("none", "error", ""); err == nil {
		t.Error("a snapshot that is not there was set")
	}
	set("error", "no such image")
	id := b.want(b.api("GET", "/snapshots/slim", nil), 200, `"errorReason":"no such image"`).text("id")
	b.want(b.api("POST", "/sandbox", object{"snapshot": "slim"}), 400, "Snapshot slim is error")
	b.want(b.api("POST", "/snapshots/"+id+"/activate", nil), 400, "it is in error state")
	set("inactive", "")
	b.want(b.api("POST", "/sandbox", nil), 400, "Snapshot slim is inactive")
	b.want(b.api("POST", "/snapshots/slim/activate", nil), 400, "uuid is expected")
	b.want(b.api("POST", "/snapshots/"+id+"/activate", nil), 200, `"state":"pending"`)
	b.eventually("an active snapshot", func() bool { return b.api("GET", "/snapshots/slim", nil).text("state") == "active" })
	b.create(nil)
}

// A sandbox that breaks keeps its reason until it is recovered, if it can be.
func TestBreak(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t, place(t))})
		id := b.create(object{"name": "one"})
		b.want(b.upload(id, "kept", []byte("content")), 200, "")
		for _, recoverable := range []bool{true, false} {
			if err := b.server.Break("one", "no space left on device", recoverable); err != nil {
				t.Fatal(err)
			}
			broken := b.want(b.wait(id, "error"), 200, `"errorReason":"no space left on device"`)
			if broken.text("desiredState") != "started" || (broken.text("recoverable") == "true") != recoverable {
				t.Errorf("broken: %s", broken.body)
			}
			b.want(b.toolbox("GET", id, "/version", nil), 400, "Is the Sandbox started?")
			if !recoverable {
				b.want(b.api("POST", "/sandbox/one/recover", nil), 400, "not recoverable")
				continue
			}
			b.want(b.api("POST", "/sandbox/one/recover", nil), 200, `"recoverable":false`)
			if after := b.wait(id, "started"); strings.Contains(string(after.body), "no space") {
				t.Errorf("recovered: %s", after.body)
			}
			if _, out := b.run(id, "cat kept"); out != "content" {
				t.Errorf("after the recovery: %q", out)
			}
		}
	})
}

// Wrap stands before the API, the toolboxes and the previews.
func TestWrap(t *testing.T) {
	t.Parallel()
	var met []string
	b := serve(t, daytona.Options{Engine: hollow(), Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			met = append(met, r.Host+r.URL.Path)
			next.ServeHTTP(w, r)
		})
	}})
	id := b.create(nil)
	b.toolbox("GET", id, "/version", nil)
	url, token := b.preview(id, 8080)
	b.send("GET", url+"/x", nil, "x-daytona-preview-token", token)
	for _, path := range []string{"/api/sandbox", "/toolbox/" + id + "/version", "/x"} {
		if !slices.ContainsFunc(met, func(at string) bool { return strings.HasSuffix(at, path) }) {
			t.Errorf("%s did not pass: %q", path, met)
		}
	}
}
