package github

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// TestAccess is a table of tokens against what they ask for, on a public and
// a private repository.
func TestAccess(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := start(t, Options{Now: func() time.Time { return now }, RateLimit: 100_000})
	all := map[string]string{"contents": "write", "issues": "write", "pull_requests": "write"}
	for _, token := range []Token{
		{Value: secret.New("no-scope"), Login: "demo"},
		{Value: secret.New("public"), Login: "demo", Scopes: []string{"public_repo"}},
		{Value: secret.New("stranger"), Login: "eve", Scopes: []string{"repo"}},
		{Value: secret.New("triage"), Login: "tria", Scopes: []string{"repo"}},
		{Value: secret.New("fine"), Login: "demo", Kind: FineGrained, Permissions: all},
		{Value: secret.New("fine-vault"), Login: "demo", Kind: FineGrained, Permissions: all, Repositories: []string{"Demo/Vault"}},
		{Value: secret.New("fine-read"), Login: "demo", Kind: FineGrained, Permissions: map[string]string{"contents": "read", "issues": "read"}},
		{Value: secret.New("fine-reader"), Login: "rita", Kind: FineGrained, Permissions: all},
		{Value: secret.New("app"), Login: "dayclaude[bot]", Kind: App, Permissions: all, Repositories: []string{"demo/vault"}},
		{Value: secret.New("expired"), Login: "demo", Scopes: []string{"repo"}, Expires: now},
	} {
		must(t, s.AddToken(token))
	}
	const (
		get     = "GET /repos/demo/%s"
		issue   = "GET /repos/demo/%s/issues/42"
		file    = "GET /repos/demo/%s/contents/README.md"
		pulls   = "GET /repos/demo/%s/pulls"
		comment = `POST /repos/demo/%s/issues/42/comments {"body":"hi"}`
		blob    = `POST /repos/demo/%s/git/blobs {"content":"hi"}`
	)
	requests := []string{get, issue, file, pulls, comment, blob}
	for _, c := range []struct {
		token  string
		public []int // the statuses of the requests, in order
		secret []int
	}{
		{"", []int{200, 200, 200, 200, 401, 401}, []int{404, 404, 404, 404, 404, 404}},
		{"unknown", []int{401, 401, 401, 401, 401, 401}, []int{401, 401, 401, 401, 401, 401}},
		{"expired", []int{401, 401, 401, 401, 401, 401}, []int{401, 401, 401, 401, 401, 401}},
		{"owner", []int{200, 200, 200, 200, 201, 201}, []int{200, 200, 200, 200, 201, 201}},
		{"no-scope", []int{200, 200, 200, 200, 404, 404}, []int{404, 404, 404, 404, 404, 404}},
		{"public", []int{200, 200, 200, 200, 201, 201}, []int{404, 404, 404, 404, 404, 404}},
		{"stranger", []int{200, 200, 200, 200, 201, 404}, []int{404, 404, 404, 404, 404, 404}},
		{"triage", []int{200, 200, 200, 200, 201, 404}, []int{404, 404, 404, 404, 404, 404}},
		{"fine", []int{200, 200, 200, 200, 201, 201}, []int{200, 200, 200, 200, 201, 201}},
		{"fine-vault", []int{200, 200, 200, 200, 403, 403}, []int{200, 200, 200, 200, 201, 201}},
		{"fine-read", []int{200, 200, 200, 200, 403, 403}, []int{200, 200, 200, 403, 403, 403}},
		{"fine-reader", []int{200, 200, 200, 200, 201, 403}, []int{200, 200, 200, 200, 201, 403}},
		{"app", []int{200, 200, 200, 200, 403, 403}, []int{200, 200, 200, 200, 201, 201}},
	} {
		for name, want := range map[string][]int{"shop": c.public, "vault": c.secret} {
			for i, request := range requests {
				words := append(strings.Fields(fmt.Sprintf(request, name)), "")
				request := words[0] + " " + words[1]
				r := ask(t, s, c.token, request, words[2])
				if r.status != want[i] {
					t.Errorf("%q: %s: %d, want %d: %s", c.token, request, r.status, want[i], r)
				}
				kind := map[bool]string{true: "integration", false: "personal access token"}[c.token == "app"]
				if r.status == 403 && r.get("message") != "Resource not accessible by "+kind {
					t.Errorf("%q: %s: %s", c.token, request, r)
				}
			}
		}
	}
}

// TestTokenHeaders is what a client learns of its token from an answer.
func TestTokenHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	expires := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, s.AddToken(Token{Value: secret.New("fine"), Login: "demo", Kind: FineGrained, Expires: expires}))

	h := ask(t, s, "owner", "GET /repos/demo/shop", "").header
	if h.Get("X-OAuth-Scopes") != "repo, workflow" || h.Get("X-Accepted-GitHub-Permissions") != "" || h.Get("X-GitHub-Request-Id") == "" {
		t.Errorf("classic: %v", h)
	}
	r := ask(t, s, "fine", "POST /repos/demo/shop/issues/42/comments", `{"body":"x"}`)
	h = r.header
	if r.status != 403 || h.Get("X-Accepted-GitHub-Permissions") != "issues=write; pull_requests=write" ||
		h.Get("GitHub-Authentication-Token-Expiration") != "2100-01-02 03:04:05 UTC" || h["X-Oauth-Scopes"] != nil {
		t.Errorf("fine-grained: %d %v", r.status, h)
	}
	if r := ask(t, s, "", "GET /user", ""); r.status != 401 || r.get("message") != "Requires authentication" {
		t.Errorf("nobody's user: %d %s", r.status, r)
	}
	if r := ask(t, s, "owner", "GET /user", ""); r.get("login") != "demo" || r.get("name") != "De Mo" {
		t.Errorf("user: %s", r)
	}
	// The spellings of the header that GitHub takes, and one that it does not.
	for header, want := range map[string]int{"token owner": 200, "bearer owner": 200, "Basic eDpvd25lcg==": 200, "owner": 401, "Bearer ": 401} {
		if r := ask(t, s, "", "GET /user", "", "Authorization: "+header); r.status != want {
			t.Errorf("Authorization: %s: %d, want %d", header, r.status, want)
		}
	}
	if r := ask(t, s, "owner", "GET /users/DEMO", ""); r.get("login") != "demo" || r.get("type") != "User" {
		t.Errorf("users: %s", r)
	}
	for _, missing := range []string{"GET /users/nobody", "GET /nothing", "PUT /repos/demo/shop", "GET /repos/demo", "GET /repos//shop", "GET /repos/demo/absent/issues/1"} {
		if r := ask(t, s, "owner", missing, ""); r.status != 404 {
			t.Errorf("%s: %d", missing, r.status)
		}
	}
}

func TestGraphQL(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddToken(Token{Value: secret.New("app"), Login: "github-actions[bot]", Kind: App}))
	for _, tt := range []struct {
		token, body string
		status      int
		want        string
	}{
		{"app", `{"query":"{ viewer { login } }"}`, 200, `{"data":{"viewer":{"login":"github-actions[bot]"}}}`},
		{"owner", `{"query":"query Me {viewer{login,__typename}}"}`, 200, `{"data":{"viewer":{"__typename":"User","login":"demo"}}}`},
		{"app", `{"query":"{viewer{shoeSize}}"}`, 200, `Field 'shoeSize' doesn't exist`},
		{"app", `{"query":"{repository(owner:\"demo\",name:\"shop\"){id}}"}`, 200, `"errors"`},
		{"app", `{`, 400, "Problems parsing JSON"},
		{"", `{"query":"{viewer{login}}"}`, 401, "requires you to be authenticated"},
		{"wrong", `{"query":"{viewer{login}}"}`, 401, "Bad credentials"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+"/api/graphql", strings.NewReader(tt.body))
		must(t, err)
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		said, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(said), tt.want) {
			t.Errorf("%s as %q: %d %s, %v", tt.body, tt.token, resp.StatusCode, said, err)
		}
	}
}

func TestApp(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddToken(Token{Value: secret.New("app"), Login: "dayclaude[bot]", Kind: App, Permissions: map[string]string{"contents": "write"}}))
	if r := ask(t, s, "app", "GET /user", ""); r.status != 403 {
		t.Errorf("an App is no user: %d", r.status)
	}
	// What GitHub says of the role is no, but the App writes all the same.
	repo, blob := ask(t, s, "app", "GET /repos/demo/shop", ""), ask(t, s, "app", "POST /repos/demo/shop/git/blobs", `{"content":""}`)
	if repo.get("permissions.push") != false || repo.get("permissions.pull") != false || blob.status != 201 {
		t.Errorf("an App's role: %s; blob: %s", repo, blob)
	}
	// GitHub signs the commits that an App makes in its own name.
	tree := ask(t, s, "app", "GET /repos/demo/shop/git/trees/main", "").get("sha")
	for body, want := range map[string]bool{
		fmt.Sprintf(`{"message":"m","tree":"%s"}`, tree):                                               true,
		fmt.Sprintf(`{"message":"m","tree":"%s","author":{"name":"x","email":"x@example.com"}}`, tree): false,
	} {
		made := ask(t, s, "app", "POST /repos/demo/shop/git/commits", body)
		read := ask(t, s, "", fmt.Sprint("GET /repos/demo/shop/git/commits/", made.get("sha")), "")
		if made.get("verification.verified") != want || read.get("verification.verified") != want {
			t.Errorf("%s: %s", body, made)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.AddUser(User{Login: "eve"})
	must(t, s.AddToken(Token{Value: secret.New("eve"), Login: "eve", Scopes: []string{"repo"}}))
	for _, c := range []struct{ repo, login, permission, role string }{
		{"shop", "demo", "admin", "admin"},
		{"shop", "Wanda", "write", "write"},
		{"shop", "tria", "read", "triage"},
		{"shop", "eve", "read", "read"},
		{"vault", "rita", "read", "read"},
		{"vault", "eve", "none", "none"},
	} {
		r := ask(t, s, "owner", "GET /repos/demo/"+c.repo+"/collaborators/"+c.login+"/permission", "")
		if r.get("permission") != c.permission || r.get("role_name") != c.role {
			t.Errorf("%+v: %s", c, r)
		}
	}
	if r := ask(t, s, "owner", "GET /repos/demo/shop/collaborators/nobody/permission", ""); r.status != 404 {
		t.Errorf("nobody: %d", r.status)
	}
	for token, want := range map[string]int{"": 401, "eve": 403} {
		if r := ask(t, s, token, "GET /repos/demo/shop/collaborators/demo/permission", ""); r.status != want {
			t.Errorf("asked by %q: %d, want %d", token, r.status, want)
		}
	}
}

func TestSingleSignOnAndArchive(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.AddUser(User{Login: "corp", Organization: true})
	must(t, s.AddRepository(Repository{Owner: "corp", Name: "sso", Private: true, SAML: true, Files: shop, Collaborators: map[string]string{"demo": "admin"}}))
	must(t, s.AddRepository(Repository{Owner: "corp", Name: "old", Archived: true, Files: shop, Collaborators: map[string]string{"demo": "admin"}}))
	must(t, s.AddToken(Token{Value: secret.New("authorised"), Login: "demo", Scopes: []string{"repo"}, SAML: true}))
	r := ask(t, s, "owner", "GET /repos/corp/sso", "")
	if r.status != 403 || !strings.HasPrefix(r.header.Get("X-GitHub-SSO"), "required; url=https://github.com/orgs/corp/sso") {
		t.Errorf("%d %v", r.status, r.header)
	}
	for token, want := range map[string]bool{"owner": false, "authorised": true} {
		if out, err := git(t, "", token, "ls-remote", s.URL()+"/corp/sso"); (err == nil) != want || !want && !strings.Contains(out, "403") {
			t.Errorf("git with %q: %v\n%s", token, err, out)
		}
	}
	if r := ask(t, s, "authorised", "GET /repos/corp/sso", ""); r.status != 200 || r.get("organization.type") != "Organization" {
		t.Errorf("authorised: %s", r)
	}
	if r := ask(t, s, "owner", "POST /repos/corp/old/git/blobs", `{"content":""}`); r.status != 403 || r.get("message") != "Repository was archived so is read-only." {
		t.Errorf("archived: %s", r)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var hours atomic.Int64
	s := start(t, Options{Now: func() time.Time { return begin.Add(time.Duration(hours.Load()) * time.Hour) }})
	s.SetRemaining("demo", 2)
	for remaining := 1; remaining >= 0; remaining-- {
		r := ask(t, s, "owner", "GET /user", "")
		if r.status != 200 || r.header.Get("X-RateLimit-Remaining") != fmt.Sprint(remaining) {
			t.Errorf("%d %v", r.status, r.header)
		}
	}
	r := ask(t, s, "owner", "GET /user", "")
	if r.status != 403 || r.header.Get("X-RateLimit-Remaining") != "0" || !strings.HasPrefix(fmt.Sprint(r.get("message")), "API rate limit exceeded") ||
		r.header.Get("X-RateLimit-Reset") != fmt.Sprint(begin.Add(time.Hour).Unix()) || r.header.Get("Date") != begin.Format(http.TimeFormat) {
		t.Errorf("exhausted: %d %v %s", r.status, r.header, r)
	}
	if r := ask(t, s, "owner", "GET /rate_limit", ""); r.status != 200 || r.get("resources.core.remaining") != 0.0 {
		t.Errorf("asking for the limit costs nothing: %s", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop", ""); r.header.Get("X-RateLimit-Limit") != "60" {
		t.Errorf("others are not limited, but by their own: %v", r.header)
	}
	hours.Add(1)
	if r := ask(t, s, "owner", "GET /user", ""); r.status != 200 || r.header.Get("X-RateLimit-Remaining") != "4999" {
		t.Errorf("the next hour: %d %v", r.status, r.header)
	}

	s.SecondaryLimit(1, 7*time.Second)
	post := func() reply { return ask(t, s, "owner", "POST /repos/demo/shop/issues/42/comments", `{"body":"x"}`) }
	if r := ask(t, s, "owner", "GET /user", ""); r.status != 200 {
		t.Errorf("reading is not limited: %d", r.status)
	}
	if r := post(); r.status != 403 || r.header.Get("Retry-After") != "7" || !strings.Contains(r.text, "secondary rate limit") {
		t.Errorf("secondary limit: %d %v", r.status, r.header)
	}
	if r := post(); r.status != http.StatusCreated {
		t.Errorf("after it: %d", r.status)
	}
}
