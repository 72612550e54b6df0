package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// keepSecret is the test command keep-secret ITEM VALUE.
func keepSecret() {
	if err := keyring.Set("dayclaude", os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestKeyring keeps secrets in a real Secret Service, GNOME's, on a D-Bus
// session of its own, and has the command line find them there.
func TestKeyring(t *testing.T) {
	t.Parallel()
	session := testenv.Command(t, "dbus-run-session")
	testenv.Command(t, "gnome-keyring-daemon")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"dayclaude", "keep-secret"} { // by its name the test binary is a command: see TestMain
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// Each look asks for the next secret: what was found is not asked for.
	const script = `
set -eu
printf 'password\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null
look() { dayclaude run-issue octo/shop#1 2>&1 || echo "exit code $?"; }
look
keep-secret github-token ghp_CANARYkeyring
look
keep-secret claude-oauth-token sk-ant-oat01-CANARYkeyring
look
keep-secret daytona-api-key dtn_CANARYkeyring
look
`
	cmd := exec.CommandContext(t.Context(), session, "--", "sh", "-c", script)
	cmd.Env = []string{
		"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_RUNTIME_DIR=" + dir,
		"GITHUB_API_URL=" + refuses(t),
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := string(out)
	for _, want := range []string{
		"dayclaude: no GitHub token\n", "dayclaude: no Claude credential\n", "dayclaude: no Daytona key\n", "(401",
	} {
		_, rest, ok := strings.Cut(said, want)
		if !ok {
			t.Fatalf("%q is missing, or not in its place:\n%s", want, out)
		}
		said = rest
	}
	if strings.Contains(string(out), "CANARY") {
		t.Errorf("a secret is told:\n%s", out)
	}
}
