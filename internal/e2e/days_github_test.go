package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// bad breaks or mends something at GitHub. The shop's reference is demo/shop#42.
type bad func(t *testing.T, s *e2e.Stack, ref string)

// token gives the command line's user another token of the same value.
func token(change func(*github.Token)) bad {
	return func(t *testing.T, s *e2e.Stack, _ string) {
		t.Helper()
		next := github.Token{Value: secret.New(s.Canaries["GITHUB_TOKEN"]), Login: e2e.User, Scopes: []string{"repo"}}
		change(&next)
		if err := s.GitHub.AddToken(next); err != nil {
			t.Fatal(err)
		}
	}
}

// finely makes the token a fine-grained one: "contents=write issues=write".
func finely(permissions string) bad {
	return token(func(next *github.Token) {
		next.Kind, next.Scopes, next.Permissions = github.FineGrained, nil, map[string]string{}
		for permission := range strings.FieldsSeq(permissions) {
			name, access, _ := strings.Cut(permission, "=")
			next.Permissions[name] = access
		}
	})
}

const enough = "contents=write issues=write pull_requests=write"

// renewed is the token as it was.
func renewed() bad { return token(func(*github.Token) {}) }

func expired() bad { return token(func(next *github.Token) { next.Expires = time.Unix(1, 0) }) }

// settings changes the settings of the reference's repository.
func settings(change func(*github.Repository)) bad {
	return func(t *testing.T, s *e2e.Stack, ref string) {
		t.Helper()
		if err := s.GitHub.UpdateRepository(repoOf(ref), change); err != nil {
			t.Fatal(err)
		}
	}
}

func repoOf(ref string) string { return ref[:strings.IndexByte(ref, '#')] }

// issue changes the shop's issue.
func issue(change func(*github.Issue)) bad {
	return func(t *testing.T, s *e2e.Stack, ref string) {
		t.Helper()
		if err := s.GitHub.UpdateIssue(repoOf(ref), 42, "ann", change); err != nil {
			t.Fatal(err)
		}
	}
}

// whileWorking breaks something while Claude waits for the model.
func whileWorking(breaks bad) (bad, func(*testing.T, *e2e.Stack, *e2e.Command)) {
	var model *e2e.Model
	var release func()
	hold := func(_ *testing.T, s *e2e.Stack, _ string) {
		model = s.WatchModel()
		release = model.Hold()
	}
	return hold, func(t *testing.T, s *e2e.Stack, c *e2e.Command) {
		t.Helper()
		defer release()
		s.Eventually("a call of the model", func() bool { return model.Waiting() || c.Ended() })
		breaks(t, s, "demo/shop#42")
	}
}

// nothing mends what the next command goes on in spite of.
func nothing(*testing.T, *e2e.Stack, string) {}

// shopOf is the shop, with something about it.
func shopOf(change func(*github.Repository)) github.Repository {
	r := github.Repository{Name: demo.Repository, Files: demo.Shop()}
	change(&r)
	return r
}

// TestGitHubDays are the days on which GitHub does not let a run begin.
func TestGitHubDays(t *testing.T) {
	private := shopOf(func(r *github.Repository) { r.Private = true })
	someones := shopOf(func(r *github.Repository) {
		r.Owner, r.Private, r.Collaborators = "acme", true, map[string]string{e2e.User: "write"}
	})
	mayNot := func(permissions, does, lacks string, args ...string) day {
		return day{
			repository: private, breaks: finely(permissions), args: args, exit: 4, kind: fault.Auth,
			says: []string{does, "the token lacks a permission (403 Resource not accessible by personal access token)"},
			hint: []string{"give the token the permission `" + lacks + "`", "on demo/shop"},
			page: "the token lacks a permission", heals: finely(enough), again: []string{},
		}
	}
	days(t, lightly(map[string]day{
		"unknown issue": {
			ref: "demo/shop#4711", exit: 1, kind: fault.NotFound,
			says: []string{"reading issue demo/shop#4711: not found, or the token has no access to it"},
			hint: []string{"check the name"}, page: "not found, or the token has no access to it", heals: nothing,
		},
		"unknown repository": {
			ref: "demo/shoq#42", exit: 1, kind: fault.NotFound, says: []string{"reading repository demo/shoq: not found"},
			hint: []string{"check the name"}, page: "not found, or the token has no access to it", heals: nothing,
		},
		"hidden repository": {
			repository: someones, breaks: settings(func(r *github.Repository) { r.Collaborators = nil }),
			exit: 1, kind: fault.NotFound, says: []string{"reading repository acme/shop: not found, or the token has no access to it"},
			hint: []string{"its user access on acme/shop"}, page: "not found, or the token has no access to it",
			heals: settings(func(r *github.Repository) { r.Collaborators = someones.Collaborators }),
		},
		"repository that may only be read": {
			repository: someones, breaks: settings(func(r *github.Repository) { r.Collaborators = map[string]string{e2e.User: "read"} }),
			exit: 7, kind: fault.NotAdmitted, says: []string{"this GitHub user can't push to acme/shop"}, hint: []string{"--dry-run"},
			page:  "this GitHub user can't push to",
			heals: settings(func(r *github.Repository) { r.Collaborators = someones.Collaborators }),
		},
		"pull request": {
			breaks: func(t *testing.T, s *e2e.Stack, _ string) { pullOf(t, s, "demo/shop", "topic") },
			ref:    "demo/shop#43", exit: 7, kind: fault.NotAdmitted, says: []string{"demo/shop#43 is a pull request"},
			hint: []string{"the number of an issue"}, page: "is a pull request",
		},
		"closed issue": {
			issue: github.Issue{Closed: true}, exit: 7, kind: fault.NotAdmitted, says: []string{"demo/shop#42 is closed"},
			hint: []string{"--force"}, page: "is closed", heals: nothing, again: []string{"--force"},
		},
		"locked issue": {
			issue: github.Issue{Locked: true}, exit: 7, kind: fault.NotAdmitted, says: []string{"the conversation of demo/shop#42 is locked"},
			hint: []string{"unlock it"}, page: "is locked", heals: issue(func(i *github.Issue) { i.Locked = false }),
		},
		"archived repository": {
			repository: shopOf(func(r *github.Repository) { r.Archived = true }), exit: 7, kind: fault.NotAdmitted,
			says: []string{"demo/shop is archived"}, hint: []string{"unarchive"}, page: "is archived",
			heals: settings(func(r *github.Repository) { r.Archived = false }),
		},
		"empty repository": {
			repository: github.Repository{Name: "void"}, exit: 7, kind: fault.NotAdmitted,
			says: []string{"demo/void has no commit yet"}, hint: []string{"first commit"}, page: "has no commit yet",
			heals: func(t *testing.T, s *e2e.Stack, ref string) {
				if _, err := s.GitHub.Commit(t.Context(), repoOf(ref), "main", "first", demo.Shop()); err != nil {
					t.Fatal(err)
				}
			},
		},
		"issues disabled": {
			repository: shopOf(func(r *github.Repository) { r.NoIssues = true }), exit: 7, kind: fault.NotAdmitted,
			says: []string{"reading issue demo/shop#1: the repository has its issues switched off"}, hint: []string{"switch issues on"},
			page: "the repository has its issues switched off", heals: settings(func(r *github.Repository) { r.NoIssues = false }),
		},
		"no token": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { delete(s.Env, "GITHUB_TOKEN") },
			exit:   4, kind: fault.Auth, says: []string{"no GitHub token"}, hint: []string{"GITHUB_TOKEN"},
			heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.Env["GITHUB_TOKEN"] = s.Canaries["GITHUB_TOKEN"] },
		},
		"expired token": {
			breaks: expired(), exit: 4, kind: fault.Auth, says: []string{"GitHub refused the token (401 Bad credentials)"},
			hint: []string{"expired or revoked"}, page: "GitHub refused the token", heals: renewed(),
		},
		"classic token without a scope": {
			breaks: token(func(next *github.Token) { next.Scopes = []string{"gist"} }), exit: 4, kind: fault.Auth,
			says: []string{"trying what the token may write in demo/shop: the token may not write"}, hint: []string{"scopes: gist", "needs the scope `repo`"},
			page: "the token may not write", heals: renewed(),
		},
		"token without contents: read":       mayNot("issues=read", "reading branch", "contents: read", "--dry-run"),
		"token without contents: write":      mayNot("contents=read issues=write pull_requests=write", "trying what the token may write", "contents: write"),
		"token without pull requests: write": mayNot("contents=write issues=write pull_requests=read", "trying what the token may write", "pull requests: write"),
		"token without issues: read":         mayNot("contents=write pull_requests=write", "reading issue demo/shop#1", "issues: read"),
		"token without issues: write":        mayNot("contents=write issues=read pull_requests=write", "commenting on demo/shop#1", "issues: write"),
		"token without the repository": {
			repository: private, breaks: token(func(next *github.Token) {
				next.Kind, next.Permissions, next.Repositories = github.FineGrained, map[string]string{"contents": "write"}, []string{"demo/other"}
			}),
			exit: 1, kind: fault.NotFound, says: []string{"not found, or the token has no access to it"}, hint: []string{"`metadata: read` on demo/shop"},
			heals: renewed(),
		},
		"single sign-on": {
			repository: shopOf(func(r *github.Repository) { r.Private, r.SAML = true, true }), exit: 4, kind: fault.Auth,
			says:  []string{"the organisation's single sign-on does not know the token"},
			hint:  []string{"authorise the token for the organisation at https://github.com/orgs/demo/sso?authorization_request=A"},
			heals: token(func(next *github.Token) { next.SAML = true }),
		},
		"address not on the allow list": {
			breaks: settings(func(r *github.Repository) { r.AllowList = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }),
			exit:   4, kind: fault.Auth, says: []string{"the organisation does not take calls from this address (403 Although"}, hint: []string{"IP allow list"},
			page:  "the organisation does not take calls from this address",
			heals: settings(func(r *github.Repository) { r.AllowList = nil }),
		},
		"kind of token": {
			breaks: settings(func(r *github.Repository) { r.NoClassicTokens = true }), exit: 4, kind: fault.Auth,
			says: []string{"the organisation does not take this kind of token (403 `demo` forbids access via a personal access token (classic)."},
			hint: []string{"GITHUB_TOKEN"}, page: "the organisation does not take this kind of token", heals: finely(enough),
		},
		"workflow token that may not open pull requests": {
			breaks: func(t *testing.T, s *e2e.Stack, ref string) {
				asWorkflow(t, s, "write")
				settings(func(r *github.Repository) { r.NoActionsPulls = true })(t, s, ref)
			},
			exit: 4, kind: fault.Auth, says: []string{"the repository does not let GitHub Actions open pull requests"},
			hint: []string{"Workflow permissions"}, heals: settings(func(r *github.Repository) { r.NoActionsPulls = false }),
		},
		"no base branch": {
			args: []string{"--base", "nowhere"}, exit: 2, kind: fault.Usage, says: []string{`demo/shop has no branch "nowhere"`},
			hint: []string{"--base"}, page: "has no branch", heals: nothing, again: []string{},
		},
		"rate limit": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SetRemaining(e2e.User, 0) },
			exit:   1, kind: fault.Quota, says: []string{"GitHub's rate limit is reached until 20"}, hint: []string{"other tools that use the same token"},
			page: "GitHub's rate limit is reached until", heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SetRemaining(e2e.User, 5000) },
		},
		"secondary rate limit": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SecondaryLimit(1000, 20*time.Minute) },
			exit:   1, kind: fault.Quota, says: []string{"commenting on demo/shop#42: GitHub's secondary rate limit is reached until 20"},
			page: "GitHub's secondary rate limit is reached until", heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SecondaryLimit(0, 0) },
		},
	}))
}

// lightly lives through days with the light Claude.
func lightly(all map[string]day) map[string]day {
	for name, d := range all {
		d.options.Light = true
		if d.repository.Name != "" {
			d.issue.Title, d.issue.Body = demo.IssueTitle, demo.IssueBody
		}
		all[name] = d
	}
	return all
}

// pullOf opens a pull request as a person does.
func pullOf(t *testing.T, s *e2e.Stack, repo, branch string) {
	t.Helper()
	if _, err := s.GitHub.Commit(t.Context(), repo, branch, "by hand", small("by-hand", nil).Files); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"title":"By hand","head":%q,"base":"main"}`, branch)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.GitHub.APIURL()+"repos/"+repo+"/pulls", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Canaries["GITHUB_TOKEN"])
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, said)
	}
}
