package github

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	gh "github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// follow asks like ask, and once more where the answer sends it.
func follow(t *testing.T, s *Server, token, request, body string, status int) reply {
	t.Helper()
	first := ask(t, s, token, request, body)
	to := first.header.Get("Location")
	if first.status != status || !strings.HasPrefix(to, s.APIURL()+"repositories/") || first.get("url") != to || first.get("message") != "Moved Permanently" {
		t.Fatalf("%s: %d to %q: %s", request, first.status, to, first)
	}
	method, _, _ := strings.Cut(request, " ")
	return ask(t, s, token, method+" "+strings.TrimPrefix(to, s.APIURL()), body)
}

func TestRename(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.UpdateRepository("demo/shop", func(r *Repository) { r.Owner, r.Name = "acme", "store" }))
	must(t, s.UpdateRepository("acme/store", func(r *Repository) { r.Name = "market" }))

	for _, old := range []string{"demo/shop", "acme/store"} {
		if r := follow(t, s, "owner", "GET repos/"+old, "", 301); r.status != 200 || r.get("full_name") != "acme/market" {
			t.Errorf("%s: %s", old, r)
		}
	}
	if r := follow(t, s, "owner", "POST repos/demo/shop/issues/42/comments", `{"body":"moved"}`, 307); r.status != 201 {
		t.Errorf("comment: %s", r)
	}
	if comments, err := s.Comments("acme/market", 42); err != nil || len(comments) != 1 {
		t.Errorf("comments: %+v, %v", comments, err)
	}
	repo, _, err := client(t, s, "owner").Repositories.Get(t.Context(), "demo", "shop")
	if err != nil || repo.GetFullName() != "acme/market" {
		t.Errorf("go-github finds %v, %v", repo.GetFullName(), err)
	}
	if _, err := git(t, t.TempDir(), "", "clone", s.URL()+"/demo/shop.git", "."); err != nil {
		t.Errorf("clone by the old name: %v", err)
	}
	if r := ask(t, s, "", "GET repositories/99999999", ""); r.status != 404 {
		t.Errorf("no repository: %s", r)
	}
	// The name may be used anew; another's may not.
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "shop", Files: shop}))
	if r := ask(t, s, "", "GET repos/demo/shop", ""); r.get("full_name") != "demo/shop" {
		t.Errorf("used anew: %s", r)
	}
	if s.UpdateRepository("demo/vault", func(r *Repository) { r.Name = "shop" }) == nil {
		t.Error("took another's name")
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	_, err := s.AddComment("demo/shop", 42, "ann", "me too")
	must(t, err)
	n, err := s.TransferIssue("demo/shop", 42, "demo/vault")
	must(t, err)
	r := follow(t, s, "owner", "GET repos/demo/shop/issues/42", "", 301)
	if r.get("number") != float64(n) || !strings.HasSuffix(fmt.Sprint(r.get("repository_url")), "/repos/demo/vault") || r.get("comments") != 1.0 {
		t.Errorf("transferred: %s", r)
	}
	for request, token := range map[string]string{
		"GET repos/demo/shop/issues/42":           "", // sees nothing of the vault
		"GET repos/demo/shop/issues/42/comments":  "owner",
		"POST repos/demo/shop/issues/42/comments": "owner",
	} {
		if r := ask(t, s, token, request, `{"body":"x"}`); r.status != 404 {
			t.Errorf("%s as %q: %s", request, token, r)
		}
	}
}

func TestMergePull(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	ctx := t.Context()
	branch(t, s, "shop", "topic", "x")
	c := client(t, s, "owner")
	pull, _, err := c.PullRequests.Create(ctx, "demo", "shop", &gh.NewPullRequest{
		Title: gh.String("t"), Body: gh.String("Fixes #42"), Head: gh.String("topic"), Base: gh.String("main")})
	must(t, err)
	_, err = s.Commit(ctx, "demo/shop", "main", "beside it", with(shop, "run.sh", "changed"))
	must(t, err)
	must(t, s.MergePull(ctx, "demo/shop", pull.GetNumber(), "wanda"))
	must(t, s.DeleteBranch(ctx, "demo/shop", "topic"))

	pull, _, err = c.PullRequests.Get(ctx, "demo", "shop", pull.GetNumber())
	if err != nil || !pull.GetMerged() || pull.GetState() != "closed" || pull.GetMergedAt().IsZero() {
		t.Errorf("pull request: %v, %v", pull, err)
	}
	issue, _, err := c.Issues.Get(ctx, "demo", "shop", 42)
	if err != nil || issue.GetState() != "closed" {
		t.Errorf("issue: %v, %v", issue, err)
	}
	if r := ask(t, s, "owner", fmt.Sprintf("PATCH repos/demo/shop/pulls/%d", pull.GetNumber()), `{"state":"open"}`); r.status != 422 {
		t.Errorf("reopened: %s", r)
	}
	head, _, err := c.Repositories.GetCommit(ctx, "demo", "shop", "main", nil)
	if err != nil || len(head.Parents) != 2 {
		t.Errorf("head: %v, %v", head, err)
	}
	if content, _, err := s.File("demo/shop", "main", "run.sh"); string(content) != "changed" || err != nil {
		t.Errorf("the base's own change: %q, %v", content, err)
	}
	if s.MergePull(ctx, "demo/shop", pull.GetNumber(), "wanda") == nil || s.MergePull(ctx, "demo/shop", 42, "wanda") == nil {
		t.Error("merged what is closed, or no pull request")
	}
	if s.DeleteBranch(ctx, "demo/shop", "topic") == nil {
		t.Error("deleted twice")
	}
}

func TestRulesets(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddToken(Token{Value: secret.New("app"), Login: "builder[bot]", Kind: App, Permissions: map[string]string{"contents": "write"}}))
	base, tree := head(t, s, "main")
	r := ask(t, s, "owner", "POST repos/demo/shop/git/commits", fmt.Sprintf(`{"message":"m","tree":%q,"parents":[%q]}`, tree, base))
	unsigned := fmt.Sprint(r.get("sha"))
	r = ask(t, s, "app", "POST repos/demo/shop/git/commits", fmt.Sprintf(`{"message":"m","tree":%q,"parents":[%q]}`, tree, base))
	signed := fmt.Sprint(r.get("sha"))
	must(t, s.UpdateRepository("demo/shop", func(r *Repository) {
		r.Rulesets = []Ruleset{
			{Branches: []string{"main", "release/*"}, Creations: true, Updates: true, Bypass: []string{"Builder[bot]"}},
			{Branches: []string{"signed-*"}, UnsignedCommits: true},
		}
	}))
	post := func(branch, hash string) string {
		return "POST refs " + fmt.Sprintf(`{"ref":"refs/heads/%s","sha":%q}`, branch, hash)
	}
	patch := func(branch, hash string) string {
		return "PATCH refs/heads/" + branch + " " + fmt.Sprintf(`{"sha":%q}`, hash)
	}
	const found = "Repository rule violations found\n\n"
	for _, c := range []struct{ token, do, want string }{
		{"owner", post("free", unsigned), ""},
		{"owner", post("release/1", unsigned), found + "Cannot create ref due to creations being restricted.\n\n"},
		{"app", post("release/2", signed), ""},
		{"owner", patch("main", unsigned), found + "Cannot update this protected ref.\n\n"},
		{"owner", post("signed-1", unsigned), ""}, // "free" holds it already
		{"app", patch("main", signed), ""},
	} {
		method, rest, _ := strings.Cut(c.do, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := ask(t, s, c.token, method+" repos/demo/shop/git/"+path, body)
		if got, _ := r.get("message").(string); got != c.want || (c.want == "") != (r.status < 300) {
			t.Errorf("%s %s: %s", c.token, c.do, r)
		}
	}
	r = ask(t, s, "owner", "POST repos/demo/shop/git/commits", fmt.Sprintf(`{"message":"other","tree":%q,"parents":[%q]}`, tree, base))
	if r := ask(t, s, "owner", "POST repos/demo/shop/git/refs", fmt.Sprintf(`{"ref":"refs/heads/signed-2","sha":%q}`, r.get("sha"))); r.status != 422 || r.get("message") != found+"Commits must have verified signatures.\n\n" {
		t.Errorf("unsigned: %s", r)
	}
}

func TestOwnersRules(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	set := func(change func(*Repository)) { must(t, s.UpdateRepository("demo/shop", change)) }
	says := func(token string, status int, words string) {
		t.Helper()
		if r := ask(t, s, token, "GET repos/demo/shop", ""); r.status != status || !strings.Contains(r.text, words) {
			t.Errorf("as %q: %s, want %d %s", token, r, status, words)
		}
	}
	set(func(r *Repository) { r.AllowList = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	says("owner", 403, "the `demo` organization has an IP allow list enabled, and your IP address is not permitted")
	says("", 200, "demo/shop") // a token would be refused, nobody is not
	set(func(r *Repository) { r.AllowList = append(r.AllowList, netip.MustParsePrefix("127.0.0.0/8")) })
	says("owner", 200, "demo/shop")
	set(func(r *Repository) { r.NoClassicTokens = true })
	says("owner", 403, "`demo` forbids access via a personal access token (classic).")

	set(func(r *Repository) { r.NoActions = true })
	for login, want := range map[string]int{"github-actions[bot]": 403, "builder[bot]": 422} {
		must(t, s.AddToken(Token{Value: secret.New(login), Login: login, Kind: App, Permissions: map[string]string{"pull_requests": "write"}}))
		if r := ask(t, s, login, "POST repos/demo/shop/pulls", `{"title":"t","head":"main","base":"main"}`); r.status != want {
			t.Errorf("%s: %s", login, r)
		}
	}
}

func TestSecondaryLimitWithoutATime(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.SecondaryLimit(1, 0)
	r := ask(t, s, "owner", "POST repos/demo/shop/issues/42/comments", `{"body":"x"}`)
	if _, told := r.header["Retry-After"]; r.status != 403 || told || !strings.Contains(r.text, "secondary rate limit") {
		t.Errorf("%s, %v", r, r.header)
	}
}
