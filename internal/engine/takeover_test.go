package engine

import (
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// TestTakesOver: only work that was done, and that is asked for just so again.
func TestTakesOver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(before, next *run.Run, now *run.Frozen)
		want   bool
	}{
		"a commit refused":       {func(_, _ *run.Run, _ *run.Frozen) {}, true},
		"the branch made":        {func(before, _ *run.Run, now *run.Frozen) { before.Commit, now.BranchHead = "c1", "c1" }, true},
		"the branch moved since": {func(before, _ *run.Run, now *run.Frozen) { before.Commit, now.BranchHead = "c1", "c2" }, false},
		"a comment came":         {func(_, _ *run.Run, now *run.Frozen) { now.Issue.Comments = []run.Comment{{Body: "no"}} }, false},
		"other instructions":     {func(_, next *run.Run, _ *run.Frozen) { next.Options.Instructions = "be brief" }, false},
		"another base":           {func(_, _ *run.Run, now *run.Frozen) { now.Base = "next" }, false},
		"published":              {func(before, _ *run.Run, _ *run.Frozen) { before.Outcome.PullRequest = 7 }, false},
		"Claude did not end":     {func(before, _ *run.Run, _ *run.Frozen) { before.Result.Problem.Kind = fault.Limit }, false},
		"no result":              {func(before, _ *run.Run, _ *run.Frozen) { before.Result = nil }, false},
		"unchanged":              {func(before, _ *run.Run, _ *run.Frozen) { before.State = run.Unchanged }, false},
		"the gate refused":       {func(before, _ *run.Run, _ *run.Frozen) { before.Outcome.Findings = []string{"x"} }, false},
		"the gate lets it through": {func(before, _ *run.Run, now *run.Frozen) {
			before.Outcome.Findings, now.Settings = []string{"x"}, []byte("paths: {}")
		}, true},
	} {
		before := &run.Run{
			State: run.Failed, Frozen: &run.Frozen{Base: "main", Issue: run.Issue{Title: "t"}}, Result: &run.Result{},
			Outcome: &run.Outcome{Problem: run.Problem{Kind: fault.Auth}},
		}
		next, now := &run.Run{}, &run.Frozen{Base: "main", Issue: run.Issue{Title: "t"}}
		test.change(before, next, now)
		if got := publishable(before) && sameTask(before, next, now); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
