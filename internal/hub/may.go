package hub

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// MayPublish returns nil if the token may write the repository's contents and
// open pull requests, else what it lacks: a user's role says nothing of a
// token. GitHub tells a classic token's scopes; of the other kinds nothing but
// trying does, and a run should learn it before it spends anything. So the
// empty blob is made, which nothing refers to, and a pull request is asked for
// from the default branch to itself, which GitHub refuses as invalid.
func (c *Client) MayPublish(ctx context.Context, repo *Repository) error {
	o := set(repo.Repository, "trying what the token may write in "+repo.FullName(), contentsWrite)
	if repo.scopes != nil {
		if slices.Contains(repo.scopes, "repo") || !repo.Private && slices.Contains(repo.scopes, "public_repo") {
			return nil
		}
		return fault.New(fault.Auth, "%s: the token may not write", o.does).
			WithHint("%s", c.accessHint(o, http.Header{"X-Oauth-Scopes": {strings.Join(repo.scopes, ", ")}}))
	}
	if err := c.createBlob(ctx, repo.Repository, o, blobSHA(nil), nil); err != nil {
		return denied(o, err)
	}
	o.needs = pullsWrite
	branch := repo.DefaultBranch
	_, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.PullRequest, *github.Response, error) {
		return gh.PullRequests.Create(ctx, repo.Owner, repo.Name, &github.NewPullRequest{Title: &branch, Head: &branch, Base: &branch})
	})
	if status(err) == http.StatusUnprocessableEntity {
		return nil
	}
	return denied(o, err)
}

// denied makes what GitHub hides from a token a matter of the token: that the
// repository is there is known.
func denied(o op, err error) error {
	if fault.KindOf(err) != fault.NotFound {
		return err
	}
	return &fault.Error{Kind: fault.Auth, Message: o.does + ": the token may not write", Hint: fault.HintOf(err), Err: err}
}
