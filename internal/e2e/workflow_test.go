package e2e_test

import (
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// asWorkflow makes the GitHub token one that Actions gives to a workflow.
func asWorkflow(t *testing.T, s *e2e.Stack, contents string) {
	t.Helper()
	if err := s.GitHub.AddToken(github.Token{
		Value: secret.New(s.Canaries["GITHUB_TOKEN"]), Login: "github-actions[bot]", Kind: github.App,
		Permissions: map[string]string{"contents": contents, "issues": "write", "pull_requests": "write"},
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWorkflowToken(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	asWorkflow(t, s, "write")
	ref := s.Shop(github.Issue{})
	holds(t, "stderr", wantExit(t, s.Run("run-issue", ref), 0).Stderr, "GitHub runs no checks on a pull request made with it")
	if pull := s.Pull("demo/shop"); pull.Author != "github-actions[bot]" {
		t.Errorf("pull request by %s", pull.Author)
	}
	holds(t, "the comment", s.Comment("demo/shop", 42).Body, "Opened #")
}

func TestWorkflowTokenThatReads(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	asWorkflow(t, s, "read")
	ref := s.Shop(github.Issue{})
	holds(t, "stderr", wantExit(t, s.Run("run-issue", ref), 4).Stderr, "lacks a permission (403 Resource not accessible by integration)", "contents: write")
	wantExit(t, s.Run("run-issue", ref, "--dry-run"), 0)
	s.NoPull("demo/shop", "main")
}
