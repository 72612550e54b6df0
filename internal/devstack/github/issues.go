package github

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of GitHub, in characters.
const (
	maxTitle = 256
	maxText  = 65536
)

// issueRoutes are those of issues and their comments. On the number of a pull
// request the permission for pull requests does as well.
func issueRoutes() []route {
	read := need{permissions: []string{"issues", "pull_requests"}}
	write := need{permissions: []string{"issues", "pull_requests"}, write: true, role: roleRead}
	return []route{
		{"GET /repos/{owner}/{repo}/issues", need{permissions: []string{"issues"}}, listIssues},
		{"GET /repos/{owner}/{repo}/issues/comments/{comment_id}", read, getComment},
		{"PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}", write, updateComment},
		{"DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}", write, deleteComment},
		{"GET /repos/{owner}/{repo}/issues/{issue_number}", read, getIssue},
		{"GET /repos/{owner}/{repo}/issues/{issue_number}/comments", read, listComments},
		{"POST /repos/{owner}/{repo}/issues/{issue_number}/comments", write, createComment},
	}
}

// pathIssue finds the issue that the path names; s.mu is held.
func (c *call) pathIssue() (*issue, error) {
	n, err := c.number("issue_number")
	if err != nil {
		return nil, err
	}
	i := c.repo.issues[int(n)]
	if (i == nil || i.pull == nil) && c.repo.NoIssues {
		return nil, refuse(410, "Issues are disabled for this repo")
	}
	if i == nil {
		return nil, errNotFound
	}
	if i.pull != nil {
		if err := c.s.follow(c.repo, i); err != nil {
			return nil, err
		}
	}
	return i, c.issuePermission(i)
}

// issuePermission holds the token against the sharper need: a fine-grained
// permission for issues does not cover pull requests, nor the other way round.
func (c *call) issuePermission(i *issue) error {
	n := need{permissions: []string{"issues"}, write: c.r.Method != "GET", role: roleRead}
	if i.pull != nil {
		n.permissions[0] = "pull_requests"
	}
	c.describeToken(n)
	return c.authorize(n)
}

// listIssues filters by state, labels and since, newest first by creation or
// update; pull requests are issues too.
func listIssues(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.repo.NoIssues {
		return nil, refuse(410, "Issues are disabled for this repo")
	}
	query := c.r.URL.Query()
	var since time.Time
	if text := query.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, invalid("Issue", "since", "invalid", "")
		}
	}
	var list []*issue
	for i := range maps.Values(c.repo.issues) {
		if inState(query.Get("state"), i.Closed) && !i.updated.Before(since) && hasLabels(i.Labels, query.Get("labels")) {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *issue) int {
		if query.Get("sort") == "updated" && !a.updated.Equal(b.updated) {
			return b.updated.Compare(a.updated)
		}
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Number, a.Number))
	})
	if query.Get("direction") == "asc" {
		slices.Reverse(list)
	}
	shapes := []object{}
	for _, i := range page(c, list) {
		shapes = append(shapes, c.s.issueShape(c.repo, i))
	}
	return shapes, nil
}

// inState holds a "state" parameter, which defaults to open.
func inState(want string, closed bool) bool {
	return want == "all" || (want == "closed") == closed
}

// hasLabels reports whether all the wanted labels, a list with commas, are there.
func hasLabels(labels []string, wanted string) bool {
	if wanted == "" {
		return true
	}
	for want := range strings.SplitSeq(wanted, ",") {
		if !slices.ContainsFunc(labels, func(l string) bool { return strings.EqualFold(l, want) }) {
			return false
		}
	}
	return true
}

func getIssue(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, err := c.pathIssue()
	if errors.Is(err, errNotFound) {
		err = c.elsewhere()
	}
	if err != nil {
		return nil, err
	}
	return c.s.issueShape(c.repo, i), nil
}

func listComments(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, err := c.pathIssue()
	if err != nil {
		return nil, err
	}
	shapes := []object{}
	for _, comment := range page(c, i.comments) {
		shapes = append(shapes, c.s.commentShape(c.repo, i, comment))
	}
	return shapes, nil
}

// text reads the body of a comment.
func (c *call) text() (string, error) {
	var in struct{ Body *string }
	if err := c.decode(&in); err != nil {
		return "", err
	}
	switch {
	case in.Body == nil || strings.TrimSpace(*in.Body) == "":
		return "", invalid("IssueComment", "body", "missing_field", "")
	case utf8.RuneCountInString(*in.Body) > maxText:
		return "", invalid("IssueComment", "data", "unprocessable", "Body is too long (maximum is 65536 characters)")
	}
	return *in.Body, nil
}

func createComment(c *call) (any, error) {
	body, err := c.text()
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, err := c.pathIssue()
	if err != nil {
		return nil, err
	}
	if i.Locked && c.token.role(c.repo) < roleWrite {
		return nil, refuse(403, "Unable to create comment because issue is locked.")
	}
	made := c.s.addComment(c.repo, i, c.token.Login, body)
	c.w.Header().Set("Location", c.s.apiURL(c.repo, "/issues/comments/"+strconv.FormatInt(made.ID, 10)))
	return c.s.commentShape(c.repo, i, made), nil
}

// pathComment finds the comment that the path names; s.mu is held.
func (c *call) pathComment() (*issue, *Comment, error) {
	id, err := c.number("comment_id")
	if err != nil {
		return nil, nil, err
	}
	for _, i := range c.repo.issues {
		for _, comment := range i.comments {
			if comment.ID == id {
				return i, comment, c.issuePermission(i)
			}
		}
	}
	return nil, nil, errNotFound
}

// ownComment is pathComment for those who may change it.
func (c *call) ownComment() (*issue, *Comment, error) {
	i, comment, err := c.pathComment()
	if err == nil && !strings.EqualFold(comment.Author, c.token.Login) && c.token.role(c.repo) < roleWrite {
		err = refuse(403, "Must have admin rights to Repository.")
	}
	return i, comment, err
}

func getComment(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, comment, err := c.pathComment()
	if err != nil {
		return nil, err
	}
	return c.s.commentShape(c.repo, i, comment), nil
}

func updateComment(c *call) (any, error) {
	body, err := c.text()
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, comment, err := c.ownComment()
	if err != nil {
		return nil, err
	}
	comment.Body, comment.UpdatedAt = body, c.s.now()
	c.s.announceComment(c.repo, i, comment, "edited", c.token.Login)
	return c.s.commentShape(c.repo, i, comment), nil
}

func deleteComment(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, comment, err := c.ownComment()
	if err != nil {
		return nil, err
	}
	i.comments = slices.DeleteFunc(i.comments, func(other *Comment) bool { return other == comment })
	c.s.announceComment(c.repo, i, comment, "deleted", c.token.Login)
	return nil, nil
}

// association is what the author is to the repository.
func (r *repo) association(login string) string {
	switch {
	case strings.EqualFold(login, r.Owner):
		return "OWNER"
	case r.role(login) >= roleTriage || r.Private:
		return "COLLABORATOR"
	}
	return "NONE"
}

// webPath is the issue's page below the repository's.
func (i *issue) webPath() string {
	if i.pull != nil {
		return "/pull/" + strconv.Itoa(i.Number)
	}
	return "/issues/" + strconv.Itoa(i.Number)
}

// issueShape is an issue, or a pull request as one; s.mu is held.
func (s *Server) issueShape(r *repo, i *issue) object {
	at, web := "/issues/"+strconv.Itoa(i.Number), s.webURL(r, i.webPath())
	shape := object{
		"id": i.id, "node_id": nodeID("Issue", i.id), "number": i.Number, "title": i.Title,
		"url": s.apiURL(r, at), "html_url": web, "repository_url": s.apiURL(r, ""), "labels_url": s.apiURL(r, at+"/labels{/name}"),
		"comments_url": s.apiURL(r, at+"/comments"), "events_url": s.apiURL(r, at+"/events"),
		"state": "open", "state_reason": nil, "body": nil, "user": s.userShape(s.user(i.Author)), "labels": s.labelShapes(r, i.Labels),
		"assignee": nil, "assignees": []object{}, "milestone": nil, "locked": i.Locked, "active_lock_reason": nil,
		"comments": len(i.comments), "created_at": stamp(i.CreatedAt), "updated_at": stamp(i.updated),
		"closed_at": optionalStamp(i.closedAt), "author_association": r.association(i.Author),
	}
	if i.Body != "" {
		shape["body"] = i.Body
	}
	if i.Closed {
		shape["state"], shape["state_reason"] = "closed", "completed"
	}
	if i.pull != nil {
		shape["draft"] = i.pull.draft
		shape["pull_request"] = object{
			"url": s.apiURL(r, "/pulls/"+strconv.Itoa(i.Number)), "html_url": web,
			"diff_url": web + ".diff", "patch_url": web + ".patch", "merged_at": optionalStamp(i.pull.merged),
		}
	}
	return shape
}

func (s *Server) labelShapes(r *repo, labels []string) []object {
	shapes := []object{}
	for _, name := range labels {
		shapes = append(shapes, object{
			"id": r.id<<32 + int64(crc32.ChecksumIEEE([]byte(name))), "node_id": nodeID("Label", name), "name": name, "description": nil,
			"url": s.apiURL(r, "/labels/"+escapePath(name)), "color": "ededed", "default": false,
		})
	}
	return shapes
}

func (s *Server) commentShape(r *repo, i *issue, c *Comment) object {
	at := "/issues/comments/" + strconv.FormatInt(c.ID, 10)
	return object{
		"id": c.ID, "node_id": nodeID("IssueComment", c.ID), "url": s.apiURL(r, at),
		"html_url":  fmt.Sprintf("%s#issuecomment-%d", s.webURL(r, i.webPath()), c.ID),
		"issue_url": s.apiURL(r, "/issues/"+strconv.Itoa(i.Number)), "body": c.Body, "user": s.userShape(s.user(c.Author)),
		"created_at": stamp(c.CreatedAt), "updated_at": stamp(c.UpdatedAt), "author_association": r.association(c.Author),
	}
}
