package hub

import (
	"context"
	"fmt"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// Branch makes a branch point to a run's commit and returns the commit it
// points to. A branch whose head already is a commit of this run stays, and
// that head is returned. If expect is empty the branch must not exist yet;
// else it must stand at expect, of which commit is a descendant. Anything else
// is a fault.Conflict: somebody pushed to it or deleted it. It is never
// forced.
func (c *Client) Branch(ctx context.Context, repo run.Repository, name, commit, runID, expect string) (string, error) {
	o := create(repo, fmt.Sprintf("writing branch %s of %s", name, repo.FullName()), contentsWrite)
	ref := &github.Reference{
		Ref:    github.String("refs/heads/" + name),
		Object: &github.GitObject{SHA: &commit},
	}
	standing := false // at expect, so that it is moved rather than made
	look := func() (string, bool, error) {
		head, err := c.Head(ctx, repo, name)
		switch {
		case fault.KindOf(err) == fault.NotFound && expect == "":
			return "", false, nil
		case fault.KindOf(err) == fault.NotFound:
			return "", false, fault.New(fault.Conflict, "%s: it was deleted meanwhile", o.does).
				WithHint("run it again: it begins at the base branch")
		case err != nil:
			return "", false, err
		case head == commit:
			return head, true, nil
		}
		at, err := c.commit(ctx, repo, head)
		if err != nil {
			return "", false, err
		}
		if madeBy(at.GetMessage(), runID) {
			return head, true, nil
		}
		if standing = head == expect; !standing {
			return "", false, fault.New(fault.Conflict, "%s: it stands at %.12s, which this run did not make", o.does, head).
				WithHint("run it again to go on from there, or with --new on a branch of its own")
		}
		return "", false, nil
	}
	write := func() (string, error) {
		made, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Reference, *github.Response, error) {
			if standing {
				return gh.Git.UpdateRef(ctx, repo.Owner, repo.Name, ref, false)
			}
			return gh.Git.CreateRef(ctx, repo.Owner, repo.Name, ref)
		})
		if err == nil && made.GetObject().GetSHA() != commit {
			err = incomplete(o.does)
		}
		return commit, err
	}
	return lookThenCreate(ctx, c, o, look, write)
}
