package engine

import (
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// failures are the sentences and hints for what sandboxd could not do, by the
// kind of its Failure.
var failures = map[string]struct{ sentence, hint string }{
	"clone_failed":     {"the repository could not be cloned", "look at what git said with `dayclaude runs logs`; further repositories need `read:` in .github/dayclaude.yml"},
	"merge_failed":     {"the merge could not be tried", ""},
	"setup_failed":     {"the repository's set-up failed", "mend `setup:` in .github/dayclaude.yml on the default branch"},
	"setup_timeout":    {"the repository's set-up took too long", "make `setup:` in .github/dayclaude.yml quicker; each command has 15 minutes"},
	"claude_missing":   {"the sandbox has no Claude Code", "use a snapshot that has it: docs/snapshots.md"},
	"changeset_failed": {"the changes could not be collected", "`dayclaude runs logs` shows what was done in the sandbox; `--new` begins with another"},
	"disk_full":        {"the sandbox's disk is full", "--snapshot takes one with a larger disk, with `--new` to begin anew: docs/snapshots.md"},
}

// failure is the fault of a phase that could not be done.
func failure(f *api.Failure) error {
	switch f.Kind {
	case "cancelled":
		return fault.New(fault.Cancelled, "stopped by hand during %s", f.Phase)
	case "deadline":
		return fault.New(fault.Limit, "the run's time limit was over during %s", f.Phase).WithHint("--timeout sets it")
	}
	known, ok := failures[f.Kind]
	switch {
	case !ok:
		return fault.New(fault.Sandbox, "%s in the sandbox: %s", f.Phase, f.Message).WithHint("run the command again")
	case f.Kind == "disk_full" && f.Phase == api.PhaseClone:
		known.sentence = "the repository does not fit on the sandbox's disk"
	case f.Kind == "disk_full":
		known.sentence += " (" + string(f.Phase) + ")"
	}
	return fault.New(fault.Sandbox, "%s: %s", known.sentence, f.Message).WithHint("%s", known.hint)
}
