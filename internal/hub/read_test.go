package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

func TestRepository(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	got, err := c.Repository(t.Context(), "acme", "shop")
	if err != nil {
		t.Fatal(err)
	}
	want := &Repository{
		Repository: run.Repository{ID: 7, Owner: "acme", Name: "shop", Private: true, DefaultBranch: "main", CloneURL: s.url + "/acme/shop.git", SizeKB: 12},
		Push:       true, Pull: true, HasIssues: true, WebURL: s.url + "/",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, name := range []string{"", ".", "..", "a/b", "a?b", "a b", strings.Repeat("a", 101)} {
		if _, err := c.Repository(t.Context(), "acme", name); fault.KindOf(err) != fault.Usage {
			t.Errorf("name %q: got %v", name, err)
		}
	}
}

func TestEmptyRepository(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.says("GET "+at, 200, `{"id":7,"name":"shop","owner":{"login":"acme"},"default_branch":"main","clone_url":"%s/acme/shop.git"}`, s.url)
	s.says("GET "+at+"/git/ref/heads/main", 409, `{"message":"Git Repository is empty."}`)
	if r, err := c.Repository(t.Context(), "acme", "shop"); err != nil || !r.Empty {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestWebURL(t *testing.T) {
	t.Parallel()
	tests := []struct{ api, clone, want string }{
		{"", "https://github.com/acme/shop.git", "https://github.com/"},
		{"https://ghe.example.com/api/v3/", "https://ghe.example.com/acme/shop.git", "https://ghe.example.com/"},
		{"https://api.x.ghe.com/", "https://x.ghe.com/acme/shop.git", "https://x.ghe.com/"},
		{"http://127.0.0.1:99/api/v3", "http://127.0.0.1:99/git/acme/shop.git", "http://127.0.0.1:99/git/"},
		{"", "https://evil.example/acme/shop.git", ""},
		{"", "https://github.com.evil.example/acme/shop.git", ""},
		{"", "http://github.com/acme/shop.git", ""},
		{"", "https://x:y@github.com/acme/shop.git", ""},
		{"", "https://github.com/other/shop.git", ""},
		{"", "git@github.com:acme/shop.git", ""},
		{"", "https://github.com/pre" + "acme/shop.git", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		c, err := New(Config{APIURL: tt.api})
		if err != nil {
			t.Fatal(err)
		}
		r := shop
		r.CloneURL = tt.clone
		if got, err := c.webURL(r); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("webURL(%s, %s) = %q, %v, want %q", tt.api, tt.clone, got, err, tt.want)
		}
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.says("GET "+at+"/issues/42/comments", 200, `[{"id":1,"body":"me too","user":{"login":"bob"}},%s,{"id":6,"body":"<!-- dayclaude x --> hidden?","user":{"login":"eve"}}]`, ourComment)
	got, err := c.Issue(t.Context(), shop, 42)
	if err != nil {
		t.Fatal(err)
	}
	want := &Issue{Issue: run.Issue{Number: 42, Title: "it breaks", Body: "badly", Author: "ann", Labels: []string{"bug"}, URL: "https://github.com/acme/shop/issues/42",
		Comments: []run.Comment{{ID: 1, Author: "bob", Body: "me too"}, {ID: 6, Author: "eve", Body: "<!-- dayclaude x --> hidden?"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestTransferredIssue(t *testing.T) {
	t.Parallel()
	moved := `{"number":3,"repository_url":"https://api.github.com/repos/%s","html_url":"https://github.com/acme/other/issues/3"}`
	for name, tt := range map[string]struct {
		status         int
		body           string
		kind           fault.Kind
		sentence, hint string
	}{
		"elsewhere":   {200, fmt.Sprintf(moved, "acme/other"), fault.NotFound, "was transferred and is now acme/other#3", "`dayclaude run-issue acme/other#3`"},
		"renumbered":  {200, fmt.Sprintf(moved, "Acme/Shop"), fault.NotFound, "is now Acme/Shop#3", "#3`"},
		"hidden":      {404, `{"message":"Not Found"}`, fault.NotFound, "was moved to where the token has no access", "issues: read"},
		"odd name":    {200, fmt.Sprintf(moved, "acme/x y`z"), fault.Unavailable, "incomplete", ""},
		"no name":     {200, fmt.Sprintf(moved, ""), fault.Unavailable, "incomplete", ""},
		"not a whole": {200, `{}`, fault.Unavailable, "incomplete", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			s.on("GET "+at+"/issues/42", redirect(301, "/repositories/8/issues/3"))
			s.says("GET /repositories/8/issues/3", tt.status, "%s", tt.body)
			_, err := c.Issue(t.Context(), shop, 42)
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.sentence) || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Fatalf("got %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
}

// TestManyComments keeps the latest ones and asks for their pages only.
func TestManyComments(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ total, size, kept int }{
		"number": {total: 1250, size: 10, kept: maxComments},
		"bytes":  {total: 150, size: 50_000, kept: maxCommentBytes / 50_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			s.says("GET "+at+"/issues/42", 200, `{"number":42,"comments":%d}`, tt.total)
			s.on("GET "+at+"/issues/42/comments", func(w http.ResponseWriter, r *http.Request) {
				var page int
				fmt.Sscan(r.URL.Query().Get("page"), &page)
				list := []map[string]any{}
				for id := (page-1)*100 + 1; id <= min(page*100, tt.total); id++ {
					list = append(list, map[string]any{"id": id, "body": strings.Repeat("é", tt.size/2)})
				}
				if page*100 < tt.total {
					w.Header().Set("Link", fmt.Sprintf(`<%s%s/issues/42/comments?page=%d>; rel="next"`, s.url, at, page+1))
				}
				json.NewEncoder(w).Encode(list)
			})
			got, err := c.Issue(t.Context(), shop, 42)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(got.Comments); n != tt.kept || got.Omitted != tt.total-tt.kept {
				t.Fatalf("kept %d, omitted %d", n, got.Omitted)
			}
			if last := got.Comments[tt.kept-1].ID; last != int64(tt.total) {
				t.Errorf("the last one is %d", last)
			}
			if n := s.count("GET " + at + "/issues/42/comments"); n > 4 {
				t.Errorf("asked for %d pages", n)
			}
		})
	}
}

// dirs answers trees: a name for each directory, the tree's entries as
// "mode type name sha".
func (s *script) dirs(trees map[string][]string) {
	for tree, entries := range trees {
		var list []map[string]any
		for _, e := range entries {
			f := strings.Fields(e)
			list = append(list, map[string]any{"mode": f[0], "type": f[1], "path": f[2], "sha": f[3]})
		}
		body, _ := json.Marshal(map[string]any{"sha": tree, "tree": list})
		cut, _ := json.Marshal(map[string]any{"sha": tree, "tree": list, "truncated": true})
		s.on("GET "+at+"/git/trees/"+tree, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("recursive") != "" {
				w.Write(cut)
				return
			}
			w.Write(body)
		})
	}
}

func (s *script) sources() {
	s.dirs(map[string][]string{
		sha("aa"): {"040000 tree src " + sha("c1"), "040000 tree docs " + sha("c2"), "100644 blob go.mod " + sha("d1"), "120000 blob link " + sha("d2"), "160000 commit lib " + sha("d3")},
		sha("c1"): {"040000 tree deep " + sha("c3"), "100755 blob run.sh " + sha("d4")},
		sha("c3"): {"100644 blob a.go " + sha("d5"), "040000 tree deeper " + sha("c4")},
	})
}

func TestEntriesOfATruncatedTree(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.sources()
	got, err := c.Entries(t.Context(), shop, sha("aa"), []string{"src/deep/new.go", "go.mod", "go.mod/x", "no/where/y", "lib/z"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"src": "040000", "docs": "040000", "go.mod": "100644", "link": "120000", "lib": "160000",
		"src/deep": "040000", "src/run.sh": "100755", "src/deep/a.go": "100644", "src/deep/deeper": "040000"}
	modes := make(map[string]string)
	for p, e := range got {
		modes[p] = e.Mode
	}
	if !maps.Equal(modes, want) {
		t.Errorf("got %v\nwant %v", modes, want)
	}
}

func TestEntriesOfACompleteTree(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.says("GET "+at+"/git/trees/"+sha("aa"), 200, `{"sha":"%[1]s","tree":[{"path":"a","mode":"040000","sha":"%[1]s"},{"path":"a/x","mode":"100644","sha":"%[1]s","size":3},{"path":"a/b/c","mode":"100644","sha":"%[1]s"},{"path":"d/e","mode":"100644","sha":"%[1]s"}]}`, sha("ab"))
	got, err := c.Entries(t.Context(), shop, sha("aa"), []string{"a/new"})
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"a", "a/x"}) || got["a/x"].Size != 3 {
		t.Errorf("got %v", got)
	}
}

func TestDirectoryBeyondGitHub(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.says("GET "+at+"/git/trees/"+sha("aa"), 200, `{"sha":"%s","truncated":true}`, sha("ab"))
	if _, err := c.Entries(t.Context(), shop, sha("aa"), []string{"a"}); err == nil || !strings.Contains(err.Error(), "too many entries") {
		t.Fatalf("got %v", err)
	}
	if _, found, err := c.File(t.Context(), shop, sha("aa"), "a"); found || err == nil || !strings.Contains(err.Error(), "too many entries") {
		t.Fatalf("File: got %t, %v", found, err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.sources()
	content := []byte("package a\r\n")
	s.dirs(map[string][]string{sha("c3"): {"100644 blob a.go " + blobSHA(content)}})
	s.says("GET "+at+"/git/blobs/"+blobSHA(content), 200, "%s", content)
	tests := []struct {
		path  string
		found bool
		err   string
	}{
		{"src/deep/a.go", true, ""},
		{"src/deep/b.go", false, ""},
		{"nowhere/b.go", false, ""},
		{"go.mod/b.go", false, ""},
		{"lib/b.go", false, ""},
		{"link", false, "not a plain file"},
		{"lib", false, "not a plain file"},
		{"src", false, "not a plain file"},
	}
	for _, ref := range []string{"main", sha("aa")} {
		for _, tt := range tests {
			got, found, err := c.File(t.Context(), shop, ref, tt.path)
			if found != tt.found || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("File(%s) = %t, %v", tt.path, found, err)
			}
			if found && string(got) != string(content) {
				t.Errorf("File(%s) = %q", tt.path, got)
			}
		}
	}
}

func TestBlob(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	name := blobSHA([]byte("hello\n"))
	if _, err := c.Blob(t.Context(), shop, name, 6); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := c.Blob(t.Context(), shop, name, 5); !errors.Is(err, ErrTooLarge) || fault.KindOf(err) != fault.Limit {
		t.Errorf("beyond the limit: %v", err)
	}
	s.says("GET "+at+"/git/blobs/"+name, 200, "other\n")
	if _, err := c.Blob(t.Context(), shop, name, 100); err == nil {
		t.Error("took other content for the blob")
	}
	for _, bad := range []string{"", "main", "../../user", strings.ToUpper(sha("a"))} {
		if _, err := c.Blob(t.Context(), shop, bad, 1); err == nil {
			t.Errorf("took %q for a blob's name", bad)
		}
	}
}
