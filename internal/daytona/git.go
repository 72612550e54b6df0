package daytona

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Clone says what Toolbox.Clone clones.
type Clone struct {
	URL      string // of the repository, without credentials
	Path     string // absolute, in the sandbox; it is made
	Branch   string // default: the repository's
	Commit   string // to check out; default: the branch's newest
	Username string
	Password secret.String // the toolbox gets it, so the sandbox's processes may
}

// Clone clones one branch of a repository into the sandbox, within ten minutes.
// Username and password travel in the request's body alone. It is not repeated:
// what a lost answer left behind would be in the way. A repository that wants
// another password is a fault of kind Auth.
//
// It calls POST /git/clone.
func (t *Toolbox) Clone(ctx context.Context, c Clone) error {
	if err := absolute(c.Path); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if u, err := url.Parse(c.URL); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return fault.New(fault.Usage, "clone: the URL holds a password")
		}
	}
	err := t.call(ctx, request{
		op: "clone a repository into " + clean(c.Path), method: http.MethodPost, path: []string{"git", "clone"},
		body: jsonBody(struct {
			URL      string `json:"url"`
			Path     string `json:"path"`
			Branch   string `json:"branch,omitempty"`
			Commit   string `json:"commit_id,omitempty"`
			Username string `json:"username,omitempty"`
			Password string `json:"password,omitempty"`
		}{c.URL, c.Path, c.Branch, c.Commit, c.Username, c.Password.Reveal()}),
		timeout: transferTimeout, hide: c.Password.Reveal,
	}, nil)
	if e, ok := errors.AsType[*Error](err); ok && gitRefused.MatchString(e.Message) {
		return fault.New(fault.Auth, "%s: the repository's host refused: %w", e.Op, err)
	}
	return err
}

// gitRefused is what the toolbox says when a repository's host wants (other)
// credentials. The status alone might be Daytona's own.
var gitRefused = regexp.MustCompile(`(?i)authentication (required|failed)|authorization failed|invalid auth method`)

// GitStatus is what a working tree looks like. All of it is untrusted.
type GitStatus struct {
	Branch    string    `json:"currentBranch"`
	Published bool      `json:"branchPublished"` // it has an upstream
	Ahead     int       `json:"ahead"`           // commits that the upstream lacks
	Behind    int       `json:"behind"`          // commits that it has more
	Files     []GitFile `json:"fileStatus"`      // in no order
}

// GitFile is a file that differs from the last commit. The states are words:
// Unmodified, Untracked, Modified, Added, Deleted, Renamed, Copied or
// "Updated but unmerged".
type GitFile struct {
	Name     string `json:"name"`
	Staging  string `json:"staging"`
	Worktree string `json:"worktree"`
}

// GitStatus returns the status of the working tree at an absolute path; an
// *Error, of kind NotFound or Unavailable, if there is none.
//
// It calls GET /git/status.
func (t *Toolbox) GitStatus(ctx context.Context, name string) (*GitStatus, error) {
	var s GitStatus
	if err := t.git(ctx, "status", name, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// GitBranches returns the local branches of the repository at an absolute path,
// in no order and untrusted.
//
// It calls GET /git/branches.
func (t *Toolbox) GitBranches(ctx context.Context, name string) ([]string, error) {
	var answer struct{ Branches []string }
	if err := t.git(ctx, "branches", name, &answer); err != nil {
		return nil, err
	}
	return answer.Branches, nil
}

// git asks something of the repository at an absolute path.
func (t *Toolbox) git(ctx context.Context, what, name string, out any) error {
	if err := absolute(name); err != nil {
		return fmt.Errorf("git %s: %w", what, err)
	}
	return t.call(ctx, request{
		op: "git " + what + " of " + clean(name), method: http.MethodGet, path: []string{"git", what},
		query: url.Values{"path": {name}}, safe: true,
	}, out)
}
