package engine

import (
	"os"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// Each thing that sandboxd can't do is a sentence with its own words, an exit
// code, a hint, and a row in docs/troubleshooting.md.
func TestFailure(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		phase    api.Phase
		kind     string
		sentence string
		exit     int
		hint     string
	}{
		{api.PhaseClone, "clone_failed", "the repository could not be cloned", 1, "dayclaude runs logs"},
		{api.PhaseClone, "disk_full", "the repository does not fit on the sandbox's disk", 1, "--snapshot"},
		{api.PhaseSetup, "disk_full", "the sandbox's disk is full", 1, "--snapshot"},
		{api.PhaseSetup, "setup_failed", "the repository's set-up failed", 1, "`setup:`"},
		{api.PhaseSetup, "setup_timeout", "the repository's set-up took too long", 1, "15 minutes"},
		{api.PhaseClaude, "claude_missing", "the sandbox has no Claude Code", 1, "docs/snapshots.md"},
		{api.PhaseClaude, "changeset_failed", "the changes could not be collected", 1, "--new"},
		{api.PhaseClaude, "deadline", "the run's time limit", 5, "--timeout"},
		{api.PhaseClaude, "cancelled", "stopped by hand", 130, ""},
		{api.PhaseCheck, "internal", "check in the sandbox", 1, "run the command again"},
		{api.PhaseCheck, "made up\x1b[31m", "check in the sandbox", 1, "run the command again"},
	} {
		err := failure(&api.Failure{Phase: test.phase, Kind: test.kind, Message: "its own words"})
		if !strings.HasPrefix(err.Error(), test.sentence) || fault.ExitCode(err) != test.exit || !strings.Contains(fault.HintOf(err), test.hint) {
			t.Errorf("%s in %s: %v, exit code %d, hint %q", test.kind, test.phase, err, fault.ExitCode(err), fault.HintOf(err))
		}
		if test.exit == 1 && !strings.HasSuffix(err.Error(), ": its own words") {
			t.Errorf("%s in %s lacks what was said: %v", test.kind, test.phase, err)
		}
		if test.exit == 1 && !strings.Contains(string(page), test.sentence) {
			t.Errorf("docs/troubleshooting.md lacks %q", test.sentence)
		}
	}
}
