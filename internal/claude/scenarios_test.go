package claude_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/claude"
)

// TestScenarios holds that the scripts which other tests build on do in the
// repository what they say, with Claude Code's real tools.
func TestScenarios(t *testing.T) {
	for scenario, want := range map[string]struct {
		status string // git status --porcelain --ignored
		answer string
	}{
		"leftovers":   {"?? notes/\n!! debug.log\n", "Add a note"},
		"check-fails": {" M tests/run.sh\n?? BROKEN.md\n", "Add BROKEN.md"},
		"workflow":    {"?? .github/workflows/\n", "Greet on every push"},
		"secret":      {"?? credentials.ini\n", "Add credentials.ini"},
		"kinds": {
			" M kinds/crlf.txt\n D kinds/gone.txt\n M kinds/tool.sh\n?? kinds/data.bin\n?? \"kinds/gr\\303\\266\\303\\237e \\342\\234\\223.txt\"\n?? kinds/link.txt\n",
			"Change a file of every kind",
		},
		"commit-itself": {"", "Add COMMITTED.md"},
	} {
		t.Run(scenario, func(t *testing.T) {
			b := newBench(t, scenario)
			b.inv.Env = append(b.inv.Env, "GIT_CONFIG_COUNT=2",
				"GIT_CONFIG_KEY_0=user.name", "GIT_CONFIG_VALUE_0=Claude",
				"GIT_CONFIG_KEY_1=user.email", "GIT_CONFIG_VALUE_1=claude@example.com")
			git := func(args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "git", args...)
				cmd.Dir, cmd.Env = b.inv.Dir, b.inv.Env
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("git %v: %v\n%s", args, err, out)
				}
				return string(out)
			}
			b.write("kinds/crlf.txt", "one\r\ntwo\r\nthree\r\n", 0o644)
			b.write("kinds/tool.sh", "#!/bin/bash\n", 0o644)
			b.write("kinds/gone.txt", "soon\n", 0o644)
			git("add", "-A")
			git("commit", "-q", "-m", "base")

			r := b.run(t.Context())
			if r.Ending != claude.Answered || !strings.HasPrefix(r.Answer, want.answer) {
				t.Errorf("result: %+v", r)
			}
			if got := git("status", "--porcelain", "--ignored"); got != want.status {
				t.Errorf("status:\n%swant:\n%s", got, want.status)
			}
			switch head := git("log", "--format=%s"); {
			case scenario == "commit-itself" && head != "Add COMMITTED.md\nbase\n":
				t.Errorf("history:\n%s", head)
			case scenario == "kinds" && b.read("kinds/crlf.txt") != "one\r\nzwei\r\nthree\r\n":
				t.Errorf("the line ends are gone: %q", b.read("kinds/crlf.txt"))
			}
		})
	}
}
