package e2e_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// TestLocal has the command line bring its own Daytona, and find its sandbox
// there the next time.
func TestLocal(t *testing.T) {
	testenv.Docker(t)
	s := onProcess(t, e2e.Options{Scenario: "leftovers"})
	for _, name := range []string{"DAYTONA_API_KEY", "DAYTONA_API_URL"} {
		delete(s.Env, name)
	}
	name := "local-" + strings.ToLower(rand.Text()[:8])
	t.Cleanup(func() { removeLocal(t, "dayclaude-demo-"+name+"-1") })
	ref := s.Add(small(name, nil), github.Issue{Title: "Here"})

	first := wantExit(t, s.Run("run-issue", ref, "--local"), 0)
	holds(t, "the progress", first.Stderr, "making sandbox dayclaude-")
	pull := s.Pull("demo/" + name)
	wantOneCommit(t, s, "demo/"+name, "main", pull.Head)
	if elsewhere := s.Sandboxes(); len(elsewhere) != 0 {
		t.Errorf("sandboxes at Daytona: %v", elsewhere)
	}

	again := wantExit(t, s.Run("run-issue", ref, "--local"), 3)
	holds(t, "the progress", again.Stderr, "starting sandbox dayclaude-")
	if now := s.Pull("demo/" + name); now != pull {
		t.Errorf("pull request: %+v, was %+v", now, pull)
	}
}

// removeLocal removes the sandboxes that --local left in a namespace.
func removeLocal(t *testing.T, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	engine, err := docker.New(ctx, docker.Options{Namespace: namespace})
	if err != nil {
		t.Error(err)
		return
	}
	server, err := daytona.New(daytona.Options{Engine: engine, Snapshots: []daytona.Snapshot{{Name: e2e.Snapshot}}, RemoveOnClose: true})
	if err != nil {
		t.Error(err)
		return
	}
	if err := server.Start(ctx); err != nil {
		t.Error(err)
	}
	if err := server.Close(ctx); err != nil {
		t.Error(err)
	}
}
