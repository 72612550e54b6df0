package sandboxes

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
)

// TestFindWithoutAsking finds out from the store alone that there is nothing to
// ask Daytona for.
func TestFindWithoutAsking(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	client, err := daytona.New(daytona.Config{BaseURL: "http://127.0.0.1:1", Key: secret.New("dtn_key")})
	if err != nil {
		t.Fatal(err)
	}
	k := &Keeper{Store: db, Daytona: client, Now: time.Now}
	add := func(issue int, options run.Options) string {
		t.Helper()
		th := &run.Thread{ID: run.NewID("t"), RepositoryID: 7, Generation: 1, SessionID: "s", Ref: run.Ref{Owner: "demo", Repo: "shop", Number: issue}}
		if err := db.CreateThread(t.Context(), th); err != nil {
			t.Fatal(err)
		}
		lease, err := db.Acquire(t.Context(), th.ID, "a", time.Minute, func(string) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		r := &run.Run{ID: run.NewID("r"), ThreadID: th.ID, Options: options}
		if err := db.CreateRun(t.Context(), lease, r); err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	local := add(42, run.Options{Local: "docker"})
	add(43, run.Options{})
	for _, tt := range []struct {
		what, words string
		kind        fault.Kind
	}{
		{"demo/shop#42", "worked in a sandbox of this machine (--local)", fault.Usage},
		{local, "worked in a sandbox of this machine (--local)", fault.Usage},
		{"demo/shop#43", "demo/shop#43 has no sandbox yet", fault.NotFound},
		{"demo/shop#44", "no run on demo/shop#44", fault.NotFound},
		{"r_", "several runs begin with", fault.Usage},
		{"r_none", "no run r_none", fault.NotFound},
		{"demo/shop", "demo/shop", fault.Usage},
		{"https://example.com/x", "https://example.com/x", fault.Usage},
		{"", "empty", fault.Usage},
	} {
		_, err := k.Find(t.Context(), tt.what)
		if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%q: %v (%s)", tt.what, err, fault.KindOf(err))
		}
	}
}
