package daytona_test

import (
	"bytes"
	"crypto/rand"
	"mime/multipart"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// image is what the docker engine's sandboxes are made from.
const image = testenv.Image

// each runs a test against every engine. new makes an engine that starts
// empty; with the same place it finds what the one before left.
func each(t *testing.T, run func(t *testing.T, engine func(t *testing.T, place string) daytona.Engine)) {
	t.Parallel()
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		run(t, func(t *testing.T, place string) daytona.Engine {
			return newProcess(t, process.Options{Root: place})
		})
	})
	t.Run("docker", func(t *testing.T) {
		testenv.Docker(t)
		t.Parallel()
		run(t, func(t *testing.T, place string) daytona.Engine {
			engine, err := docker.New(t.Context(), docker.Options{Namespace: "test" + filepath.Base(place)})
			if err != nil {
				t.Fatal(err)
			}
			return engine
		})
	})
}

func newProcess(t *testing.T, opts process.Options) *process.Engine {
	t.Helper()
	engine, err := process.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// place is a directory that other users can reach, unlike t.TempDir; its name
// is free for a namespace too.
func place(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "dayclaude-"+strings.ToLower(rand.Text()[:10]))
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// suite is what most tests share: one server and one started sandbox.
func suite(t *testing.T, run func(b *bench, id string)) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{Engine: engine(t, place(t))})
		run(b, b.create(nil))
	})
}

// program builds a program of testdata for the sandboxes.
func program(name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./testdata/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return out, err
	}
	return os.ReadFile(filepath.Join(dir, name))
}

var (
	echo      = sync.OnceValues(func() ([]byte, error) { return program("echo") })
	gitserver = sync.OnceValues(func() ([]byte, error) { return program("gitserver") })
)

// install puts a program into the sandbox.
func (b *bench) install(id, path string, build func() ([]byte, error)) {
	b.Helper()
	program, err := build()
	if err != nil {
		b.Fatalf("%v: %s", err, program)
	}
	b.want(b.upload(id, path, program), 200, "")
	b.want(b.toolbox("POST", id, "/files/permissions?path="+path+"&mode=755", nil), 200, "")
}

// upload puts a file into the sandbox as the SDKs do.
func (b *bench) upload(id, path string, content []byte) reply {
	b.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	if err := w.WriteField("files[0].path", path); err != nil {
		b.Fatal(err)
	}
	part, err := w.CreateFormFile("files[0].file", "file")
	if err != nil {
		b.Fatal(err)
	}
	_, _ = part.Write(content)
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return b.toolbox("POST", id, "/files/bulk-upload", &form, "Content-Type", w.FormDataContentType())
}

// serveEcho runs echo in the sandbox and waits until its preview answers.
func (b *bench) serveEcho(id string) {
	b.Helper()
	b.install(id, "bin/echo", echo)
	b.startEcho(id)
}

// startEcho runs the echo that is there already.
func (b *bench) startEcho(id string) {
	b.Helper()
	b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "echo"}), 201, "")
	b.want(b.toolbox("POST", id, "/process/session/echo/exec", object{"command": "bin/echo", "runAsync": true}), 202, "cmdId")
	b.eventually("echo", func() bool {
		b.clock.advance(2 * time.Second) // past the cached answer
		url, token := b.preview(id, 8080)
		return b.send("GET", url+"/headers", nil, "x-daytona-preview-token", token).status == 200
	})
}
