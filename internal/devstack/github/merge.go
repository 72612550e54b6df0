package github

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// closes matches the words by which a pull request closes issues.
var closes = regexp.MustCompile(`(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?) #(\d+)\b`)

// MergePull merges an open pull request as a user on the web would, with a
// merge commit. Issues that it says it fixes are closed. Webhooks learn of both.
func (s *Server) MergePull(ctx context.Context, repo string, number int, actor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, i, err := s.issue(repo, number)
	if err != nil {
		return err
	}
	if i.pull == nil {
		return fmt.Errorf("%s#%d is not a pull request", repo, number)
	}
	if err := s.follow(r, i); err != nil {
		return err
	}
	if i.Closed {
		return fmt.Errorf("%s#%d is closed", repo, number)
	}
	p := i.pull
	tree, err := r.git.git(ctx, 1<<10, "merge-tree", "--write-tree", p.baseCommit, p.headCommit)
	if err != nil {
		return fmt.Errorf("%s#%d: %w", repo, number, err)
	}
	by := s.signature(s.user(actor))
	merged, err := r.git.writeCommit(commit{
		tree: strings.TrimSpace(string(tree)), parents: []string{p.baseCommit, p.headCommit}, author: by, committer: by,
		message: fmt.Sprintf("Merge pull request #%d from %s/%s", number, r.Owner, p.head),
	})
	if err != nil {
		return err
	}
	if err := r.git.setRef(ctx, "refs/heads/"+p.base, merged.hash, p.baseCommit); err != nil {
		return err
	}
	now := s.now()
	i.Closed, i.closedAt, i.updated, p.merged = true, now, now, now
	c := &call{s: s, repo: r}
	s.announcePull(r, i, c.pullShape(i), "closed", actor)
	for _, m := range closes.FindAllStringSubmatch(i.Body, -1) {
		n, _ := strconv.Atoi(m[1]) // too large a number is no issue's
		if fixed := r.issues[n]; fixed != nil && fixed.pull == nil && !fixed.Closed && p.base == r.DefaultBranch {
			fixed.Closed, fixed.closedAt, fixed.updated = true, now, now
			s.announceIssue(r, fixed, "closed", actor)
		}
	}
	return nil
}

// DeleteBranch deletes a branch as a user on the web would: its pull requests
// are closed by that.
func (s *Server) DeleteBranch(ctx context.Context, repo, branch string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return err
	}
	at, err := r.git.ref("refs/heads/" + branch)
	if err != nil || at == "" {
		return fmt.Errorf("branch %s of %s: %w", branch, repo, cmp.Or(err, error(errNoObject)))
	}
	return r.git.setRef(ctx, "refs/heads/"+branch, "", at)
}
