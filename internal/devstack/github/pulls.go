package github

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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
		shapes = append(shapes, c.pullShape(i))
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
	if c.repo.NoActions && c.token.Login == "github-actions[bot]" {
		return nil, refuse(403, "GitHub Actions is not permitted to create or approve pull requests.")
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
		return invalid("Issue", "title", "custom", "title is too long (maximum is 256 characters)")
	case utf8.RuneCountInString(body) > maxText:
		return invalid("Issue", "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	return nil
}

// checkBranches refuses a pull request of branches that are not there, or
// between which there is no commit.
func (c *call) checkBranches(head, base string) error {
	var commits [2]string
	for i, end := range [...]struct{ field, branch string }{{"head", head}, {"base", base}} {
		var err error
		if commits[i], err = c.repo.git.ref("refs/heads/" + end.branch); err != nil {
			return err
		}
		if commits[i] == "" {
			return invalid("PullRequest", end.field, "invalid", "")
		}
	}
	from, err := c.repo.git.mergeBase(c.ctx(), commits[1], commits[0])
	switch {
	case err != nil:
		return err
	case from == "":
		return invalid("PullRequest", "", "custom", "The "+head+" branch has no history in common with "+base)
	case from == commits[0]:
		return invalid("PullRequest", "", "custom", "No commits between "+base+" and "+head)
	}
	return nil
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
	c.s.announcePull(c.repo, made, c.pullShape(made), "opened", c.token.Login)
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

// start is the commit from which a pull request's changes are counted.
func (c *call) start(p pull) (string, error) {
	from, err := c.repo.git.mergeBase(c.ctx(), p.baseCommit, p.headCommit)
	return cmp.Or(from, p.baseCommit), err // none: forced since to something unrelated
}

// lookup is pathPull for those who go on without the lock.
func (c *call) lookup() (*issue, pull, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i, err := c.pathPull()
	if err != nil {
		return nil, pull{}, err
	}
	return i, *i.pull, nil
}

func getPull(c *call) (any, error) {
	i, p, err := c.lookup()
	if err != nil {
		return nil, err
	}
	if c.accepts("diff") {
		from, err := c.start(p)
		if err != nil {
			return nil, err
		}
		data, err := c.repo.git.diff(c.ctx(), from, p.headCommit)
		return raw{"application/vnd.github.diff; charset=utf-8", data}, err
	}
	return c.fullPull(i)
}

func listPullFiles(c *call) (any, error) {
	_, p, err := c.lookup()
	if err != nil {
		return nil, err
	}
	from, err := c.start(p)
	if err != nil {
		return nil, err
	}
	files, err := c.repo.git.patchedFiles(c.ctx(), from, p.headCommit)
	return c.s.fileShapes(c.repo, page(c, files), p.headCommit), err
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

// change edits a pull request, all of it or nothing; s.mu is held.
func (c *call) change(i *issue, title, body, state, base *string) error {
	next, target, action := i.Issue, i.pull.base, "edited"
	if title != nil {
		next.Title = *title
	}
	if body != nil {
		next.Body = *body
	}
	if err := checkText(next.Title, next.Body); err != nil {
		return err
	}
	if base != nil && *base != target {
		target = *base
		if err := c.checkBranches(i.pull.head, target); err != nil {
			return err
		}
	}
	if state != nil {
		if *state != "open" && *state != "closed" {
			return invalid("PullRequest", "state", "invalid", "")
		}
		if next.Closed = *state == "closed"; next.Closed != i.Closed {
			action = map[bool]string{true: "closed", false: "reopened"}[next.Closed]
		}
	}
	switch action {
	case "reopened":
		if !i.pull.merged.IsZero() {
			return invalid("PullRequest", "state", "invalid", "state cannot be changed. The pull request cannot be reopened.")
		}
		if head, err := c.repo.git.ref("refs/heads/" + i.pull.head); err != nil {
			return err
		} else if head == "" {
			return invalid("PullRequest", "state", "invalid", "state cannot be changed. The "+i.pull.head+" branch has been deleted.")
		}
		i.closedAt = time.Time{}
	case "closed":
		i.closedAt = c.s.now()
	}
	i.Issue, i.pull.base, i.updated = next, target, c.s.now()
	if err := c.s.follow(c.repo, i); err != nil {
		return err
	}
	c.s.announcePull(c.repo, i, c.pullShape(i), action, c.token.Login)
	return nil
}

// pullShape is a pull request as lists show it; s.mu is held.
func (c *call) pullShape(i *issue) object {
	s, r, n := c.s, c.repo, strconv.Itoa(i.Number)
	api, web := s.apiURL(r, "/pulls/"+n), s.webURL(r, "/pull/"+n)
	issue := s.issueShape(r, i)
	shape := object{
		"id": i.id, "node_id": nodeID("PullRequest", i.id), "url": api, "html_url": web,
		"diff_url": web + ".diff", "patch_url": web + ".patch", "issue_url": issue["url"],
		"commits_url": api + "/commits", "review_comments_url": api + "/comments",
		"review_comment_url": s.apiURL(r, "/pulls/comments{/number}"), "comments_url": issue["comments_url"],
		"statuses_url": s.apiURL(r, "/statuses/"+i.pull.headCommit),
		"merged_at":    optionalStamp(i.pull.merged), "merge_commit_sha": nil, "requested_reviewers": []object{}, "requested_teams": []object{},
		"auto_merge": nil, "draft": i.pull.draft,
		"head": s.endShape(r, i.pull.head, i.pull.headCommit, c.token), "base": s.endShape(r, i.pull.base, i.pull.baseCommit, c.token),
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
	return shape
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
	shape, p, comments := c.pullShape(i), *i.pull, len(i.comments)
	c.s.mu.Unlock()
	from, err := c.start(p)
	if err != nil {
		return nil, err
	}
	files, err := c.repo.git.changedFiles(c.ctx(), from, p.headCommit)
	if err != nil {
		return nil, err
	}
	commits, err := c.repo.git.count(c.ctx(), from, p.headCommit)
	shape["commits"], shape["changed_files"] = commits, len(files)
	shape["additions"], shape["deletions"] = totals(files)
	shape["comments"], shape["review_comments"] = comments, 0
	shape["merged"], shape["mergeable"], shape["rebaseable"], shape["mergeable_state"] = !p.merged.IsZero(), nil, nil, "unknown"
	shape["merged_by"], shape["maintainer_can_modify"] = nil, false
	return shape, err
}
