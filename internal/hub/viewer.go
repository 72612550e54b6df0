package hub

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	// WorkflowBot is the login of the token that GitHub Actions gives to a
	// workflow. What it pushes starts no workflows.
	// https://docs.github.com/en/actions/concepts/security/github_token
	WorkflowBot = "github-actions[bot]"

	// botSuffix ends the login of an App's installation, and no other: users'
	// logins have no brackets.
	botSuffix = "[bot]"
)

// Viewer returns the login that the token writes as: its user's, or that of a
// GitHub App's installation, as "github-actions[bot]". It is asked once.
func (c *Client) Viewer(ctx context.Context) (string, error) {
	c.mu.Lock()
	login := c.viewer
	c.mu.Unlock()
	if login != "" {
		return login, nil
	}
	o := op{does: "reading who the GitHub token belongs to", needs: metadataRead}
	user, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.User, *github.Response, error) {
		return gh.Users.Get(ctx, "")
	})
	login = user.GetLogin()
	var refused *Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden && refused.says("by integration") {
		login, err = c.bot(ctx, o)
	}
	if err != nil {
		return "", err
	}
	if login == "" || login != untrusted.Line(login, 100) {
		return "", incomplete(o.does)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.viewer = login
	return login, nil
}

// bot returns the login of an App's installation, which has no user that REST
// could tell of. GraphQL answers with the login that stands in the REST API's
// comments; it leaves the suffix out of other bots' logins, so that is not
// relied on.
func (c *Client) bot(ctx context.Context, o op) (string, error) {
	var got struct {
		Viewer struct {
			Login string `json:"login"`
		} `json:"viewer"`
	}
	refused, err := c.graphQL(ctx, o, "{viewer{login}}", nil, &got)
	if err != nil {
		return "", err
	}
	login := got.Viewer.Login
	if refused != "" {
		return "", fault.New(fault.Auth, "%s: GitHub does not tell the App's login (%s)", o.does, refused).
			WithHint("set GITHUB_TOKEN to a personal access token")
	}
	if login != "" && !strings.HasSuffix(login, botSuffix) {
		login += botSuffix
	}
	return login, nil
}
