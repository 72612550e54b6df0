package hub

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// TestStandInPermissions lacks one permission at a time: the error names it.
func TestStandInPermissions(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{Private: true, Files: shopFiles})
	repo := s.repository(t, s.as(t, robin()))
	base, err := s.as(t, robin()).Head(t.Context(), repo, "main")
	must(t, err)
	for login, kind := range map[string]github.TokenKind{"robin": github.FineGrained, "dayclaude[bot]": github.App} {
		for _, tt := range []struct {
			permissions map[string]string
			lacks       string
		}{
			{map[string]string{"issues": "write", "pull_requests": "write", "contents": "read"}, "contents: write"},
			{map[string]string{"issues": "write", "pull_requests": "read", "contents": "write"}, "pull requests: write"},
			{map[string]string{"issues": "read", "pull_requests": "write", "contents": "write"}, "issues: write"},
		} {
			c := s.as(t, github.Token{Login: login, Kind: kind, Permissions: tt.permissions})
			may := c.MayPublish(t.Context(), &Repository{Repository: repo})
			var err error
			if strings.HasPrefix(tt.lacks, "issues") {
				_, _, err = c.Comment(t.Context(), repo, 42, 0, "<!-- dayclaude x -->", "x")
				if may != nil {
					t.Errorf("%s may publish: %v", login, may)
				}
			} else {
				_, _, _, err = publish(t.Context(), c, repo, "r_1", base, "", fixes[:1])
				if fault.KindOf(may) != fault.Auth || !strings.Contains(fault.HintOf(may), tt.lacks) {
					t.Errorf("%s without %s: %v\nhint: %s", login, tt.lacks, may, fault.HintOf(may))
				}
			}
			if fault.KindOf(err) != fault.Auth || !strings.Contains(fault.HintOf(err), tt.lacks) {
				t.Errorf("%s without %s: %v\nhint: %s", login, tt.lacks, err, fault.HintOf(err))
			}
		}
	}
}

// TestStandInScopes asks what classic tokens may write: their scopes tell.
func TestStandInScopes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		private bool
		scopes  string
		may     bool
	}{
		{true, "gist,repo", true}, {true, "repo", true}, {false, "repo", true},
		{false, "public_repo", true}, {false, "gist", false}, {false, "", false},
	} {
		s := startStandIn(t, github.Repository{Private: tt.private, Files: shopFiles})
		c := s.as(t, github.Token{Login: "robin", Scopes: strings.FieldsFunc(tt.scopes, func(r rune) bool { return r == ',' })})
		r, err := c.Repository(t.Context(), "acme", "shop")
		must(t, err)
		before := len(s.Requests())
		err = c.MayPublish(t.Context(), r)
		if tt.may != (err == nil) || err != nil && (fault.KindOf(err) != fault.Auth || !strings.Contains(fault.HintOf(err), "needs the scope `repo`")) {
			t.Errorf("scopes %q, private %t: %v\nhint: %s", tt.scopes, tt.private, err, fault.HintOf(err))
		}
		if len(s.Requests()) != before {
			t.Errorf("scopes %q: GitHub was asked", tt.scopes)
		}
	}
}

func TestStandInRefusals(t *testing.T) {
	t.Parallel()
	comment := func(ctx context.Context, c *Client, r run.Repository) error {
		_, _, err := c.Comment(ctx, r, 42, 0, "<!-- dayclaude x -->", "x")
		return err
	}
	look := func(ctx context.Context, c *Client, _ run.Repository) error {
		_, err := c.Repository(ctx, "acme", "shop")
		return err
	}
	head := func(ctx context.Context, c *Client, r run.Repository) error {
		_, err := c.Head(ctx, r, "main")
		return err
	}
	tests := []struct {
		name  string
		repo  github.Repository
		token github.Token
		call  func(context.Context, *Client, run.Repository) error
		kind  fault.Kind
		hint  string
	}{
		{"expired token", github.Repository{}, github.Token{Login: "robin", Scopes: []string{"repo"}, Expires: time.Unix(1, 0)}, look, fault.Auth, "expired"},
		{"private, no access", github.Repository{Private: true}, github.Token{Login: "eve", Scopes: []string{"repo"}}, look, fault.NotFound, "access"},
		{"private, no scope", github.Repository{Private: true}, github.Token{Login: "robin", Scopes: []string{"gist"}}, look, fault.NotFound, "scopes: gist"},
		{"single sign-on", github.Repository{Private: true, SAML: true}, robin(), look, fault.Auth, "authorise"},
		{"archived", github.Repository{Archived: true}, robin(), comment, fault.NotAdmitted, "unarchive"},
		{"issues off", github.Repository{NoIssues: true}, robin(), func(ctx context.Context, c *Client, r run.Repository) error {
			_, err := c.Issue(ctx, r, 42)
			return err
		}, fault.NotAdmitted, "settings"},
		{"empty", github.Repository{}, robin(), head, fault.Conflict, "first commit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startStandIn(t, tt.repo)
			err := tt.call(t.Context(), s.as(t, tt.token), shop)
			if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("got %s: %v\nhint: %s", fault.KindOf(err), err, fault.HintOf(err))
			}
		})
	}
}
