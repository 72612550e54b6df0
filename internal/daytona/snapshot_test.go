package daytona_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func build(line string) *daytona.Build {
	return &daytona.Build{Dockerfile: "FROM debian:12\n" + line + "\nENTRYPOINT [\"sleep\", \"infinity\"]\n"}
}

func reasonOf(err error) daytona.Reason {
	e, _ := errors.AsType[*daytona.Error](err)
	if e == nil {
		return ""
	}
	return e.Reason
}

// A snapshot's life, by name all along.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	ctx := t.Context()
	asked := daytona.CreateSnapshot{Name: "team/tools:1", ImageName: "debian:12", Entrypoint: []string{"sleep", "infinity"}, CPU: 2, Memory: 4, Disk: 5}
	made, err := w.client.CreateSnapshot(ctx, asked)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.Ready(ctx, asked.Name); err != nil {
		t.Fatal(err)
	}
	s, err := w.client.Snapshot(ctx, asked.Name)
	if err != nil || s.ID != made.ID || s.State != daytona.SnapshotActive || s.CPU != 2 || s.Memory != 4 || s.Disk != 5 ||
		s.ImageName != "debian:12" || !slices.Equal(s.Entrypoint, asked.Entrypoint) || s.CreatedAt.IsZero() {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := w.client.CreateSnapshot(ctx, asked); reasonOf(err) != daytona.ReasonConflict {
		t.Errorf("the same name again: %v", err)
	}
	var names []string
	for s, err := range w.client.Snapshots(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{snapshot, asked.Name}) {
		t.Errorf("listed %v", names)
	}
	if _, err := w.client.SnapshotLogs(ctx, asked.Name); reasonOf(err) != daytona.ReasonNotFound {
		t.Errorf("logs of what was not built: %v", err)
	}
	if err := w.client.DeleteSnapshot(ctx, asked.Name); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Ready(ctx, asked.Name); reasonOf(err) != daytona.ReasonNotFound {
		t.Errorf("a snapshot that is deleted: %v", err)
	}
	if err := w.client.DeleteSnapshot(ctx, "none"); reasonOf(err) != daytona.ReasonNotFound {
		t.Errorf("delete of none: %v", err)
	}
	for _, bad := range []daytona.CreateSnapshot{{}, {Name: "x"}, {ImageName: "x:1"}, {Name: "x", ImageName: "x:1", Build: build("")}} {
		if _, err := w.client.CreateSnapshot(ctx, bad); fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}

func TestSnapshotsComeInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	pages := map[string]string{
		"1": `{"items":[{"id":"1","name":"a"},null],"totalPages":2}`,
		"2": `{"items":[{"id":"2","name":"b"}],"totalPages":2}`,
	}
	w.meet(always(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, pages[r.URL.Query().Get("page")])
	}))
	var names []string
	for s, err := range w.client.Snapshots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"a", "b"}) || len(w.requests()) != 2 {
		t.Errorf("got %v by %v", names, w.requests())
	}
}

// A build can be followed; a snapshot whose build fails says why.
func TestSnapshotLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	name := w.snapshot(daytona.CreateSnapshot{Build: build("RUN true")})
	log, err := w.client.SnapshotLogs(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if text, err := io.ReadAll(log); err != nil || len(text) == 0 {
		t.Errorf("got %q, %v", text, err)
	}
	if err := w.client.Ready(t.Context(), name); err != nil {
		t.Error(err)
	}
}

// After an answer that was lost, what has the name is ours if it is what was
// asked for, and somebody else's if not.
func TestLostCreateOfSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	for _, asked := range []daytona.CreateSnapshot{{Name: "image", ImageName: "debian:12"}, {Name: "build", Build: build("RUN true")}} {
		w.meet(deaf())
		if s, err := w.client.CreateSnapshot(t.Context(), asked); err != nil || s.Name != asked.Name {
			t.Errorf("%s: got %+v, %v", asked.Name, s, err)
		}
		w.meet(once(gone))
		asked.ImageName, asked.Build = "", build("RUN false")
		if s, err := w.client.CreateSnapshot(t.Context(), asked); reasonOf(err) != daytona.ReasonConflict {
			t.Errorf("%s, somebody else's: got %+v, %v", asked.Name, s, err)
		}
	}
}

// The key goes to Daytona's own servers only.
func TestBuildLogsOfElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	name := w.snapshot(daytona.CreateSnapshot{Build: build("RUN true")})
	logs, config := "", ""
	w.meet(func(rw http.ResponseWriter, r *http.Request, server http.Handler) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/build-logs-url"):
			_, _ = io.WriteString(rw, `{"url":"`+logs+`"}`)
		case strings.HasSuffix(r.URL.Path, "/config") && config != "":
			_, _ = io.WriteString(rw, config)
		case strings.HasSuffix(r.URL.Path, "/logs-of-a-proxy"):
			_, _ = io.WriteString(rw, "step 1\n")
		default:
			server.ServeHTTP(rw, r)
		}
	})
	own := strings.TrimSuffix(w.front.URL(), "/api")
	proxy := strings.Replace(own, "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		logs, config string
		fine         bool
	}{
		{logs: own + "/logs-of-a-proxy", fine: true},
		{logs: proxy + "/logs-of-a-proxy"},
		{logs: proxy + "/logs-of-a-proxy", config: `{"proxyToolboxUrl":"` + proxy + `/toolbox"}`, fine: true},
		{logs: proxy + "/logs-of-a-proxy", config: `{"proxyTemplateUrl":"` + strings.Replace(proxy, "://", "://{{PORT}}-{{sandboxId}}.", 1) + `"}`, fine: true},
		{logs: strings.Replace(proxy, "://", "://8080-abc.", 1) + "/x", config: `{"proxyTemplateUrl":"` + strings.Replace(proxy, "://", "://{{PORT}}-{{sandboxId}}.", 1) + `"}`},
		{logs: proxy + "/x", config: `{}`},
		{logs: "ftp://127.0.0.1/x"},
		{logs: "/x"},
	} {
		logs, config = tt.logs, tt.config
		var text bytes.Buffer
		r, err := w.client.SnapshotLogs(t.Context(), name)
		if err == nil {
			_, err = text.ReadFrom(r)
			_ = r.Close()
		}
		if (err == nil) != tt.fine || tt.fine != (text.String() == "step 1\n") || !tt.fine && fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%s with %s: got %q, %v", tt.logs, tt.config, text.String(), err)
		}
	}
}
