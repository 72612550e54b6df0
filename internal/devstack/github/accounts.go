package github

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// User is an account.
type User struct {
	Login        string // an App's is like "dayclaude[bot]"
	Name         string
	Email        string
	Organization bool
}

type user struct {
	User
	id int64
}

// kind is the account's type as the API spells it.
func (u *user) kind() string {
	switch {
	case u.Organization:
		return "Organization"
	case strings.HasSuffix(u.Login, "[bot]"):
		return "Bot"
	}
	return "User"
}

// TokenKind is the sort of a token; it decides how GitHub says no.
type TokenKind int

// The kinds of tokens.
const (
	Classic     TokenKind = iota // a personal token with Scopes
	FineGrained                  // a personal token with Permissions on Repositories
	App                          // an App's installation token with Permissions on Repositories
)

// Token lets its bearer act as Login.
type Token struct {
	Value secret.String
	Login string
	Kind  TokenKind
	// Scopes of a classic token: repo, public_repo, workflow, …
	Scopes []string
	// Permissions of the other kinds: "contents", "issues", "pull_requests",
	// "workflows" to "read" or "write". Reading metadata is always allowed.
	Permissions map[string]string
	// Repositories (owner/name) that the token was given; nil is all of them.
	Repositories []string
	Expires      time.Time // zero: never
	SAML         bool      // authorised for organisations with single sign-on
}

// role is what a user may do in a repository.
type role int

const (
	roleNone role = iota
	roleRead
	roleTriage
	roleWrite
	roleMaintain
	roleAdmin
)

var roleNames = []string{"none", "read", "triage", "write", "maintain", "admin"}

func (r role) String() string { return roleNames[r] }

// AddUser adds an account. Accounts named by repositories, issues and tokens
// are added by themselves.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[strings.ToLower(u.Login)] = &user{u, s.nextID()}
}

// user finds an account, or adds it; s.mu is held.
func (s *Server) user(login string) *user {
	key := strings.ToLower(login)
	if s.users[key] == nil {
		s.users[key] = &user{User{Login: login}, s.nextID()}
	}
	return s.users[key]
}

// AddToken adds a token, or replaces the one of the same value.
func (s *Server) AddToken(t Token) error {
	if t.Value.IsZero() || t.Login == "" {
		return fmt.Errorf("a token needs a value and a login")
	}
	for name, access := range t.Permissions {
		if access != "read" && access != "write" {
			return fmt.Errorf("permission %s: %q is neither read nor write", name, access)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user(t.Login)
	s.tokens[t.Value.Reveal()] = &t
	return nil
}

// bearer finds the token of a value: nil and true for no value (nobody in
// particular asks), false for a value that is unknown or has expired.
func (s *Server) bearer(value string) (*Token, bool) {
	if value == "" {
		return nil, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[value]
	if t == nil || !t.Expires.IsZero() && !s.opts.Now().Before(t.Expires) {
		return nil, false
	}
	return t, true
}

// login is whom the token acts as, "" for nobody.
func (t *Token) login() string {
	if t == nil {
		return ""
	}
	return t.Login
}

// selects reports whether the token was given the repository.
func (t *Token) selects(r *repo) bool {
	return t.Repositories == nil || slices.ContainsFunc(t.Repositories, func(name string) bool {
		return strings.EqualFold(name, r.fullName())
	})
}

// role is what the bearer may do in the repository, if the token allows it.
// An App has no role of its own: its permissions are all there is.
func (t *Token) role(r *repo) role {
	switch {
	case t != nil && t.Kind == App:
		return roleAdmin
	case t == nil && r.Private:
		return roleNone
	case t == nil:
		return roleRead
	}
	return r.role(t.Login)
}

// sees reports whether the bearer may know that the repository exists.
func (t *Token) sees(r *repo) bool {
	switch {
	case !r.Private:
		return true
	case t == nil || t.role(r) < roleRead:
		return false
	case t.Kind == Classic:
		return slices.Contains(t.Scopes, "repo")
	}
	return t.selects(r)
}

// grants reports whether the token allows one of the permissions in a
// repository that it sees. What the bearer's role allows is another question.
func (t *Token) grants(r *repo, write bool, permissions ...string) bool {
	switch {
	case !write && !r.Private:
		return true
	case t == nil:
		return false
	case t.Kind == Classic:
		return !write || slices.Contains(t.Scopes, "repo") || !r.Private && slices.Contains(t.Scopes, "public_repo")
	}
	return t.selects(r) && slices.ContainsFunc(permissions, func(p string) bool {
		have := t.Permissions[p]
		return have == "write" || !write && (have == "read" || p == "metadata")
	})
}

// lacksSAML reports whether the owner's single sign-on keeps the token out.
func (t *Token) lacksSAML(r *repo) bool {
	return r.SAML && r.Private && t.Kind != App && !t.SAML
}

// workflows reports whether the bearer may change .github/workflows.
func (t *Token) workflows() bool {
	if t.Kind == Classic {
		return slices.Contains(t.Scopes, "workflow")
	}
	return t.Permissions["workflows"] == "write"
}
