package run

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Ref names an issue: owner/repo#42.
type Ref struct {
	Owner  string `json:"owner"`
	Repo   string `json:"repo"`
	Number int    `json:"number"`
}

// String is the reference's short form, owner/repo#42.
func (r Ref) String() string { return fmt.Sprintf("%s/%s#%d", r.Owner, r.Repo, r.Number) }

// FullName is owner/repo.
func (r Ref) FullName() string { return r.Owner + "/" + r.Repo }

// Lengths are held apart from the patterns: counts make them slow to compile.
const (
	maxOwner = 99
	maxRepo  = 100
)

var (
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	repoPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// ParseRef reads owner/repo#42 or an issue's URL (with or without scheme, on
// any host: GitHub Enterprise Server has its own). The URL of a pull request
// is refused here; a pull request's number in the short form only GitHub can
// tell.
func ParseRef(s string) (Ref, error) {
	in := strings.TrimSpace(s)
	if name, number, ok := strings.Cut(in, "#"); ok && !strings.Contains(in, "://") && strings.Count(name, "/") == 1 {
		return newRef(s, name, number)
	}
	u, err := url.Parse(in)
	if err != nil || u.Host == "" {
		u, err = url.Parse("https://" + in)
	}
	if err == nil {
		p := strings.Split(strings.Trim(u.Path, "/"), "/")
		switch {
		case len(p) >= 4 && p[2] == "issues":
			return newRef(s, p[0]+"/"+p[1], p[3])
		case len(p) >= 4 && p[2] == "pull":
			return Ref{}, fmt.Errorf("%q is a pull request, not an issue", s)
		}
	}
	return Ref{}, fmt.Errorf("%q names no issue: write owner/repo#42 or the issue's URL", s)
}

func newRef(in, name, number string) (Ref, error) {
	owner, repo, _ := strings.Cut(name, "/")
	if len(owner) > maxOwner || !ownerPattern.MatchString(owner) ||
		len(repo) > maxRepo || !repoPattern.MatchString(repo) || repo == "." || repo == ".." {
		return Ref{}, fmt.Errorf("%q names no issue: %q is not a repository's owner/name", in, name)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 1<<31-1 {
		return Ref{}, fmt.Errorf("%q names no issue: %q is not an issue's number", in, number)
	}
	return Ref{Owner: owner, Repo: repo, Number: n}, nil
}
