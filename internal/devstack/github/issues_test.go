package github

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestComments(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, login := range []string{"eve", "wanda"} {
		must(t, s.AddToken(Token{Value: secret.New(login), Login: login, Scopes: []string{"public_repo"}}))
	}
	const issue = "/repos/demo/shop/issues/42"
	r := ask(t, s, "eve", "POST "+issue+"/comments", `{"body":"first"}`)
	if r.status != 201 || r.get("user.login") != "eve" || r.get("author_association") != "NONE" || r.header.Get("Location") != r.get("url") {
		t.Fatalf("comment: %s %v", r, r.header)
	}
	path := fmt.Sprintf("/repos/demo/shop/issues/comments/%.0f", r.get("id"))
	if r := ask(t, s, "", "GET "+path, ""); r.get("body") != "first" || r.get("html_url") != fmt.Sprintf("%s/demo/shop/issues/42#issuecomment-%s", s.URL(), path[strings.LastIndex(path, "/")+1:]) {
		t.Errorf("get: %s", r)
	}
	ours, err := s.AddComment("demo/shop", 42, "demo", "from the owner")
	must(t, err)
	owners := fmt.Sprintf("/repos/demo/shop/issues/comments/%d", ours)
	long := strings.Repeat("ü", maxText)
	for _, c := range []struct {
		token, request, body string
		status               int
	}{
		{"eve", "PATCH " + path, `{"body":"edited"}`, 200},
		{"wanda", "PATCH " + path, `{"body":"by a maintainer"}`, 200},
		{"eve", "PATCH " + owners, `{"body":"mine now"}`, 403},
		{"eve", "DELETE " + owners, "", 403},
		{"eve", "POST " + issue + "/comments", `{"body":" "}`, 422},
		{"eve", "POST " + issue + "/comments", `{"body":"` + long + `"}`, 201},
		{"eve", "POST " + issue + "/comments", `{"body":"` + long + `x"}`, 422},
		{"eve", "PATCH " + path, `{"body":"` + long + `x"}`, 422},
		{"eve", "POST /repos/demo/shop/issues/99/comments", `{"body":"x"}`, 404},
		{"eve", "GET /repos/demo/shop/issues/comments/99", "", 404},
		{"eve", "GET /repos/demo/shop/issues/-1", "", 404},
		{"eve", "GET /repos/demo/shop/issues/99999999999999999999", "", 404},
		{"eve", "DELETE " + path, "", 204},
		{"eve", "GET " + path, "", 404},
	} {
		if r := ask(t, s, c.token, c.request, c.body); r.status != c.status {
			t.Errorf("%s: %s: %d, want %d: %s", c.token, c.request, r.status, c.status, r)
		}
	}

	must(t, s.UpdateIssue("demo/shop", 42, "demo", func(i *Issue) { i.Locked = true }))
	for token, want := range map[string]int{"eve": 403, "wanda": 201} {
		if r := ask(t, s, token, "POST "+issue+"/comments", `{"body":"x"}`); r.status != want {
			t.Errorf("%s on a locked issue: %d %s", token, r.status, r)
		}
	}
	if r := ask(t, s, "", "GET "+issue, ""); r.get("locked") != true || r.get("comments") != 3.0 {
		t.Errorf("issue: %s", r)
	}
}

var nextPage = regexp.MustCompile(`<([^>]*)>; rel="next"`)

func TestPages(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for i := range 65 {
		_, err := s.AddComment("demo/shop", 42, "ann", fmt.Sprint("comment ", i))
		must(t, err)
	}
	for query, want := range map[string]int{"": 3, "?per_page=20": 4, "?per_page=1000": 1, "?per_page=0": 3, "?per_page=x&page=y": 3} {
		var got []string
		pages, at := 0, "/repos/demo/shop/issues/42/comments"+query
		for at != "" && pages < 10 {
			r := ask(t, s, "", "GET "+at, "")
			pages++
			got = append(got, regexp.MustCompile(`comment \d+`).FindAllString(r.text, -1)...)
			at = ""
			if m := nextPage.FindStringSubmatch(r.header.Get("Link")); m != nil {
				at = strings.TrimPrefix(m[1], s.URL()+"/api/v3")
			}
		}
		if pages != want || len(got) != 65 || got[64] != "comment 64" {
			t.Errorf("%q: %d pages with %d comments", query, pages, len(got))
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/issues/42/comments?page=9", ""); r.status != 200 || r.text != "[]\n" {
		t.Errorf("beyond the last page: %d %s", r.status, r)
	}
}

// numbers are those of the issues or pull requests in a list, in its order.
func numbers(r reply) string {
	var list []struct{ Number json.Number }
	if err := json.Unmarshal([]byte(r.text), &list); err != nil {
		return err.Error()
	}
	var got []string
	for _, i := range list {
		got = append(got, i.Number.String())
	}
	return strings.Join(got, " ")
}

func TestIssues(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	s := start(t, Options{Now: func() time.Time { return begin.AddDate(0, 0, 20) }})
	for day, i := range []Issue{{Title: "a", Closed: true}, {Title: "b", Labels: []string{"claude", "bug"}}, {Title: "c"}} {
		i.CreatedAt = begin.AddDate(0, 0, day)
		n, err := s.AddIssue("demo/shop", i)
		must(t, err)
		if n != 43+day {
			t.Errorf("number %d after 42", n)
		}
	}
	must(t, s.UpdateIssue("demo/shop", 44, "demo", func(i *Issue) { i.CreatedAt = begin.AddDate(0, 0, 1) }))
	if _, err := s.AddIssue("demo/shop", Issue{Number: 43}); err == nil {
		t.Error("a number was given out twice")
	}
	for query, want := range map[string]string{
		"": "42 45 44", "?state=closed": "43", "?state=all": "42 45 44 43", "?labels=Claude,bug": "44", "?labels=other": "",
		"?since=2026-11-02T12:00:00Z": "42 45 44", "?since=2026-11-04T00:00:00Z": "42 44", "?state=all&direction=asc": "43 44 45 42", "?sort=updated": "42 44 45",
	} {
		if got := numbers(ask(t, s, "", "GET /repos/demo/shop/issues"+query, "")); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/issues?since=yesterday", ""); r.status != 422 {
		t.Errorf("since: %d", r.status)
	}
	must(t, s.UpdateIssue("demo/shop", 45, "demo", func(i *Issue) { i.Closed = true }))
	if r := ask(t, s, "", "GET /repos/demo/shop/issues/45", ""); r.get("state") != "closed" || r.get("closed_at") != "2026-11-21T00:00:00Z" {
		t.Errorf("closed: %s", r)
	}
	must(t, s.UpdateIssue("demo/shop", 45, "demo", func(i *Issue) { i.Closed = false }))
	if r := ask(t, s, "", "GET /repos/demo/shop/issues/45", ""); r.get("state") != "open" || r.get("closed_at") != nil {
		t.Errorf("reopened: %s", r)
	}
}

func TestIssuesDisabled(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "closed", NoIssues: true, Files: shop}))
	openPull(t, s, "closed", "topic", "new file\n")
	for path, want := range map[string]int{"": 410, "/7": 410, "/7/comments": 410, "/1": 200, "/1/comments": 200} { // 1 is the pull request
		if r := ask(t, s, "owner", "GET /repos/demo/closed/issues"+path, ""); r.status != want {
			t.Errorf("issues%s: %d, want %d", path, r.status, want)
		}
	}
	if r := ask(t, s, "owner", "GET /repos/demo/closed", ""); r.get("has_issues") != false {
		t.Errorf("repository: %s", r)
	}
}

// TestIssuePermissions: the permission for issues does not reach pull
// requests, though both are issues in the API.
func TestIssuePermissions(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	openPull(t, s, "vault", "topic", "new file\n") // 43
	for _, p := range []string{"issues", "pull_requests"} {
		must(t, s.AddToken(Token{Value: secret.New(p), Login: "demo", Kind: FineGrained, Permissions: map[string]string{p: "write"}}))
	}
	for _, c := range []struct {
		token string
		issue int
		want  int
		wants string
	}{
		{"issues", 42, 201, "issues=write"},
		{"issues", 43, 403, "pull_requests=write"},
		{"pull_requests", 42, 403, "issues=write"},
		{"pull_requests", 43, 201, "pull_requests=write"},
	} {
		r := ask(t, s, c.token, fmt.Sprintf("POST /repos/demo/vault/issues/%d/comments", c.issue), `{"body":"x"}`)
		if r.status != c.want || r.header.Get("X-Accepted-GitHub-Permissions") != c.wants {
			t.Errorf("%+v: %d %v", c, r.status, r.header.Get("X-Accepted-GitHub-Permissions"))
		}
	}
}
