package github

import (
	"fmt"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	ctx := t.Context()
	first, tree := head(t, s, "main")
	_, err := s.Commit(ctx, "demo/shop", "topic", "beside it", with(shop, "topic.txt", "x"))
	must(t, err)
	for _, name := range []string{"README.md", "run.sh"} {
		_, err = s.Commit(ctx, "demo/shop", "main", name, with(shop, name, "changed"))
		must(t, err)
	}
	for _, c := range []struct{ basehead, want string }{
		{first + "...main", "ahead 2/0 of 2, 2 commits, files true"},
		{"main..." + first, "behind 0/2 of 0, 0 commits, files true"},
		{"main...main", "identical 0/0 of 0, 0 commits, files true"},
		{"topic...main", "diverged 2/1 of 2, 2 commits, files true"},
		{"topic...main?per_page=1", "diverged 2/1 of 2, 1 commits, files true"},
		{"topic...main?per_page=1&page=2", "diverged 2/1 of 2, 1 commits, files false"},
	} {
		r := ask(t, s, "", "GET /repos/demo/shop/compare/"+c.basehead, "")
		commits, _ := r.get("commits").([]any)
		got := fmt.Sprintf("%v %v/%v of %v, %d commits, files %t",
			r.get("status"), r.get("ahead_by"), r.get("behind_by"), r.get("total_commits"), len(commits), r.get("files") != nil)
		if r.status != 200 || got != c.want || r.get("merge_base_commit.sha") != first && strings.HasPrefix(c.want, "diverged") {
			t.Errorf("%s: %s\n%s", c.basehead, got, r)
		}
	}
	r := ask(t, s, "owner", "POST /repos/demo/shop/git/commits", fmt.Sprintf(`{"message":"root","tree":%q}`, tree))
	for basehead, want := range map[string]string{
		"main...nowhere":                    "Not Found",
		"main":                              "Not Found",
		fmt.Sprint("main...", r.get("sha")): "No common ancestor between main and ",
	} {
		if r := ask(t, s, "", "GET /repos/demo/shop/compare/"+basehead, ""); r.status != 404 || !strings.HasPrefix(fmt.Sprint(r.get("message")), want) {
			t.Errorf("%s: %s", basehead, r)
		}
	}
}
