package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/devstack/openapi"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// sdkSession is what testdata/sdk/session.mjs prints. Both engines are to be
// told apart by nothing but what containers can reach.
const sdkSession = "testdata/sdk/session.jsonl"

// TestSDK has Daytona's official TypeScript SDK at work on `dayclaude dev
// daytona`: it takes the embedded Daytona for the real one.
func TestSDK(t *testing.T) {
	t.Parallel()
	t.Run(e2e.Process, func(t *testing.T) {
		s := onProcess(t, e2e.Options{Bare: true})
		dev := startDevDaytona(t, s, e2e.Process)
		testenv.Golden(t, sdkSession, runSDK(t, dev.url, dev.key, private(t, s)...))
		dev.stop(t, syscall.SIGTERM)
	})
	t.Run(e2e.Docker, func(t *testing.T) {
		s := onProcess(t, e2e.Options{Bare: true})
		dev := startDevDaytona(t, s, e2e.Docker)
		removeDevSandboxes(t, s)
		got := runSDK(t, dev.url, dev.key)
		want := regexp.MustCompile(`(?m)^\{"step":"private".*\n`).ReplaceAllString(read(t, sdkSession), "")
		if got != want {
			t.Errorf("the session differs from %s:\n%s", sdkSession, got)
		}
		dev.stop(t, syscall.SIGTERM)
	})
}

// TestSDKByTheDocuments holds what the SDK and the embedded Daytona say to each
// other against Daytona's OpenAPI documents.
func TestSDKByTheDocuments(t *testing.T) {
	dir := os.Getenv(openapi.Env)
	if dir == "" {
		testenv.Missing(t, "%s names no folder with Daytona's api.json and toolbox.json", openapi.Env)
	}
	docs, err := openapi.Load(dir)
	must(t, err)
	s := onProcess(t, e2e.Options{Bare: true, Daytona: daytona.Options{Wrap: docs.Check(func(err error) { t.Error(err) })}})
	got := runSDK(t, s.Daytona.URL(), s.Canaries["DAYTONA_API_KEY"], private(t, s)...)
	if want := read(t, sdkSession); got != want {
		t.Errorf("the session differs from %s:\n%s", sdkSession, got)
	}
}

// private makes a private repository at the embedded GitHub, for the session.
func private(t *testing.T, s *e2e.Stack) (env []string) {
	t.Helper()
	must(t, s.GitHub.AddRepository(github.Repository{
		Owner: e2e.User, Name: "library", Private: true, Files: fstest.MapFS{"README.md": {Data: []byte("quiet\n")}},
	}))
	return []string{"REPOSITORY=" + s.GitHub.URL() + "/demo/library.git", "TOKEN=" + s.Canaries["GITHUB_TOKEN"]}
}

// runSDK runs the session and returns what it printed. That it ends by itself
// is part of it: an SDK whose event socket is refused keeps node from ending.
func runSDK(t *testing.T, url, key string, env ...string) string {
	t.Helper()
	node := testenv.Command(t, "node")
	version := regexp.MustCompile(`"@daytona/sdk": "(.+)"`).FindStringSubmatch(read(t, "testdata/sdk/package.json"))[1]
	modules := filepath.Join(testenv.Root(), ".cache", "daytona-sdk-"+version, "node_modules")
	if _, err := os.Stat(modules); errors.Is(err, os.ErrNotExist) {
		testenv.Missing(t, "Daytona's SDK: %v", err)
	}
	dir := t.TempDir() // modules are found beside the script
	must(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
	script := filepath.Join(dir, "session.mjs")
	must(t, os.WriteFile(script, []byte(read(t, "testdata/sdk/session.mjs")), 0o600))

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, script)
	cmd.Dir = dir
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+dir, "DAYTONA_API_URL="+url, "DAYTONA_API_KEY="+key,
		"SNAPSHOT="+e2e.Snapshot, "IMAGE="+e2e.Snapshot)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("the session broke off: %v\n%s\n%s", err, out.String(), complaint.String())
	}
	if strings.TrimSpace(complaint.String()) != "" {
		t.Errorf("the SDK complains:\n%s", complaint.String())
	}
	return out.String()
}
