package e2e_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// devDaytona is a `dayclaude dev daytona` that answers.
type devDaytona struct {
	*e2e.Command
	url, key string
}

// startDevDaytona starts one with an engine and waits for its two lines.
func startDevDaytona(t *testing.T, s *e2e.Stack, engine string, args ...string) *devDaytona {
	t.Helper()
	if engine == e2e.Docker {
		testenv.Docker(t)
	}
	delete(s.Env, "TMPDIR") // the test's own is closed to the users of sandboxes
	c := s.Start(append([]string{"dev", "daytona", "--engine", engine}, args...)...)
	s.Eventually("the two lines", func() bool {
		if ended := c.Ended(); strings.Count(c.Stdout(), "\n") < 2 && ended {
			t.Fatalf("dev daytona: %s", c.Wait())
		}
		return strings.Count(c.Stdout(), "\n") == 2
	})
	said := regexp.MustCompile(`\ADAYTONA_API_URL=(http://127\.0\.0\.1:\d+/api)\nDAYTONA_API_KEY=([A-Za-z0-9_]{20,})\n\z`).FindStringSubmatch(c.Stdout())
	if said == nil {
		t.Fatalf("stdout is\n%s", c.Stdout())
	}
	return &devDaytona{Command: c, url: said[1], key: said[2]}
}

// stop ends it as Ctrl-C or a service manager does, which is no failure.
func (d *devDaytona) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	d.Signal(signal)
	if r := wantExit(t, d.Wait(), 0); strings.Contains(r.Stderr, d.key) {
		t.Errorf("the key is on stderr:\n%s", r.Stderr)
	}
}

func (d *devDaytona) client(t *testing.T) *daytona.Client {
	t.Helper()
	c, err := daytona.New(daytona.Config{BaseURL: d.url, Key: secret.New(d.key), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// removeDevSandboxes removes, after the test, what a stack's dev daytona left
// with Docker.
func removeDevSandboxes(t *testing.T, s *e2e.Stack) {
	t.Cleanup(func() { removeLocal(t, read(t, filepath.Join(s.StateDir(), "dev-daytona"))) })
}

// TestDevDaytonaKeepsContainers: sandboxes outlive the server, whether it ends
// or is killed.
func TestDevDaytonaKeepsContainers(t *testing.T) {
	ctx, s := t.Context(), onProcess(t, e2e.Options{Bare: true})
	first := startDevDaytona(t, s, e2e.Docker)
	removeDevSandboxes(t, s)
	second := wantExit(t, s.Run("dev", "daytona", "--engine", "docker"), 1)
	holds(t, "the refusal of a second one", second.Stderr, "another `dayclaude dev daytona`", "hint: ")
	if second.Stdout != "" {
		t.Errorf("the second one says %q", second.Stdout)
	}

	c := first.client(t)
	asleep := mustMake(t, c, "asleep")
	must(t, c.Stop(ctx, asleep.ID))
	awake := mustMake(t, c, "awake")
	must(t, c.Toolbox(awake).Upload(ctx, daytona.File{Path: "/tmp/note", Content: []byte("kept")}))
	first.stop(t, syscall.SIGTERM)

	keyFile := filepath.Join(s.Dir, "key")
	must(t, os.WriteFile(keyFile, []byte("dtn_of_my_own_choice_1234\n"), 0o600))
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		again := startDevDaytona(t, s, e2e.Docker, "--key-file", keyFile)
		if again.key != "dtn_of_my_own_choice_1234" {
			t.Errorf("the key is %s", again.key)
		}
		c := again.client(t)
		there := states(t, c)
		if len(there) != 2 || there["asleep"] != daytona.Stopped || there["awake"] != daytona.Started {
			t.Errorf("sandboxes after a restart: %v", there)
		}
		now, err := c.Get(ctx, "awake")
		must(t, err)
		if text := download(t, c, now, "/tmp/note"); text != "kept" {
			t.Errorf("the file holds %q", text)
		}
		if end != syscall.SIGKILL {
			again.stop(t, end)
			continue
		}
		again.Signal(end)
		wantExit(t, again.Wait(), 128+int(end))
	}
}

func mustMake(t *testing.T, c *daytona.Client, name string) *daytona.Sandbox {
	t.Helper()
	s, err := c.Create(t.Context(), daytona.CreateSandbox{Name: name, Labels: map[string]string{"test": name}})
	must(t, err)
	return s
}

func states(t *testing.T, c *daytona.Client) map[string]daytona.State {
	t.Helper()
	all := make(map[string]daytona.State)
	for s, err := range c.List(t.Context(), daytona.Filter{}) {
		must(t, err)
		all[s.Name] = s.State
	}
	return all
}

func download(t *testing.T, c *daytona.Client, s *daytona.Sandbox, path string) string {
	t.Helper()
	body, err := c.Toolbox(s).Download(t.Context(), path)
	must(t, err)
	defer body.Close()
	text, err := io.ReadAll(body)
	must(t, err)
	return string(text)
}

// TestDevDaytonaRemovesProcesses: nothing is left of sandboxes that nothing
// isolates. Whatever name they give to the snapshot, they are made.
func TestDevDaytonaRemovesProcesses(t *testing.T) {
	s := onProcess(t, e2e.Options{Bare: true})
	two := []*devDaytona{startDevDaytona(t, s, e2e.Process), startDevDaytona(t, s, e2e.Process)}
	if two[0].key == two[1].key {
		t.Errorf("both have the key %s", two[0].key)
	}
	var homes []string
	for i, d := range two {
		holds(t, "stderr", d.Stderr(), "process engine", "isolates nothing")
		c := d.client(t)
		box, err := c.Create(t.Context(), daytona.CreateSandbox{Name: "one", Labels: map[string]string{"test": "one"}, Snapshot: "any/name:1"})
		must(t, err)
		home, err := c.Toolbox(box).HomeDir(t.Context())
		must(t, err)
		homes = append(homes, home)
		d.stop(t, []syscall.Signal{syscall.SIGINT, syscall.SIGHUP}[i])
	}
	for _, home := range homes {
		if _, err := os.Stat(home); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", home, err)
		}
	}
}

// TestRunIssueOnDevDaytona: for the main job it is a Daytona like any other.
func TestRunIssueOnDevDaytona(t *testing.T) {
	s := onProcess(t, e2e.Options{Bare: true})
	s.Env["PATH"] = filepath.Dir(testenv.Claude(t)) + ":" + s.Env["PATH"]
	dev := startDevDaytona(t, s, e2e.Process)
	s.Env["DAYTONA_API_URL"], s.Env["DAYTONA_API_KEY"] = dev.url, dev.key
	wantExit(t, s.Run("run-issue", s.Shop(github.Issue{})), 0)
	s.Pull("demo/shop")
	dev.stop(t, syscall.SIGTERM)
}
