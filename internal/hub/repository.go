package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// The permissions that calls take, as GitHub's token settings name them.
const (
	metadataRead   = "metadata: read"
	contentsRead   = "contents: read"
	contentsWrite  = "contents: write"
	issuesRead     = "issues: read"
	issuesWrite    = "issues: write"
	pullsRead      = "pull requests: read"
	pullsWrite     = "pull requests: write"
	workflowsWrite = "workflows: write"
)

// Repository is a repository and what the token's user may do with it.
type Repository struct {
	run.Repository
	Push, Pull bool // the user's role; the token itself may be narrower
	App        bool // the token is an App installation's, which has no role: Push means nothing
	Archived   bool
	HasIssues  bool
	Empty      bool   // no commit yet
	WebURL     string // what clone URLs start with, as "https://github.com/"

	scopes []string // of a classic token; nil for the other kinds
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	shaPattern  = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

func validName(s string) bool { return namePattern.MatchString(s) && s != "." && s != ".." }

// Repository looks a repository up. One that was renamed or moved is found
// under its old name; the answer has the new one, and the same ID.
func (c *Client) Repository(ctx context.Context, owner, name string) (*Repository, error) {
	if !validName(owner) || !validName(name) {
		return nil, fault.New(fault.Usage, "%q is not a repository's owner/name", owner+"/"+name)
	}
	o := read(run.Repository{Owner: owner, Name: name}, "reading repository "+owner+"/"+name, metadataRead)
	var scopes []string
	r, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Repository, *github.Response, error) {
		r, resp, err := gh.Repositories.Get(ctx, owner, name)
		if err == nil {
			scopes = scopesOf(resp.Header)
		}
		return r, resp, err
	})
	if err != nil {
		return nil, err
	}
	repo := &Repository{
		Repository: run.Repository{
			ID:            r.GetID(),
			Owner:         r.GetOwner().GetLogin(),
			Name:          r.GetName(),
			Private:       r.GetPrivate(),
			DefaultBranch: r.GetDefaultBranch(),
			CloneURL:      r.GetCloneURL(),
			SizeKB:        int64(r.GetSize()),
		},
		Push:      r.GetPermissions()["push"],
		Pull:      r.GetPermissions()["pull"],
		Archived:  r.GetArchived(),
		HasIssues: r.GetHasIssues(),
		scopes:    scopes,
	}
	if repo.ID == 0 || !validName(repo.Owner) || !validName(repo.Name) || repo.DefaultBranch == "" {
		return nil, incomplete(o.does)
	}
	if !strings.EqualFold(repo.FullName(), owner+"/"+name) {
		notice.Tell(ctx, fmt.Sprintf("%s/%s was moved: it is %s now", owner, name, repo.FullName()))
	}
	if repo.WebURL, err = c.webURL(repo.Repository); err != nil {
		return nil, fault.New(fault.Failed, "%s: %w", o.does, err)
	}
	if !repo.Push && !c.anon { // GitHub says so of every installation
		login, err := c.Viewer(ctx)
		if err != nil {
			return nil, err
		}
		repo.App = strings.HasSuffix(login, botSuffix)
		repo.Pull = repo.Pull || repo.App // it was found; reading its contents tells more
	}
	if repo.SizeKB == 0 { // GitHub's figure lags behind: small repositories show 0 for a while
		_, err := c.Head(ctx, repo.Repository, repo.DefaultBranch)
		repo.Empty = errors.Is(err, ErrEmpty)
		if err != nil && !repo.Empty && fault.KindOf(err) != fault.NotFound {
			return nil, err
		}
	}
	return repo, nil
}

// scopesOf reads what a classic token may do; nil of a token of another kind.
func scopesOf(h http.Header) []string {
	said, classic := h["X-Oauth-Scopes"]
	if !classic {
		return nil
	}
	return strings.FieldsFunc(strings.Join(said, ","), func(r rune) bool { return r == ',' || r == ' ' })
}

// webURL is the clone URL without owner/name.git. Whoever clones sends the
// token there, so it must belong to the API that the token was given for:
// github.com to api.github.com, on GitHub Enterprise Server the same host.
func (c *Client) webURL(repo run.Repository) (string, error) {
	web, ok := strings.CutSuffix(repo.CloneURL, repo.FullName()+".git")
	u, err := url.Parse(web)
	switch {
	case !ok || err != nil || u.User != nil || !strings.HasSuffix(u.Path, "/"):
		return "", fmt.Errorf("clone URL %q is not of the form https://HOST/%s.git", untrusted.Line(repo.CloneURL, 200), repo.FullName())
	case u.Scheme != c.base.Scheme || u.Host != c.base.Host && "api."+u.Host != c.base.Host:
		return "", fmt.Errorf("clone URL %q does not belong to the API at %s", untrusted.Line(repo.CloneURL, 200), c.base.Host)
	}
	return web, nil
}

// Head returns the commit a branch stands at. It is fault.NotFound if there is
// no such branch, and ErrEmpty if the repository has no commit.
func (c *Client) Head(ctx context.Context, repo run.Repository, branch string) (string, error) {
	o := read(repo, fmt.Sprintf("reading branch %s of %s", branch, repo.FullName()), contentsRead)
	ref, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Reference, *github.Response, error) {
		return gh.Git.GetRef(ctx, repo.Owner, repo.Name, "heads/"+branch)
	})
	if err != nil {
		return "", err
	}
	if sha := ref.GetObject().GetSHA(); shaPattern.MatchString(sha) {
		return sha, nil
	}
	return "", incomplete(o.does)
}
