package e2e_test

import (
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// A subscription's usage limit parks the run: exit code 8, a comment that says
// so, and a sandbox that costs nothing meanwhile.
func TestParked(t *testing.T) {
	const token = "sk-ant-oat01-parked-run"
	s := onProcess(t, e2e.Options{Scenario: "usage-limit", Anthropic: anthropic.Options{OAuth: secret.New(token)}})
	delete(s.Env, "ANTHROPIC_API_KEY")
	s.Env["CLAUDE_CODE_OAUTH_TOKEN"] = token
	ref := s.Shop(github.Issue{})
	for range 2 { // the limit holds, so the same command parks it again
		r := wantExit(t, s.Run("run-issue", ref), 8)
		holds(t, "stderr", r.Stderr, "usage limit is reached; it resets at", "hint: run the same command then")
		holds(t, "the comment", s.Comment("demo/shop", 42).Body, "dayclaude waits", "usage limit is reached")
		for name, sandbox := range s.Sandboxes() {
			if sandbox.State == "started" {
				t.Errorf("sandbox %s is left running", name)
			}
		}
		holds(t, "the list", wantExit(t, s.Run("runs", "list"), 0).Stdout, "parked")
	}
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}
	s.NoPull("demo/shop", "main")
}
