package github

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Issue is an issue, or what a pull request has in common with one.
type Issue struct {
	Number    int // for AddIssue, 0 is the next
	Title     string
	Body      string
	Author    string // default: the repository's owner
	Labels    []string
	Closed    bool
	Locked    bool
	CreatedAt time.Time
}

type issue struct {
	Issue
	id       int64
	updated  time.Time
	closedAt time.Time
	comments []*Comment
	pull     *pull // nil: not a pull request
}

// Comment is a comment of an issue or pull request.
type Comment struct {
	ID                   int64
	Author, Body         string
	CreatedAt, UpdatedAt time.Time
}

// AddIssue adds an issue and returns its number. Webhooks learn of it.
func (s *Server) AddIssue(repo string, i Issue) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return 0, err
	}
	if i.Number == 0 {
		i.Number = r.number + 1
	}
	if r.issues[i.Number] != nil {
		return 0, fmt.Errorf("%s#%d is there already", repo, i.Number)
	}
	added := s.addIssue(r, i)
	s.announceIssue(r, added, "opened", added.Author)
	return i.Number, nil
}

// addIssue takes an issue in; s.mu is held.
func (s *Server) addIssue(r *repo, i Issue) *issue {
	i.Labels = slices.Clone(i.Labels)
	i.Author = s.user(cmp.Or(i.Author, r.Owner)).Login
	if i.CreatedAt.IsZero() {
		i.CreatedAt = s.now()
	}
	added := &issue{Issue: i, id: s.nextID(), updated: i.CreatedAt}
	if i.Closed {
		added.closedAt = i.CreatedAt
	}
	r.issues[i.Number] = added
	r.number = max(r.number, i.Number)
	return added
}

// AddComment comments on an issue as a user and returns the comment's id.
// Webhooks learn of it.
func (s *Server) AddComment(repo string, number int, author, body string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, i, err := s.issue(repo, number)
	if err != nil {
		return 0, err
	}
	return s.addComment(r, i, author, body).ID, nil
}

func (s *Server) addComment(r *repo, i *issue, author, body string) *Comment {
	made := &Comment{ID: s.nextID(), Author: s.user(author).Login, Body: body, CreatedAt: s.now(), UpdatedAt: s.now()}
	i.comments = append(i.comments, made)
	i.updated = made.CreatedAt
	s.announceComment(r, i, made, "created", author)
	return made
}

// UpdateIssue changes an issue as a user on the web would; webhooks learn of
// labels that came, of closing, reopening and other edits. The change must not
// call the server.
func (s *Server) UpdateIssue(repo string, number int, actor string, change func(*Issue)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, i, err := s.issue(repo, number)
	if err != nil {
		return err
	}
	before := i.Issue
	before.Labels = slices.Clone(before.Labels)
	change(&i.Issue)
	i.Number, i.updated = number, s.now()
	switch {
	case i.Closed && !before.Closed:
		i.closedAt = i.updated
		s.announceIssue(r, i, "closed", actor)
	case !i.Closed && before.Closed:
		i.closedAt = time.Time{}
		s.announceIssue(r, i, "reopened", actor)
	case i.Title != before.Title || i.Body != before.Body:
		s.announceIssue(r, i, "edited", actor)
	}
	for _, label := range i.Labels {
		if !slices.Contains(before.Labels, label) {
			s.announceLabel(r, i, label, actor)
		}
	}
	return nil
}

// Comments returns the comments of an issue or pull request, oldest first.
func (s *Server) Comments(repo string, number int) ([]Comment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, i, err := s.issue(repo, number)
	if err != nil {
		return nil, err
	}
	var list []Comment
	for _, c := range i.comments {
		list = append(list, *c)
	}
	return list, nil
}

// issue finds an issue or pull request; s.mu is held.
func (s *Server) issue(repo string, number int) (*repo, *issue, error) {
	r, err := s.repo(repo)
	if err != nil {
		return nil, nil, err
	}
	if i := r.issues[number]; i != nil {
		return r, i, nil
	}
	return nil, nil, fmt.Errorf("there is no %s#%d", repo, number)
}

// Pull is a pull request.
type Pull struct {
	Number              int
	Title, Body, Author string
	Head, Base          string // branches
	HeadCommit          string
	Draft               bool
	Closed, Merged      bool
}

// pull is what a pull request has beyond an issue. Its commits are as last
// seen: they outlive the branches.
type pull struct {
	head, base             string
	headCommit, baseCommit string
	draft                  bool
	merged                 time.Time // zero: it is not
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
			Head: i.pull.head, Base: i.pull.base, HeadCommit: i.pull.headCommit, Draft: i.pull.draft, Merged: !i.pull.merged.IsZero(),
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

// follow brings an open pull request up to its branches, and closes it if its
// own is gone; s.mu is held.
func (s *Server) follow(r *repo, i *issue) error {
	if i.Closed {
		return nil
	}
	head, err := r.git.ref("refs/heads/" + i.pull.head)
	if err != nil {
		return err
	}
	base, err := r.git.ref("refs/heads/" + i.pull.base)
	if head == "" {
		i.Closed, i.closedAt, i.updated = true, s.now(), s.now()
	}
	i.pull.headCommit = cmp.Or(head, i.pull.headCommit)
	i.pull.baseCommit = cmp.Or(base, i.pull.baseCommit)
	return err
}
