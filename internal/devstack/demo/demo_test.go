package demo_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

func shop(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), demo.Repository)
	if err := os.CopyFS(dir, demo.Shop()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// bash runs a command in the shop: what it prints, and its exit code.
func bash(t *testing.T, dir, command string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Command(t, "bash"), "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestBug holds that the shop has exactly the bug that its issue tells of,
// and that one comparison mends it.
func TestBug(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	out, code := bash(t, dir, "bash tests/run.sh")
	if code != 1 || !strings.HasSuffix(out, "12 passed, 1 failed\n") || !strings.Contains(out, "not ok  ten pieces: bulk discount") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	out, code = bash(t, dir, `sed -i 's/-gt "$BULK_QUANTITY"/-ge "$BULK_QUANTITY"/' cart.sh && bash tests/run.sh`)
	if code != 0 || !strings.HasSuffix(out, "13 passed, 0 failed\n") {
		t.Errorf("mended, exit code %d:\n%s", code, out)
	}
}

// TestSessions holds that the sessions shown in the README and in the issue
// are real ones.
func TestSessions(t *testing.T) {
	t.Parallel()
	dir := shop(t)
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"README": strings.ReplaceAll(string(readme), "\n    ", "\n"), "issue": demo.IssueBody} {
		_, session, _ := strings.Cut(text, "$ ")
		command, rest, _ := strings.Cut(session, "\n")
		if out, code := bash(t, dir, command); code != 0 || out == "" || !strings.HasPrefix(rest, out) {
			t.Errorf("%s: %s, exit code %d:\n%sin the text:\n%s", name, command, code, out, rest)
		}
	}
}
