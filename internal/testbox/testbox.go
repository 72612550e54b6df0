// Package testbox gives tests an embedded Daytona, and a sandbox on each of its
// engines.
package testbox

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// OnEngines runs a test with a sandbox of each engine, side by side.
func OnEngines(t *testing.T, test func(*testing.T, *daytona.Toolbox)) {
	t.Parallel()
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		test(t, sandbox(t, Processes(t)))
	})
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		test(t, sandbox(t, Containers(t)))
	})
}

// Processes is a process engine for the length of the test.
func Processes(t *testing.T) devstack.Engine {
	t.Helper()
	root, err := os.MkdirTemp("", "dayclaude-testbox-test-") // t.TempDir is closed to the sandboxes' users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	engine, err := process.New(process.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// Containers is a docker engine that sees nobody else's sandboxes.
func Containers(t *testing.T) devstack.Engine {
	t.Helper()
	testenv.Docker(t)
	engine, err := docker.New(t.Context(), docker.Options{Namespace: "dayclaude-testbox-" + strings.ToLower(rand.Text()[:8])})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// Serve starts an embedded Daytona for the length of the test; what it has made
// by then is removed.
func Serve(t *testing.T, opts devstack.Options) *devstack.Server {
	t.Helper()
	opts.RemoveOnClose = true
	server, err := devstack.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server
}

// sandbox starts one for the length of the test.
func sandbox(t *testing.T, engine devstack.Engine) *daytona.Toolbox {
	t.Helper()
	const key = "dtn_testbox"
	srv := Serve(t, devstack.Options{Engine: engine, Key: key, Snapshots: []devstack.Snapshot{{Name: testenv.Image}}})
	c, err := daytona.New(daytona.Config{BaseURL: srv.URL(), Key: secret.New(key)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Create(t.Context(), daytona.CreateSandbox{Name: "box", Labels: map[string]string{"test": "testbox"}, Snapshot: testenv.Image})
	if err != nil {
		t.Fatal(err)
	}
	return c.Toolbox(s)
}

// Run runs a shell script in the sandbox, in its home, and returns
// what it says.
func Run(t *testing.T, box *daytona.Toolbox, script string) string {
	t.Helper()
	r, err := box.Execute(t.Context(), daytona.Command{Line: "cd; " + script})
	if err != nil || r.ExitCode != 0 {
		t.Fatalf("%s: exit code %d, %v\n%s", script, r.ExitCode, err, r.Output)
	}
	return r.Output
}
