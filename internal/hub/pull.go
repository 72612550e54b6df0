package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// PullInput is a pull request to open between two branches of one repository.
type PullInput struct {
	Base, Head  string // branches
	Title, Body string
	Draft       bool // if the repository's plan has drafts
}

// Pull is a pull request.
type Pull struct {
	Number int
	URL    string // its page
	Draft  bool
	node   string // its id in GraphQL
}

// Ready marks a draft as ready for review, which REST cannot.
// https://docs.github.com/en/graphql/reference/mutations#markpullrequestreadyforreview
func (c *Client) Ready(ctx context.Context, repo run.Repository, p Pull) error {
	o := set(repo, fmt.Sprintf("marking pull request %s#%d as ready for review", repo.FullName(), p.Number), pullsWrite)
	const mutation = "mutation($id:ID!){markPullRequestReadyForReview(input:{pullRequestId:$id}){pullRequest{isDraft}}}"
	refused, err := c.graphQL(ctx, o, mutation, map[string]string{"id": p.node}, &struct{}{})
	if refused != "" {
		return fault.New(fault.Auth, "%s: GitHub refused it (%s)", o.does, refused)
	}
	return err
}

// PullRequest opens the pull request for a branch. If one is open, it is that
// one; its title and body are set if the token's user opened it.
func (c *Client) PullRequest(ctx context.Context, repo run.Repository, in PullInput) (Pull, error) {
	o := create(repo, fmt.Sprintf("opening a pull request for %s of %s", in.Head, repo.FullName()), pullsWrite)
	look := func() (*github.PullRequest, bool, error) {
		open, err := c.findPull(ctx, repo, in)
		if open == nil || err != nil {
			return nil, false, err
		}
		open, err = c.editPull(ctx, repo, open, in)
		return open, true, err
	}
	post := func() (*github.PullRequest, error) {
		made, err := c.createPull(ctx, repo, o, in, in.Draft)
		var refused *Error
		if in.Draft && errors.As(err, &refused) && refused.Status == 422 && refused.says("draft") {
			made, err = c.createPull(ctx, repo, o, in, false)
		}
		return made, err
	}
	pull, err := lookThenCreate(ctx, c, o, look, post)
	if err != nil {
		return Pull{}, err
	}
	return Pull{Number: pull.GetNumber(), URL: untrusted.Line(pull.GetHTMLURL(), 400), Draft: pull.GetDraft(), node: pull.GetNodeID()}, nil
}

// findPull returns the open pull request of the branch, or nil.
func (c *Client) findPull(ctx context.Context, repo run.Repository, in PullInput) (*github.PullRequest, error) {
	o := read(repo, fmt.Sprintf("looking for the pull request of %s in %s", in.Head, repo.FullName()), pullsRead)
	list, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) ([]*github.PullRequest, *github.Response, error) {
		return gh.PullRequests.List(ctx, repo.Owner, repo.Name, &github.PullRequestListOptions{
			State: "open", Head: repo.Owner + ":" + in.Head, Base: in.Base,
		})
	})
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		// A fork of the same owner has the same head label.
		if p.GetHead().GetRef() == in.Head && p.GetBase().GetRef() == in.Base && p.GetHead().GetRepo().GetID() == repo.ID {
			return p, nil
		}
	}
	return nil, nil
}

func (c *Client) createPull(ctx context.Context, repo run.Repository, o op, in PullInput, draft bool) (*github.PullRequest, error) {
	pull, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.PullRequest, *github.Response, error) {
		return gh.PullRequests.Create(ctx, repo.Owner, repo.Name, &github.NewPullRequest{
			Title: &in.Title, Body: &in.Body, Head: &in.Head, Base: &in.Base, Draft: &draft,
		})
	})
	if err == nil && pull.GetNumber() == 0 {
		return nil, incomplete(o.does)
	}
	return pull, err
}

// editPull sets title and body where they differ and the pull request is ours.
func (c *Client) editPull(ctx context.Context, repo run.Repository, open *github.PullRequest, in PullInput) (*github.PullRequest, error) {
	if open.GetTitle() == in.Title && open.GetBody() == in.Body {
		return open, nil
	}
	login, err := c.Viewer(ctx)
	if err != nil || !strings.EqualFold(login, open.GetUser().GetLogin()) {
		return open, err
	}
	o := set(repo, fmt.Sprintf("editing pull request %s#%d", repo.FullName(), open.GetNumber()), pullsWrite)
	pull, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.PullRequest, *github.Response, error) {
		return gh.PullRequests.Edit(ctx, repo.Owner, repo.Name, open.GetNumber(), &github.PullRequest{Title: &in.Title, Body: &in.Body})
	})
	if err == nil && pull.GetNumber() != open.GetNumber() {
		return nil, incomplete(o.does)
	}
	return pull, err
}
