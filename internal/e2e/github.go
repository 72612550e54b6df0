package e2e

import (
	"os/exec"
	"slices"
	"strings"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
)

// Git runs git in the bare repository of the embedded GitHub and returns its
// output, or fails the test.
func (s *Stack) Git(repo string, args ...string) string {
	s.t.Helper()
	dir, err := s.GitHub.GitDir(repo)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), "git", append([]string{"--git-dir", dir, "-c", "core.quotePath=false"}, args...)...)
	cmd.Env = []string{"PATH=" + s.Env["PATH"], "HOME=" + s.Dir, "GIT_CONFIG_NOSYSTEM=1"}
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("git %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// Branches are the names of a repository's branches, sorted.
func (s *Stack) Branches(repo string) []string {
	s.t.Helper()
	branches, err := s.GitHub.Branches(repo)
	if err != nil {
		s.t.Fatal(err)
	}
	names := make([]string, 0, len(branches))
	for name := range branches {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Pull is a repository's one pull request, or the test fails.
func (s *Stack) Pull(repo string) github.Pull {
	s.t.Helper()
	pulls, err := s.GitHub.Pulls(repo)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(pulls) != 1 {
		s.t.Fatalf("%d pull requests in %s, want one: %+v", len(pulls), repo, pulls)
	}
	return pulls[0]
}

// NoPull fails the test if the repository has a pull request or a branch
// beside the given one.
func (s *Stack) NoPull(repo, branch string) {
	s.t.Helper()
	if pulls, err := s.GitHub.Pulls(repo); err != nil || len(pulls) != 0 {
		s.t.Errorf("pull requests in %s: %+v, %v; want none", repo, pulls, err)
	}
	if all := s.Branches(repo); !slices.Equal(all, []string{branch}) {
		s.t.Errorf("branches of %s: %v; want only %s", repo, all, branch)
	}
}

// Comment is an issue's one comment, or the test fails.
func (s *Stack) Comment(repo string, number int) github.Comment {
	s.t.Helper()
	comments, err := s.GitHub.Comments(repo, number)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(comments) != 1 {
		s.t.Fatalf("%d comments on %s#%d, want one: %+v", len(comments), repo, number, comments)
	}
	return comments[0]
}
