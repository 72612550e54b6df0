package daytona_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// names lists all pages of a query, two sandboxes each.
func (b *bench) names(query string) string {
	b.Helper()
	var names []string
	for cursor := ""; ; {
		var page struct {
			Items      []struct{ Name string }
			NextCursor *string
		}
		b.want(b.api("GET", "/sandbox?limit=2&unknown=x&cursor="+cursor+query, nil), 200, "").into(b.T, &page)
		for _, item := range page.Items {
			names = append(names, item.Name)
		}
		if page.NextCursor == nil {
			return strings.Join(names, " ")
		}
		cursor = *page.NextCursor
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow(), Snapshots: []daytona.Snapshot{
		{Name: "small"}, {Name: "large", CPU: 4, Memory: 8, Disk: 20},
	}})
	var second string // id
	for i := range 5 {
		id := b.create(object{
			"name": fmt.Sprintf("Box-%d", i), "labels": object{"parity": fmt.Sprint(i % 2), "quoted": `"`},
			"public": i == 2, "autoStopInterval": 0, "snapshot": []string{"small", "large"}[i/3],
		})
		if i == 1 {
			second = id
		}
		b.clock.advance(time.Hour)
	}
	at := func(name, field string) string { return escape(b.api("GET", "/sandbox/"+name, nil).text(field)) }
	b.want(b.api("DELETE", "/sandbox/Box-4", nil), 200, "")
	b.eventually("the end of Box-4", func() bool { return !strings.Contains(b.names(""), "DESTROYED") })
	b.want(b.api("POST", "/sandbox/Box-3/stop", nil), 200, "")
	b.wait("Box-3", "stopped")
	b.clock.advance(time.Hour)
	b.want(b.api("POST", "/sandbox/Box-0/last-activity", nil), 201, "")
	if err := b.server.Break("Box-2", "out of luck", true); err != nil {
		t.Fatal(err)
	}
	b.wait("Box-2", "error")

	for query, want := range map[string]string{
		"":                     "Box-2 Box-0 Box-3 Box-1", // what happened last comes first
		"&order=asc":           "Box-1 Box-3 Box-0 Box-2",
		"&sort=createdAt":      "Box-3 Box-2 Box-1 Box-0",
		"&sort=name&order=asc": "Box-0 Box-1 Box-2 Box-3",
		"&sort=cpu&minCpu=4":   "Box-3",
		"&maxCpu=3&sort=name":  "Box-2 Box-1 Box-0",
		"&minMemoryGiB=8":      "Box-3",
		"&sort=memoryGib&maxMemoryGiB=8&minDiskGiB=20": "Box-3",
		"&maxDiskGiB=19&sort=diskGib&name=box-1":       "Box-1",
		`&labels={"parity":"1"}`:                       "Box-3 Box-1",
		`&labels={"parity":"7"}`:                       "",
		"&name=bOX-3":                                  "Box-3",
		"&id=" + strings.ToUpper(second[:23]):          "Box-1",
		"&states=archived":                             "",
		"&states=stopped&states=error":                 "Box-2 Box-3",
		"&snapshots=large":                             "Box-3",
		"&regionIds=mars":                              "",
		"&sandboxClasses=container&isPublic=true":      "Box-2",
		"&isPublic=false&isRecoverable=false":          "Box-0 Box-3 Box-1",
		"&isRecoverable=true":                          "Box-2",
		"&createdAtAfter=" + at("Box-1", "createdAt") + "&createdAtBefore=" + at("Box-2", "createdAt"): "Box-2 Box-1",
		"&lastEventAfter=" + at("Box-0", "lastActivityAt"):                                             "Box-2 Box-0",
		"&lastEventBefore=" + at("Box-1", "lastActivityAt"):                                            "Box-1",
	} {
		if got := b.names(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for query, message := range map[string]string{
		"limit=201": "limit", "cursor=%21": "cursor", "labels=x": "labels", "states=destroyed": "each value", "states=running": "each value",
		"minCpu=0": "minCpu", "maxDiskGiB=many": "maxDiskGiB", "createdAtAfter=soon": "createdAtAfter", "sort=age": "sort", "order=up": "order",
	} {
		b.want(b.api("GET", "/sandbox?"+query, nil), 400, message)
	}
}

// What is being destroyed is still listed; what could not be, when asked for.
func TestListDestroying(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	b := serve(t, daytona.Options{Engine: stuck{slow{hollow(), gate}}}, keep)
	b.create(object{"name": "one"})
	b.want(b.api("DELETE", "/sandbox/one", nil), 200, "")
	if got := b.names("&states=destroying"); !strings.HasPrefix(got, "DESTROYED_one_") {
		t.Errorf("listed %q", got)
	}
	close(gate)
	b.eventually("the failure", func() bool { return b.names("") == "" })
	if got := b.names("&includeErroredDeleted=true"); !strings.HasPrefix(got, "DESTROYED_one_") {
		t.Errorf("listed %q", got)
	}
}

// stuck is an engine that removes nothing.
type stuck struct{ daytona.Engine }

func (stuck) Remove(context.Context, string) error { return errors.New("out of luck") }
