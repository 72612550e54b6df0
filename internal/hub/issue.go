package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Bounds of a frozen issue. GitHub itself ends a text at 65536 characters.
const (
	maxText         = 256 << 10 // bytes of one text
	maxComments     = 200
	maxCommentBytes = 1 << 20 // of all comments' texts together
	maxLabels       = 100
	commentsPerPage = 100
)

// Issue is an issue as it is now, with its latest comments.
type Issue struct {
	run.Issue
	Closed      bool
	Locked      bool
	PullRequest bool // the number is a pull request's
	// Omitted counts older comments that were left out: at most 200 comments
	// and 1 MiB of their text are kept.
	Omitted int
}

// Issue reads an issue and its comments, without those that we wrote. An issue
// that was transferred to another repository is fault.NotFound.
func (c *Client) Issue(ctx context.Context, repo run.Repository, number int) (*Issue, error) {
	o := read(repo, fmt.Sprintf("reading issue %s#%d", repo.FullName(), number), issuesRead)
	i, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Issue, *github.Response, error) {
		return gh.Issues.Get(ctx, repo.Owner, repo.Name, number)
	})
	if err != nil {
		return nil, err
	}
	if err := transferred(o, repo, number, i); err != nil {
		return nil, err
	}
	issue := &Issue{
		Issue: run.Issue{
			Number: number,
			Title:  untrusted.Head(i.GetTitle(), 4<<10),
			Body:   untrusted.Head(i.GetBody(), maxText),
			Author: untrusted.Head(i.GetUser().GetLogin(), 100),
			URL:    untrusted.Line(i.GetHTMLURL(), 400),
		},
		Closed:      i.GetState() == "closed",
		Locked:      i.GetLocked(),
		PullRequest: i.IsPullRequest(),
	}
	for _, l := range i.Labels[:min(len(i.Labels), maxLabels)] {
		issue.Labels = append(issue.Labels, untrusted.Head(l.GetName(), 200))
	}
	if i.GetComments() == 0 {
		return issue, nil
	}
	// Only the last pages: they hold more than is kept.
	last := (i.GetComments() + commentsPerPage - 1) / commentsPerPage
	first := max(1, last-maxComments/commentsPerPage-1)
	var kept []*github.IssueComment
	err = c.comments(ctx, repo, number, first, func(comment *github.IssueComment) (bool, error) {
		ours, err := c.ours(ctx, comment, ownMarker)
		if !ours {
			kept = append(kept, comment)
		}
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	issue.Comments = freeze(kept)
	issue.Omitted = (first-1)*commentsPerPage + len(kept) - len(issue.Comments)
	return issue, nil
}

// transferred tells where an issue is now that was asked for and redirected to
// another repository's.
func transferred(o op, repo run.Repository, number int, i *github.Issue) error {
	_, now, _ := strings.Cut(i.GetRepositoryURL(), "/repos/")
	if i.GetNumber() == number && (now == "" || strings.EqualFold(now, repo.FullName())) {
		return nil
	}
	owner, name, _ := strings.Cut(now, "/")
	if !validName(owner) || !validName(name) || i.GetNumber() <= 0 {
		return incomplete(o.does)
	}
	return fault.New(fault.NotFound, "%s: it was transferred and is now %s#%d", o.does, now, i.GetNumber()).
		WithHint("`dayclaude run-issue %s#%d`", now, i.GetNumber())
}

// freeze keeps the latest comments that fit the bounds, oldest first.
func freeze(all []*github.IssueComment) []run.Comment {
	var kept []run.Comment
	size := 0
	for _, c := range slices.Backward(all) {
		text := untrusted.Head(c.GetBody(), maxText)
		if size += len(text); size > maxCommentBytes || len(kept) == maxComments {
			break
		}
		kept = append(kept, run.Comment{
			ID:        c.GetID(),
			Author:    untrusted.Head(c.GetUser().GetLogin(), 100),
			Body:      text,
			CreatedAt: c.GetCreatedAt().Time,
		})
	}
	slices.Reverse(kept)
	return kept
}
