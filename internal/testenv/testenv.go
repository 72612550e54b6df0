// Package testenv finds the real parts that tests run against. A part that is
// missing skips the test on a developer's machine and fails it in CI.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Image is the tag of the slim image that `make test-image` builds.
const Image = "dayclaude-slim:test"

// Root is the repository's root directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Missing ends the test because a part is not there: it fails in CI and skips
// elsewhere.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing in CI: "+format, args...)
	}
	t.Skipf("SKIPPED, run `make test` to install what is missing: "+format, args...)
}

// Claude returns the path of the pinned Claude Code binary.
func Claude(t testing.TB) string {
	t.Helper()
	version, err := os.ReadFile(filepath.Join(Root(), "snapshot", "claude-code.version"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(Root(), ".cache", "claude-code-"+strings.TrimSpace(string(version)), "claude")
	if _, err := os.Stat(path); err != nil {
		Missing(t, "Claude Code: %v", err)
	}
	return path
}

// Docker ends the test unless a Docker engine answers and holds Image.
func Docker(t testing.TB) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		Missing(t, "Docker engine: %s", strings.TrimSpace(string(out)))
	}
	if err := exec.CommandContext(t.Context(), "docker", "image", "inspect", Image).Run(); err != nil {
		Missing(t, "image %s", Image)
	}
}

// Command returns the path of a program, or ends the test.
func Command(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, "%s: %v", name, err)
	}
	return path
}
