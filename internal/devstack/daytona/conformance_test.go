package daytona_test

import (
	"crypto/rand"
	"strings"

	"os"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
)

const image = "dayclaude-dev-base"

// engines are what the suite runs against.
func engines(t *testing.T, run func(t *testing.T, engine func(*testing.T) daytona.Engine)) {
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) daytona.Engine { return newProcess(t, process.Options{}) })
	})
	t.Run("docker", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T) daytona.Engine { return newDocker(t, "test-"+strings.ToLower(rand.Text())) })
	})
}

func newDocker(t *testing.T, namespace string) *docker.Engine {
	t.Helper()
	engine, err := docker.New(t.Context(), docker.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

func newProcess(t *testing.T, opts process.Options) *process.Engine {
	t.Helper()
	if os.Geteuid() == 0 {
		opts.Root = reachable(t)
	} else {
		opts.Root = t.TempDir()
	}
	engine, err := process.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

func TestSmoke(t *testing.T) {
	engines(t, func(t *testing.T, engine func(*testing.T) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t)})
		id := b.create(object{"name": "one"})
		t.Log(b.run(id, "id; pwd; env; echo err >&2; exit 3"))
		b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "s"}), 201, "")
		t.Log(string(b.toolbox("POST", id, "/process/session/s/exec", object{"command": "echo hi; echo err >&2; cd /; false"}).body))
		t.Log(string(b.toolbox("POST", id, "/process/session/s/exec", object{"command": "pwd"}).body))
		t.Log(string(b.toolbox("GET", id, "/files?path=/etc", nil).body)[:300])
	})
}
