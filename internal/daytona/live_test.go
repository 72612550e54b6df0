package daytona_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// A sandbox's whole life on the embedded Daytona.
func TestLifeOfASandbox(t *testing.T) {
	t.Parallel()
	srv := standIn(t)
	c, err := daytona.New(daytona.Config{BaseURL: srv.URL(), Key: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	asked := daytona.CreateSandbox{Name: "dayclaude-1-42-1", Labels: ours, Snapshot: snapshot, AutoStop: new(15)}
	s, err := c.Create(ctx, asked)
	if err != nil || s.State != daytona.Started {
		t.Fatalf("created %+v, %v", s, err)
	}
	if missing := s.Ungranted(asked); missing != nil {
		t.Errorf("not granted: %v", missing)
	}
	if again, err := c.Create(ctx, asked); err != nil || again.ID != s.ID {
		t.Errorf("the same create again: %+v, %v", again, err)
	}
	asked.Labels = map[string]string{"dayclaude/store": "s2"}
	if _, err := c.Create(ctx, asked); fault.KindOf(err) != fault.Conflict {
		t.Errorf("another host's create: %v", err)
	}
	if err := c.Touch(ctx, s.ID); err != nil {
		t.Error(err)
	}

	tb := c.Toolbox(s)
	home, err := tb.HomeDir(ctx)
	if err != nil {
		t.Fatal(err)
	}
	script := home + "/new dir/it's.sh"
	if err := tb.Upload(ctx, daytona.File{Path: script, Content: []byte("#!/bin/sh\ncat; echo \"$A\"; exit 3\n"), Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	r, err := tb.Execute(ctx, daytona.Command{Line: `"./it's.sh"`, Dir: home + "/new dir", Env: map[string]string{"A": "b c"}})
	if err != nil || r != (daytona.Result{ExitCode: 3, Output: "b c\n"}) {
		t.Errorf("executed: %+v, %v", r, err)
	}
	for range 2 { // the session is there the second time
		if err := tb.Spawn(ctx, "session", "echo spawned >> "+home+"/spawned"); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := tb.Execute(ctx, daytona.Command{Line: "until [ $(grep -c spawned " + home + "/spawned) = 2 ]; do sleep 0.05; done"}); err != nil || r.ExitCode != 0 {
		t.Errorf("spawned: %+v, %v", r, err)
	}
	rc, err := tb.Download(ctx, script)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil || !strings.HasPrefix(string(b), "#!/bin/sh\n") || rc.Close() != nil {
		t.Errorf("downloaded %q, %v", b, err)
	}
	if _, err := tb.Download(ctx, home+"/none"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("download of nothing: %v", err)
	}
	if p, err := c.Preview(ctx, s.ID, 8080); err != nil || p.URL == "" || p.Token.IsZero() {
		t.Errorf("preview %+v, %v", p, err)
	}

	for range 2 { // the second time there is nothing to do
		if err := c.Stop(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, s.ID, daytona.Stopped); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tb.HomeDir(ctx); fault.KindOf(err) != fault.Sandbox {
		t.Errorf("toolbox of a stopped sandbox: %v", err)
	}
	for range 2 {
		if err := c.Start(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, s.ID, daytona.Started); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for found, err := range c.List(ctx, daytona.Filter{Labels: ours}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, found.ID)
	}
	if !slices.Equal(ids, []string{s.ID}) {
		t.Errorf("listed %v", ids)
	}
	for range 2 {
		if err := c.Delete(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, s.ID, daytona.Destroyed); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(ctx, s.Name); fault.KindOf(err) != fault.NotFound {
		t.Errorf("after the delete: %v", err)
	}
	if sn, err := c.Snapshot(ctx, snapshot); err != nil || sn.State != daytona.SnapshotActive {
		t.Errorf("snapshot %+v, %v", sn, err)
	}
	if k, err := c.CurrentKey(ctx); err != nil || !slices.Contains(k.Permissions, "write:sandboxes") {
		t.Errorf("key %+v, %v", k, err)
	}
}
