package github

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// place is where an issue was transferred to.
type place struct {
	repo   int64
	number int
}

// movedError is an answer that sends the client elsewhere.
type movedError struct {
	status int
	to     string
}

func (e *movedError) Error() string { return fmt.Sprintf("%d moved to %s", e.status, e.to) }

// moved sends the client to a path below a repository's id, which outlives its
// names. A write keeps its method.
func (c *call) moved(id int64, path string) error {
	status := http.StatusMovedPermanently
	if c.r.Method != http.MethodGet {
		status = http.StatusTemporaryRedirect
	}
	return &movedError{status, fmt.Sprintf("%s/api/v3/repositories/%d%s", c.s.url, id, path)}
}

// byID gives a request below a repository's id the path below its name.
func (s *Server) byID(r *http.Request) {
	id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v3/repositories/"), "/")
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, repo := range s.repos {
		if repo.id != n {
			continue
		}
		raw := strings.TrimSuffix("/api/v3/repos/"+repo.fullName()+"/"+rest, "/")
		if path, err := url.PathUnescape(raw); err == nil {
			r.URL = &url.URL{Path: path, RawPath: raw, RawQuery: r.URL.RawQuery}
		}
		return
	}
}

// renamed reports whether this is not the repository's name any more.
func (r *repo) renamed(name string) bool { return !strings.EqualFold(name, r.fullName()) }

// UpdateRepository changes a repository's settings as its owner on the web
// would. Another owner or name moves it: the old name redirects to the new.
// The change must not call the server.
func (s *Server) UpdateRepository(repo string, change func(*Repository)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.repo(repo)
	if err != nil {
		return err
	}
	next := *old
	change(&next.Repository)
	next.owner = s.user(next.Owner)
	if taken, err := s.repo(next.fullName()); err == nil && taken.id != next.id && !taken.renamed(next.fullName()) {
		return fmt.Errorf("there is another repository %s", next.fullName())
	}
	for name, r := range s.repos {
		if r.id == next.id {
			s.repos[name] = &next
		}
	}
	s.repos[strings.ToLower(next.fullName())] = &next
	return nil
}

// TransferIssue moves an issue with its comments to another repository and
// returns its number there. The old one redirects to it.
func (s *Server) TransferIssue(repo string, number int, to string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, i, err := s.issue(repo, number)
	if err != nil {
		return 0, err
	}
	target, err := s.repo(to)
	if err != nil {
		return 0, err
	}
	if i.pull != nil {
		return 0, fmt.Errorf("%s#%d is a pull request", repo, number)
	}
	moved := i.Issue
	moved.Number = target.number + 1
	made := s.addIssue(target, moved)
	made.comments = i.comments
	delete(from.issues, number)
	from.transferred[number] = place{target.id, moved.Number}
	return moved.Number, nil
}

// elsewhere sends the client to where the path's issue was transferred, if it
// was and the token sees that place; s.mu is held.
func (c *call) elsewhere() error {
	n, err := c.number("issue_number")
	at, ok := c.repo.transferred[int(n)]
	if err != nil || !ok {
		return errNotFound
	}
	for _, r := range c.s.repos {
		if r.id == at.repo && c.token.sees(r) {
			return c.moved(at.repo, "/issues/"+strconv.Itoa(at.number))
		}
	}
	return errNotFound
}
