package github

import (
	"fmt"
	"strings"
	"testing"
)

// branch puts a commit with one more file on a new branch.
func branch(t *testing.T, s *Server, repo, name, content string) string {
	t.Helper()
	r := ask(t, s, "owner", "GET /repos/demo/"+repo, "")
	base := ask(t, s, "owner", fmt.Sprintf("GET /repos/demo/%s/commits/%s", repo, r.get("default_branch")), "")
	r = ask(t, s, "owner", "POST /repos/demo/"+repo+"/git/trees",
		fmt.Sprintf(`{"base_tree":"%s","tree":[{"path":"new.txt","mode":"100644","content":%q}]}`, base.get("commit.tree.sha"), content))
	r = ask(t, s, "owner", "POST /repos/demo/"+repo+"/git/commits", fmt.Sprintf(`{"message":"m","tree":"%s","parents":["%s"]}`, r.get("sha"), base.get("sha")))
	sha := fmt.Sprint(r.get("sha"))
	r = ask(t, s, "owner", "POST /repos/demo/"+repo+"/git/refs", fmt.Sprintf(`{"ref":"refs/heads/%s","sha":"%s"}`, name, sha))
	if r.status != 201 {
		t.Fatal(r)
	}
	return sha
}

// openPull opens a pull request from a new branch to the default branch.
func openPull(t *testing.T, s *Server, repo, name, content string) reply {
	t.Helper()
	branch(t, s, repo, name, content)
	r := ask(t, s, "owner", "GET /repos/demo/"+repo, "")
	r = ask(t, s, "owner", "POST /repos/demo/"+repo+"/pulls", fmt.Sprintf(`{"title":"T","head":%q,"base":"%s"}`, name, r.get("default_branch")))
	if r.status != 201 {
		t.Fatal(r)
	}
	return r
}

func TestPullRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "free", Private: true, NoDrafts: true, Files: shop}))
	branch(t, s, "free", "topic", "x")
	openPull(t, s, "shop", "topic", "x")
	main, tree := head(t, s, "main")
	r := ask(t, s, "owner", "POST /repos/demo/shop/git/commits", `{"message":"an orphan","tree":"`+tree+`"}`)
	ask(t, s, "owner", "POST /repos/demo/shop/git/refs", fmt.Sprintf(`{"ref":"refs/heads/orphan","sha":"%s"}`, r.get("sha")))
	ask(t, s, "owner", "POST /repos/demo/shop/git/refs", `{"ref":"refs/heads/same","sha":"`+main+`"}`)
	for _, c := range []struct{ repo, body, says string }{
		{"shop", `{"title":"T","head":"topic","base":"main"}`, "A pull request already exists for demo:topic."},
		{"shop", `{"title":"T","head":"demo:topic","base":"main"}`, "A pull request already exists for demo:topic."},
		{"shop", `{"title":"T","head":"same","base":"main"}`, "No commits between main and same"},
		{"shop", `{"title":"T","head":"orphan","base":"main"}`, "no history in common"},
		{"shop", `{"title":"T","head":"absent","base":"main"}`, `"field":"head"`},
		{"shop", `{"title":"T","head":"topic","base":"absent"}`, `"field":"base"`},
		{"shop", `{"title":"T","head":"eve:topic","base":"main"}`, `"field":"head"`},
		{"shop", `{"title":"","head":"topic","base":"main"}`, `"field":"title"`},
		{"shop", `{"title":"` + strings.Repeat("t", 257) + `","head":"topic","base":"main"}`, "title is too long (maximum is 256 characters)"},
		{"shop", `{"title":"T","body":"` + strings.Repeat("b", 65537) + `","head":"topic","base":"main"}`, "body is too long (maximum is 65536 characters)"},
		{"free", `{"title":"T","head":"topic","base":"main","draft":true}`, "Draft pull requests are not supported in this repository."},
	} {
		r := ask(t, s, "owner", "POST /repos/demo/"+c.repo+"/pulls", c.body)
		if r.status != 422 || !strings.Contains(r.text, c.says) {
			t.Errorf("%.80s: %d %s", c.body, r.status, r)
		}
	}
	pulls, err := s.Pulls("demo/free")
	if len(pulls) != 0 || err != nil {
		t.Errorf("the refused draft is there: %v %v", pulls, err)
	}
}

func TestPullLife(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	openPull(t, s, "shop", "one", "1\n") // 43
	openPull(t, s, "shop", "two", "2\n") // 44
	ask(t, s, "owner", "PATCH /repos/demo/shop/pulls/43", `{"state":"closed"}`)
	openPull(t, s, "shop", "three", "3\n") // 45
	for query, want := range map[string]string{
		"": "45 44", "?state=all": "45 44 43", "?state=closed": "43", "?state=all&head=demo:one": "43", "?head=DEMO:two": "44",
		"?head=two": "45 44", "?head=eve:two": "", "?base=other": "", "?direction=asc": "44 45",
	} {
		if got := numbers(ask(t, s, "", "GET /repos/demo/shop/pulls"+query, "")); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}

	r := ask(t, s, "owner", "PATCH /repos/demo/shop/pulls/44", `{"title":"New","body":"B"}`)
	if r.get("title") != "New" || r.get("body") != "B" || r.get("state") != "open" {
		t.Errorf("edited: %s", r)
	}
	for body, want := range map[string]int{`{"state":"merged"}`: 422, `{"title":" "}`: 422, `{"base":"absent"}`: 422, `{"title":"kept out","base":"two"}`: 422} {
		if r := ask(t, s, "owner", "PATCH /repos/demo/shop/pulls/44", body); r.status != want {
			t.Errorf("%s: %d", body, r.status)
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/pulls/44", ""); r.get("title") != "New" {
		t.Errorf("half of a refused change was kept: %s", r)
	}

	// It follows its branch, and closes when that goes.
	_, err := s.Commit(t.Context(), "demo/shop", "two", "more", with(shop, "new.txt", "2\n", "README.md", "# Shop\n\nText.\n", "run.sh", "-", "start.sh", "#!/bin/sh\n"))
	must(t, err)
	r = ask(t, s, "", "GET /repos/demo/shop/pulls/44", "")
	if r.get("commits") != 2.0 || r.get("changed_files") != 3.0 || r.get("additions") != 3.0 {
		t.Errorf("followed: %s", r)
	}
	r = ask(t, s, "", "GET /repos/demo/shop/pulls/44/files", "")
	for _, want := range []string{`"filename":"new.txt","patch":"@@ -0,0 +1 @@\n+2"`, `"filename":"start.sh","previous_filename":"run.sh"`, `"status":"renamed"`} {
		if !strings.Contains(r.text, want) {
			t.Errorf("files lack %s: %s", want, r)
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/pulls/44", "", "Accept: application/vnd.github.v3.diff"); !strings.Contains(r.text, "diff --git a/new.txt b/new.txt\nnew file mode 100644\n") {
		t.Errorf("diff: %s", r)
	}
	ask(t, s, "owner", "DELETE /repos/demo/shop/git/refs/heads/two", "")
	r = ask(t, s, "", "GET /repos/demo/shop/pulls/44", "")
	if r.get("state") != "closed" || r.get("changed_files") != 3.0 || r.get("head.ref") != "two" {
		t.Errorf("without its branch: %s", r)
	}
	if r := ask(t, s, "owner", "PATCH /repos/demo/shop/pulls/44", `{"state":"open"}`); r.status != 422 {
		t.Errorf("reopened without a branch: %d", r.status)
	}
	if r := ask(t, s, "owner", "PATCH /repos/demo/shop/pulls/43", `{"state":"open"}`); r.get("state") != "open" || r.get("closed_at") != nil {
		t.Errorf("reopened: %s", r)
	}
	for _, path := range []string{"pulls/42", "pulls/99", "pulls/42/files"} { // 42 is an issue
		if r := ask(t, s, "owner", "GET /repos/demo/shop/"+path, ""); r.status != 404 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

// TestRenames: a renamed file is one file of a diff with both its names, even
// if they are odd.
func TestRenames(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	odd := "src/sum\tof\n all.py"
	_, err := s.Commit(t.Context(), "demo/shop", "moved", "move", with(shop, "src/total.py", "-", odd, string(shop["src/total.py"].Data)))
	must(t, err)
	r := ask(t, s, "", "GET /repos/demo/shop/commits/moved", "")
	files, _ := r.get("files").([]any)
	if len(files) != 1 {
		t.Fatalf("files: %s", r)
	}
	f, _ := files[0].(map[string]any)
	if f["status"] != "renamed" || f["filename"] != odd || f["previous_filename"] != "src/total.py" || f["changes"] != 0.0 {
		t.Errorf("file: %v", f)
	}
}
