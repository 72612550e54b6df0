package daytona_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

func TestSnapshots(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Snapshots: []daytona.Snapshot{
		{Name: "dayclaude/slim:1.0", Image: "slim"}, {Name: "full", CPU: 4, Memory: 8, Disk: 10, Entrypoint: []string{"run"}},
	}})
	found := b.want(b.api("GET", "/snapshots/dayclaude%2Fslim:1.0", nil), 200, `"state":"active"`)
	b.want(b.api("GET", "/snapshots/"+found.text("id"), nil), 200, `"name":"dayclaude/slim:1.0"`)
	b.want(b.api("GET", "/snapshots/none", nil), 404, "not found")
	b.want(b.api("GET", "/snapshots?limit=1&page=2", nil), 200, `"totalPages":2`)
	b.want(b.api("GET", "/snapshots?name=ful", nil), 200, `"mem":8`)
	b.create(object{"name": "by-id", "snapshot": found.text("id")})
	b.want(b.api("POST", "/sandbox", object{"snapshot": "full"}), 200, `"cpu":4`)
}

// A snapshot is made from an image, used, put aside, taken back and deleted,
// and the next server knows it.
func TestSnapshotLife(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		where := place(t)
		first := serve(t, daytona.Options{Engine: engine(t, where)}, keep)
		id := first.makeSnapshot(object{"name": "team/slim:1", "imageName": image, "cpu": 2, "memory": 3, "entrypoint": []string{"", "true"}}, "active")
		first.want(first.api("POST", "/snapshots", object{"name": "team/slim:1", "imageName": image}), 409, "already exists")
		first.close()

		b := serve(t, daytona.Options{Engine: engine(t, where)})
		found := b.want(b.api("GET", "/snapshots/team%2Fslim:1", nil), 200, `"state":"active"`)
		if found.text("id") != id || found.text("cpu") != "2" || found.text("mem") != "3" || found.text("entrypoint") != "[true]" {
			t.Errorf("after a restart: %s", found.body)
		}
		b.create(object{"name": "one", "snapshot": "team/slim:1"})
		b.want(b.api("GET", "/snapshots?limit=1", nil), 200, "team/slim:1") // the one that was used last

		for _, call := range []struct{ method, path string }{{"DELETE", ""}, {"POST", "/activate"}, {"POST", "/deactivate"}} {
			b.want(b.api(call.method, "/snapshots/team%2Fslim:1"+call.path, nil), 400, "uuid is expected")
			b.want(b.api(call.method, "/snapshots/none"+call.path, nil), 404, "not found")
		}
		b.want(b.api("POST", "/snapshots/"+id+"/activate", nil), 400, "already active")
		for range 2 {
			b.want(b.api("POST", "/snapshots/"+id+"/deactivate", nil), 204, "")
		}
		b.want(b.api("POST", "/sandbox", object{"snapshot": id}), 400, "is inactive")
		b.want(b.api("POST", "/snapshots/"+id+"/activate", nil), 400, "still in progress")
		b.clock.advance(11 * time.Minute)
		b.want(b.api("POST", "/snapshots/"+id+"/activate", nil), 200, `"state":"pending"`)
		b.waitSnapshot(id, "active")

		b.want(b.api("DELETE", "/snapshots/"+id, nil), 200, "")
		b.eventually("the snapshot's end", func() bool { return b.api("GET", "/snapshots/"+id, nil).status == 404 })
		b.want(b.api("GET", "/sandbox/one", nil), 200, "started")
		b.makeSnapshot(object{"name": "team/slim:1", "imageName": image}, "active") // the name is free again
	})
}

// makeSnapshot asks for a snapshot and waits until it has the state.
func (b *bench) makeSnapshot(request object, state string) (id string) {
	b.Helper()
	id = b.want(b.api("POST", "/snapshots", request), 200, `"state":"pending"`).text("id")
	b.waitSnapshot(id, state)
	return id
}

func (b *bench) waitSnapshot(id, state string) (last reply) {
	b.Helper()
	b.eventually("a snapshot that is "+state, func() bool {
		last = b.api("GET", "/snapshots/"+id, nil)
		return last.text("state") == state
	})
	return last
}

func TestSnapshotRefused(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Quota: daytona.Quota{Snapshots: 2}})
	build := object{"dockerfileContent": "FROM x:1"}
	for _, c := range []struct {
		request object
		status  int
		message string
	}{
		{object{"name": "a"}, 400, "Must specify an image name"},
		{object{"name": "a", "imageName": "x:1", "buildInfo": build}, 400, "Cannot specify an image name"},
		{object{"name": "a", "entrypoint": []string{"x"}, "buildInfo": build}, 400, "Cannot specify an entrypoint"},
		{object{"name": "a", "buildInfo": object{"dockerfileContent": ""}}, 400, "should not be empty"},
		{object{"name": "a b", "imageName": "x:1"}, 400, "Invalid snapshot name"},
		{object{"name": "", "imageName": "x:1"}, 400, "Invalid snapshot name"},
		{object{"name": "a", "imageName": "x"}, 400, "must include a tag"},
		{object{"name": "a", "imageName": "x:"}, 400, "must include a tag"},
		{object{"name": "a", "imageName": "x:latest"}, 400, "not allowed"},
		{object{"name": "a", "imageName": "x@sha256:12"}, 400, "Invalid image name"},
		{object{"name": "a", "imageName": "x:1", "gpu": 1}, 400, "GPU quota exceeded"},
		{object{"name": "a", "imageName": "x:1", "cpu": -1}, 400, "must not be less than 0"},
		{object{"name": "a", "imageName": "x:1", "sandboxClass": "linux-vm"}, 400, "No runners are configured"},
		{object{"name": "a", "imageName": "x:1", "regionId": "mars"}, 404, "Region not found"},
	} {
		b.want(b.api("POST", "/snapshots", c.request), c.status, c.message)
	}
	digest := "x@sha256:" + strings.Repeat("0a", 32)
	b.makeSnapshot(object{"name": "a", "imageName": digest}, "active")
	b.want(b.api("POST", "/snapshots", object{"name": "b", "imageName": "x:1"}), 400, "Snapshot quota exceeded. Maximum allowed: 2")
	b.server.Suspend("unpaid")
	b.want(b.api("POST", "/snapshots", object{"name": "b", "imageName": "x:1"}), 403, "suspended")
	b.want(b.api("GET", "/snapshots?sort=size", nil), 400, "sort must be")
	b.want(b.api("GET", "/snapshots?order=up", nil), 400, "order must be")
	b.want(b.api("GET", "/snapshots?name=A&sort=name&order=asc", nil), 200, digest)
}

// A Dockerfile becomes an image, and its log can be read while it does.
func TestSnapshotBuild(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t, place(t))})
		isolated := b.server.Notice() == ""
		id := b.want(b.api("POST", "/snapshots", object{"name": "built:1", "buildInfo": object{
			"dockerfileContent": "FROM " + image + "\nLABEL a=\"the last line\"\nENTRYPOINT [\"true\"]\n",
		}}), 200, `"state":"pending"`).text("id")
		b.want(b.api("GET", "/snapshots/built:1/build-logs-url", nil), 500, "")
		url := b.want(b.api("GET", "/snapshots/"+id+"/build-logs-url", nil), 200, id).text("url")
		b.want(b.send("GET", url, nil), 401, "")
		log := b.want(b.send("GET", url+"?follow=true", nil, "Authorization", "Bearer "+b.server.Key()), 200, "")
		if says := map[bool]string{true: "the last line", false: "nothing is built"}[isolated]; !strings.Contains(string(log.body), says) {
			t.Errorf("the log does not say %q: %s", says, log.body)
		}
		b.want(b.send("GET", url, nil, "Authorization", "Bearer "+b.server.Key()), 200, string(log.body))
		if built := b.waitSnapshot(id, "active"); built.text("entrypoint") != "[true]" || built.text("imageName") != "" {
			t.Errorf("built %s", built.body)
		}
		b.create(object{"snapshot": id})

		context := object{"dockerfileContent": "FROM x", "contextHashes": []string{"abc"}}
		id = b.makeSnapshot(object{"name": "context:1", "buildInfo": context}, "error")
		b.want(b.api("GET", "/snapshots/"+id, nil), 200, "object storage is not configured")
		pulled := b.makeSnapshot(object{"name": "pulled:1", "imageName": image}, "active")
		b.want(b.api("GET", "/snapshots/"+pulled+"/build-logs-url", nil), 404, "has no build info")
		if !isolated {
			return // takes any image
		}
		missing := b.makeSnapshot(object{"name": "missing:1", "imageName": "dayclaude-none:1"}, "error")
		b.want(b.api("GET", "/snapshots/"+missing, nil), 200, "dayclaude-none:1")
		b.want(b.api("POST", "/sandbox", object{"snapshot": missing}), 400, "is error")
		failing := b.makeSnapshot(object{"name": "failing:1", "buildInfo": object{"dockerfileContent": "NONSENSE"}}, "error")
		b.want(b.api("GET", "/snapshots/"+failing, nil), 200, "NONSENSE")
	})
}

// A build's log arrives while the build goes on, and a deleted snapshot's build
// ends.
func TestSnapshotDeletedWhileBuilding(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Delays: daytona.Delays{Pull: time.Hour}})
	id := b.makeSnapshot(object{"name": "built:1", "buildInfo": object{"dockerfileContent": "FROM x"}}, "building")
	url := b.api("GET", "/snapshots/"+id+"/build-logs-url", nil).text("url")
	request, err := http.NewRequestWithContext(t.Context(), "GET", url+"?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+b.server.Key())
	response, err := b.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b.want(b.api("DELETE", "/snapshots/"+id, nil), 200, "")
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Error(err)
	}
	b.eventually("the snapshot's end", func() bool { return b.api("GET", "/snapshots/"+id, nil).status == 404 })
}
