package github

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Pull is a pull request.
type Pull struct {
	Number              int
	Title, Body, Author string
	Head, Base          string // branches
	HeadCommit          string
	Draft, Closed       bool
}

// pull is what a pull request has beyond an issue.
type pull struct {
	head, base string
	headCommit string // as last seen: it outlives the branch
	draft      bool
}

// Pulls returns the pull requests, open or closed, oldest first.
func (s *Server) Pulls(repo string) ([]Pull, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return nil, err
	}
	var list []Pull
	for _, i := range r.pulls() {
		if err := s.follow(r, i); err != nil {
			return nil, err
		}
		list = append(list, Pull{
			Number: i.Number, Title: i.Title, Body: i.Body, Author: i.Author, Closed: i.Closed,
			Head: i.pull.head, Base: i.pull.base, HeadCommit: i.pull.headCommit, Draft: i.pull.draft,
		})
	}
	return list, nil
}

// pulls lists the pull requests, oldest first; Server.mu is held.
func (r *repo) pulls() []*issue {
	var list []*issue
	for _, number := range slices.Sorted(maps.Keys(r.issues)) {
		if i := r.issues[number]; i.pull != nil {
			list = append(list, i)
		}
	}
	return list
}

// follow brings an open pull request up to its branch, and closes it if the
// branch is gone; s.mu is held.
func (s *Server) follow(r *repo, i *issue) error {
	if i.Closed {
		return nil
	}
	hash, err := r.git.ref("refs/heads/" + i.pull.head)
	switch {
	case err != nil:
		return err
	case hash == "":
		i.Closed, i.closedAt, i.updated = true, s.now(), s.now()
	default:
		i.pull.headCommit = hash
	}
	return nil
}

func pullRoutes() []route {
	read := need{permissions: []string{"pull_requests"}}
	write := need{permissions: []string{"pull_requests"}, write: true, role: roleWrite}
	return []route{
		{"GET /repos/{owner}/{repo}/pulls", read, listPulls},
		{"POST /repos/{owner}/{repo}/pulls", write, createPull},
		{"GET /repos/{owner}/{repo}/pulls/{pull_number}", read, getPull},
		{"PATCH /repos/{owner}/{repo}/pulls/{pull_number}", write, updatePull},
		{"GET /repos/{owner}/{repo}/pulls/{pull_number}/files", read, listPullFiles},
	}
}

// listPulls filters by state, head and base, newest first. A head without an
// owner is no filter, as on GitHub.
func listPulls(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	query := c.r.URL.Query()
	owner, branch, byHead := strings.Cut(query.Get("head"), ":")
	var list []*issue
	for _, i := range c.repo.pulls() {
		if err := c.s.follow(c.repo, i); err != nil {
			return nil, err
		}
		if inState(query.Get("state"), i.Closed) &&
			(!byHead || strings.EqualFold(owner, c.repo.Owner) && branch == i.pull.head) &&
			(query.Get("base") == "" || query.Get("base") == i.pull.base) {
			list = append(list, i)
		}
	}
	if query.Get("direction") != "asc" {
		slices.Reverse(list)
	}
	shapes := []object{}
	for _, i := range page(c, list) {
		shape, err := c.pullShape(i)
		if err != nil {
			return nil, err
		}
		shapes = append(shapes, shape)
	}
	return shapes, nil
}

func createPull(c *call) (any, error) {
	var in struct {
		Title, Body, Head, Base string
		Draft                   bool
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := checkText(in.Title, in.Body); err != nil {
		return nil, err
	}
	if owner, branch, qualified := strings.Cut(in.Head, ":"); qualified {
		if !strings.EqualFold(owner, c.repo.Owner) {
			return nil, invalid("PullRequest", "head", "invalid", "")
		}
		in.Head = branch
	}
	if err := c.checkBranches(in.Head, in.Base); err != nil {
		return nil, err
	}
	if in.Draft && c.repo.NoDrafts {
		return nil, refuse(422, "Draft pull requests are not supported in this repository.")
	}
	made, err := c.open(Issue{Title: in.Title, Body: in.Body, Author: c.token.Login}, &pull{head: in.Head, base: in.Base, draft: in.Draft})
	if err != nil {
		return nil, err
	}
	return c.fullPull(made)
}

// checkText holds a pull request's text against GitHub's limits.
func checkText(title, body string) error {
	switch {
	case strings.TrimSpace(title) == "":
		return invalid("PullRequest", "title", "missing_field", "")
	case utf8.RuneCountInString(title) > maxTitle:
		return invalid("PullRequest", "title", "custom", "title is too long (maximum is 256 characters)")
	case utf8.RuneCountInString(body) > maxText:
		return invalid("PullRequest", "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	return nil
}

// checkBranches refuses a pull request of branches that are not there, or
// between which there is no commit.
func (c *call) checkBranches(head, base string) error {
	for field, branch := range map[string]string{"head": head, "base": base} {
		if hash, err := c.repo.git.ref("refs/heads/" + branch); err != nil {
			return err
		} else if hash == "" {
			return invalid("PullRequest", field, "invalid", "")
		}
	}
	out, err := c.repo.git.git(c.ctx(), 1<<10, "rev-list", "--count", "refs/heads/"+base+"..refs/heads/"+head, "--")
	if err == nil && strings.TrimSpace(string(out)) == "0" {
		err = invalid("PullRequest", "", "custom", "No commits between "+base+" and "+head)
	}
	return err
}

// open takes a new pull request in, unless there is one for the branches.
func (c *call) open(i Issue, p *pull) (*issue, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, other := range c.repo.pulls() {
		if err := c.s.follow(c.repo, other); err != nil {
			return nil, err
		}
		if !other.Closed && other.pull.head == p.head && other.pull.base == p.base {
			return nil, invalid("PullRequest", "", "custom", "A pull request already exists for "+c.repo.Owner+":"+p.head+".")
		}
	}
	i.Number = c.repo.number + 1
	made := c.s.addIssue(c.repo, i)
	made.pull = p
	if err := c.s.follow(c.repo, made); err != nil {
		return nil, err
	}
	shape, err := c.pullShape(made)
	if err != nil {
		return nil, err
	}
	c.s.announcePull(c.repo, made, shape, "opened", c.token.Login)
	return made, nil
}

// pathPull finds the pull request that the path names; s.mu is held.
func (c *call) pathPull() (*issue, error) {
	n, err := c.number("pull_number")
	if err != nil {
		return nil, err
	}
	i := c.repo.issues[int(n)]
	if i == nil || i.pull == nil {
		return nil, errNotFound
	}
	return i, c.s.follow(c.repo, i)
}

// ends returns the commits between which the pull request's changes lie.
func (c *call) ends() (i *issue, from, to string, err error) {
	c.s.mu.Lock()
	i, err = c.pathPull()
	if err == nil {
		from, to = "refs/heads/"+i.pull.base, i.pull.headCommit
	}
	c.s.mu.Unlock()
	if err != nil {
		return nil, "", "", err
	}
	out, err := c.repo.git.git(c.ctx(), 1<<10, "merge-base", from, to)
	return i, strings.TrimSpace(string(out)), to, err
}

func getPull(c *call) (any, error) {
	i, from, to, err := c.ends()
	if err != nil {
		return nil, err
	}
	if c.accepts("diff") {
		data, err := c.repo.git.diff(c.ctx(), from, to)
		return raw{"application/vnd.github.diff; charset=utf-8", data}, err
	}
	return c.fullPull(i)
}

func listPullFiles(c *call) (any, error) {
	_, from, to, err := c.ends()
	if err != nil {
		return nil, err
	}
	files, err := c.repo.git.changedFiles(c.ctx(), from, to)
	if err != nil {
		return nil, err
	}
	return c.s.fileShapes(c.repo, page(c, files), to), nil
}

func updatePull(c *call) (any, error) {
	var in struct{ Title, Body, State, Base *string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	i, err := c.pathPull()
	if err == nil {
		err = c.change(i, in.Title, in.Body, in.State, in.Base)
	}
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.fullPull(i)
}

// change edits a pull request; s.mu is held.
func (c *call) change(i *issue, title, body, state, base *string) error {
	if title == nil {
		title = &i.Title
	}
	if body == nil {
		body = &i.Body
	}
	if err := checkText(*title, *body); err != nil {
		return err
	}
	if base != nil && *base != i.pull.base {
		if err := c.checkBranches(i.pull.head, *base); err != nil {
			return err
		}
		i.pull.base = *base
	}
	action := "edited"
	if state != nil {
		switch {
		case *state == "closed" && !i.Closed:
			i.Closed, i.closedAt, action = true, c.s.now(), "closed"
		case *state == "open" && i.Closed:
			hash, err := c.repo.git.ref("refs/heads/" + i.pull.head)
			if err != nil {
				return err
			}
			if hash == "" {
				return invalid("PullRequest", "state", "invalid", "state cannot be changed. The "+i.pull.head+" branch has been deleted.")
			}
			i.Closed, i.closedAt, action = false, time.Time{}, "reopened"
		case *state != "open" && *state != "closed":
			return invalid("PullRequest", "state", "invalid", "")
		}
	}
	i.Title, i.Body, i.updated = *title, *body, c.s.now()
	shape, err := c.pullShape(i)
	if err == nil {
		c.s.announcePull(c.repo, i, shape, action, c.token.Login)
	}
	return err
}

// pullShape is a pull request as lists show it; s.mu is held.
func (c *call) pullShape(i *issue) (object, error) {
	s, r, n := c.s, c.repo, strconv.Itoa(i.Number)
	base, err := r.git.ref("refs/heads/" + i.pull.base)
	if err != nil {
		return nil, err
	}
	api, web := s.apiURL(r, "/pulls/"+n), s.webURL(r, "/pull/"+n)
	issue := s.issueShape(r, i)
	shape := object{
		"id": i.id, "node_id": nodeID("PullRequest", i.id), "url": api, "html_url": web,
		"diff_url": web + ".diff", "patch_url": web + ".patch", "issue_url": issue["url"],
		"commits_url": api + "/commits", "review_comments_url": api + "/comments",
		"review_comment_url": s.apiURL(r, "/pulls/comments{/number}"), "comments_url": issue["comments_url"],
		"statuses_url": s.apiURL(r, "/statuses/"+i.pull.headCommit),
		"merged_at":    nil, "merge_commit_sha": nil, "requested_reviewers": []object{}, "requested_teams": []object{},
		"auto_merge": nil, "draft": i.pull.draft,
		"head": s.endShape(r, i.pull.head, i.pull.headCommit, c.token), "base": s.endShape(r, i.pull.base, base, c.token),
	}
	for _, field := range []string{
		"number", "state", "locked", "title", "user", "body", "labels", "milestone", "active_lock_reason",
		"created_at", "updated_at", "closed_at", "assignee", "assignees", "author_association",
	} {
		shape[field] = issue[field]
	}
	links := object{}
	for name, field := range map[string]string{
		"self": "url", "html": "html_url", "issue": "issue_url", "comments": "comments_url", "commits": "commits_url",
		"statuses": "statuses_url", "review_comments": "review_comments_url", "review_comment": "review_comment_url",
	} {
		links[name] = object{"href": shape[field]}
	}
	shape["_links"] = links
	return shape, nil
}

func (s *Server) endShape(r *repo, branch, hash string, t *Token) object {
	return object{
		"label": r.Owner + ":" + branch, "ref": branch, "sha": hash,
		"user": s.userShape(r.owner), "repo": s.repoShape(r, t),
	}
}

// fullPull is a pull request by itself, with its figures. Whether it can be
// merged is never known, as on GitHub while it computes that.
func (c *call) fullPull(i *issue) (any, error) {
	c.s.mu.Lock()
	shape, err := c.pullShape(i)
	base, head, comments := "refs/heads/"+i.pull.base, i.pull.headCommit, len(i.comments)
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	count, err := c.repo.git.git(c.ctx(), 1<<10, "rev-list", "--count", base+".."+head, "--")
	from, err2 := c.repo.git.git(c.ctx(), 1<<10, "merge-base", base, head)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	files, err := c.repo.git.changedFiles(c.ctx(), strings.TrimSpace(string(from)), head)
	if err != nil {
		return nil, err
	}
	commits, err := strconv.Atoi(strings.TrimSpace(string(count)))
	shape["commits"], shape["changed_files"] = commits, len(files)
	shape["additions"], shape["deletions"] = totals(files)
	shape["comments"], shape["review_comments"] = comments, 0
	shape["merged"], shape["mergeable"], shape["rebaseable"], shape["mergeable_state"] = false, nil, nil, "unknown"
	shape["merged_by"], shape["maintainer_can_modify"] = nil, false
	return shape, err
}
