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

// Compare returns the paths that changed from where base and head parted up
// to head, each a branch or a commit; a renamed file's under both its names.
// The list is not complete if GitHub may have cut it off. Two that never had a
// commit in common are fault.NotFound.
func (c *Client) Compare(ctx context.Context, repo run.Repository, base, head string) (paths []string, complete bool, err error) {
	o := read(repo, fmt.Sprintf("comparing %s with %s in %s", base, head, repo.FullName()), contentsRead)
	got, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.CommitsComparison, *github.Response, error) {
		// The files stand on the first page, however few commits are asked for.
		return gh.Repositories.CompareCommits(ctx, repo.Owner, repo.Name, base, head, &github.ListOptions{PerPage: 1})
	})
	if err != nil {
		return nil, false, err
	}
	if got.GetStatus() == "" {
		return nil, false, incomplete(o.does)
	}
	for _, f := range got.Files {
		paths = append(paths, f.GetFilename())
		if was := f.GetPreviousFilename(); was != "" {
			paths = append(paths, was)
		}
	}
	return paths, len(got.Files) < maxCompared, nil
}
