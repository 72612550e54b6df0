package hub

import (
	"context"
	"fmt"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/run"
)

// maxCompared is how many files GitHub lists of a comparison.
// https://docs.github.com/en/rest/commits/commits#compare-two-commits
const maxCompared = 300

// Comparison is what one commit has that another has not.
type Comparison struct {
	Parted   string   // their best common ancestor
	Paths    []string // that changed since then; a renamed file's are both its names
	Complete bool     // that is all of them
}

// Compare returns what changed from where base and head parted up to head,
// each a branch or a commit. The paths are not complete if GitHub may have cut
// them off. Two that never had a commit in common are fault.NotFound.
func (c *Client) Compare(ctx context.Context, repo run.Repository, base, head string) (Comparison, error) {
	o := read(repo, fmt.Sprintf("comparing %s with %s in %s", base, head, repo.FullName()), contentsRead)
	got, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.CommitsComparison, *github.Response, error) {
		// The files stand on the first page, however few commits are asked for.
		return gh.Repositories.CompareCommits(ctx, repo.Owner, repo.Name, base, head, &github.ListOptions{PerPage: 1})
	})
	if err != nil {
		return Comparison{}, err
	}
	found := Comparison{Parted: got.GetMergeBaseCommit().GetSHA(), Complete: len(got.Files) < maxCompared}
	if !shaPattern.MatchString(found.Parted) {
		return Comparison{}, incomplete(o.does)
	}
	for _, f := range got.Files {
		found.Paths = append(found.Paths, f.GetFilename())
		if was := f.GetPreviousFilename(); was != "" {
			found.Paths = append(found.Paths, was)
		}
	}
	return found, nil
}
