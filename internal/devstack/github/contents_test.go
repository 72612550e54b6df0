package github

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

func TestContents(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	large := strings.Repeat("0123456789abcde\n", maxInline/16+1)
	_, err := s.Commit(t.Context(), "demo/shop", "other", "large", with(shop, "large.txt", large, "a b/ü#?.txt", "odd"))
	must(t, err)
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "sub", Files: fstest.MapFS{"a": {}}}))
	r := ask(t, s, "owner", "POST /repos/demo/sub/git/trees", `{"tree":[{"path":"lib","mode":"160000","sha":"`+strings.Repeat("1", 40)+`"}]}`)
	r = ask(t, s, "owner", "POST /repos/demo/sub/git/commits", fmt.Sprintf(`{"message":"sub","tree":"%s"}`, r.get("sha")))
	r = ask(t, s, "owner", "POST /repos/demo/sub/git/refs", fmt.Sprintf(`{"ref":"refs/heads/sub","sha":"%s"}`, r.get("sha")))
	if r.status != 201 {
		t.Fatal(r)
	}

	for _, c := range []struct{ path, kind, content string }{
		{"shop/contents/README.md", "file", "# Shop\n"},
		{"shop/contents/src/total.py?ref=main", "file", string(shop["src/total.py"].Data)},
		{"shop/contents/docs/logo.png", "file", "\x89PNG\x00\x01"},
		{"shop/contents/docs/readme-link", "file", "# Shop\n"}, // followed
		{"shop/contents/docs/dangling", "symlink", ""},
		{"shop/contents/a%20b/%C3%BC%23%3F.txt?ref=other", "file", "odd"},
		{"shop/contents/large.txt?ref=other", "file", ""}, // too large for JSON
		{"sub/contents/lib?ref=sub", "submodule", ""},
	} {
		r := ask(t, s, "", "GET /repos/demo/"+c.path, "")
		content, _ := r.get("content").(string)
		got, err := base64.StdEncoding.DecodeString(content)
		if r.get("type") != c.kind || string(got) != c.content || err != nil {
			t.Errorf("%s: %s", c.path, r)
		}
	}
	for _, spelling := range []string{"application/vnd.github.raw", "application/vnd.github.v3.raw", "application/vnd.github.raw+json", "text/html, application/vnd.github.raw;q=1"} {
		if r := ask(t, s, "", "GET /repos/demo/shop/contents/large.txt?ref=other", "", "Accept: "+spelling); r.text != large {
			t.Errorf("Accept %s: %d bytes, want %d", spelling, len(r.text), len(large))
		}
	}
	for path, want := range map[string]int{"shop/contents": 4, "shop/contents/docs": 3, "sub/contents?ref=sub": 1} {
		if r := ask(t, s, "", "GET /repos/demo/"+path, ""); r.status != 200 || strings.Count(r.text, `"path":`) != want {
			t.Errorf("%s: %s", path, r)
		}
	}
}

func TestCommits(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	first, _ := head(t, s, "main")
	second, err := s.Commit(t.Context(), "demo/shop", "main", "second", with(shop, "README.md", "# Shop\nmore\n", "run.sh", "-"))
	must(t, err)

	r := ask(t, s, "", "GET /repos/demo/shop/commits/main", "")
	if r.get("sha") != second || r.get("stats.additions") != 1.0 || r.get("stats.deletions") != 1.0 || r.get("commit.message") != "second" {
		t.Errorf("commit: %s", r)
	}
	for _, want := range []string{`"patch":"@@ -1 +1,2 @@\n # Shop\n+more"`, `"status":"removed"`} {
		if !strings.Contains(r.text, want) {
			t.Errorf("files lack %s: %s", want, r)
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/commits/"+first, ""); r.get("stats.total") == 0.0 || strings.Count(r.text, `"status":"added"`) != len(shop) {
		t.Errorf("the first commit: %s", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/commits/heads/main", "", "Accept: application/vnd.github.sha"); r.text != second {
		t.Errorf("sha: %q", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/commits/main", "", "Accept: application/vnd.github.diff"); !strings.Contains(r.text, "\n+more\n") {
		t.Errorf("diff: %q", r)
	}
	// An annotated tag, as only a push can bring it.
	dir := t.TempDir()
	for _, args := range [][]string{{"clone", "--quiet", s.URL() + "/demo/shop", "."}, {"tag", "-a", "v1", "-m", "one", first}, {"push", "--quiet", "origin", "v1"}} {
		if out, err := git(t, dir, "owner", args...); err != nil {
			t.Fatalf("git %v: %s", args, out)
		}
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/commits/v1", ""); r.get("sha") != first {
		t.Errorf("tag: %s", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/git/ref/tags/v1", ""); r.get("object.type") != "tag" {
		t.Errorf("tag: %s", r)
	}
}
