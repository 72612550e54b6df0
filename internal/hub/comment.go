package hub

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// ownMarker begins the hidden line by which dayclaude knows its own comments.
const ownMarker = "<!-- dayclaude "

// maxCommentPages is beyond what an issue can have: GitHub ends at 2500.
const maxCommentPages = 50

// Comment makes an issue's comment say body: the one with this id, or, if id
// is 0 or gone, the first that holds the marker and was written by us, or a
// new one. The marker, a hidden line that begins with "<!-- dayclaude ", is
// added to the body if it lacks it. It returns the comment's id and page.
func (c *Client) Comment(ctx context.Context, repo run.Repository, number int, id int64, marker, body string) (int64, string, error) {
	if !strings.Contains(body, marker) {
		body += "\n\n" + marker
	}
	if id != 0 {
		comment, err := c.editComment(ctx, repo, id, body)
		if status(err) != http.StatusNotFound {
			return place(comment, err)
		}
	}
	o := create(repo, fmt.Sprintf("commenting on %s#%d", repo.FullName(), number), issuesWrite)
	look := func() (*github.IssueComment, bool, error) {
		found, err := c.findComment(ctx, repo, number, marker)
		if found == nil || err != nil {
			return nil, false, err
		}
		if found.GetBody() != body {
			found, err = c.editComment(ctx, repo, found.GetID(), body)
		}
		return found, true, err
	}
	post := func() (*github.IssueComment, error) {
		return call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.IssueComment, *github.Response, error) {
			return gh.Issues.CreateComment(ctx, repo.Owner, repo.Name, number, &github.IssueComment{Body: &body})
		})
	}
	comment, err := lookThenCreate(ctx, c, o, look, post)
	if err == nil && comment.GetID() == 0 {
		err = incomplete(o.does)
	}
	return place(comment, err)
}

func place(c *github.IssueComment, err error) (int64, string, error) {
	if err != nil {
		return 0, "", err
	}
	return c.GetID(), untrusted.Line(c.GetHTMLURL(), 400), nil
}

func (c *Client) editComment(ctx context.Context, repo run.Repository, id int64, body string) (*github.IssueComment, error) {
	o := set(repo, fmt.Sprintf("editing comment %d of %s", id, repo.FullName()), issuesWrite)
	comment, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.IssueComment, *github.Response, error) {
		return gh.Issues.EditComment(ctx, repo.Owner, repo.Name, id, &github.IssueComment{Body: &body})
	})
	if err == nil && comment.GetID() != id {
		return nil, incomplete(o.does)
	}
	return comment, err
}

// findComment returns the first comment with the marker that we wrote, or nil.
func (c *Client) findComment(ctx context.Context, repo run.Repository, number int, marker string) (found *github.IssueComment, err error) {
	err = c.comments(ctx, repo, number, 1, func(comment *github.IssueComment) (bool, error) {
		ours, err := c.ours(ctx, comment, marker)
		if ours {
			found = comment
		}
		return !ours && err == nil, err
	})
	return found, err
}

// ours reports whether the token's user wrote the comment and it holds the
// marker: anybody can write the marker, and with a personal token the user
// writes as the same login.
func (c *Client) ours(ctx context.Context, comment *github.IssueComment, marker string) (bool, error) {
	if !strings.Contains(comment.GetBody(), marker) {
		return false, nil
	}
	login, err := c.Viewer(ctx)
	return err == nil && strings.EqualFold(login, comment.GetUser().GetLogin()), err
}

// comments goes through an issue's comments, oldest first, from a page on,
// until each returns false or an error.
func (c *Client) comments(ctx context.Context, repo run.Repository, number, page int, each func(*github.IssueComment) (bool, error)) error {
	o := read(repo, fmt.Sprintf("reading comments of %s#%d", repo.FullName(), number), issuesRead)
	type answer struct {
		list []*github.IssueComment
		next int
	}
	for pages := 0; page != 0 && pages < maxCommentPages; pages++ {
		got, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (answer, *github.Response, error) {
			list, resp, err := gh.Issues.ListComments(ctx, repo.Owner, repo.Name, number,
				&github.IssueListCommentsOptions{ListOptions: github.ListOptions{Page: page, PerPage: commentsPerPage}})
			if err != nil {
				return answer{}, resp, err
			}
			return answer{list, resp.NextPage}, resp, nil
		})
		if err != nil {
			return err
		}
		for _, comment := range got.list {
			if more, err := each(comment); !more {
				return err
			}
		}
		page = got.next
	}
	return nil
}
