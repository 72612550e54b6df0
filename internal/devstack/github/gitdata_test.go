package github

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// head is the commit of a branch of demo/shop, and its tree.
func head(t *testing.T, s *Server, branch string) (commit, tree string) {
	t.Helper()
	branches, err := s.Branches("demo/shop")
	must(t, err)
	r := ask(t, s, "owner", "GET /repos/demo/shop/git/commits/"+branches[branch], "")
	return branches[branch], fmt.Sprint(r.get("tree.sha"))
}

// TestRefusals is a table of what GitHub refuses and in which words.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	must(t, s.AddRepository(Repository{Owner: "demo", Name: "empty"}))
	main, tree := head(t, s, "main")
	for _, c := range []struct {
		request, body string
		status        int
		says          string
	}{
		{"GET git/ref/heads/absent", "", 404, "Not Found"},
		{"GET git/ref/heads", "", 404, "Not Found"},
		{"GET git/ref/heads/main/below", "", 404, "Not Found"},
		{"GET git/ref/heads/..%2f..%2fHEAD", "", 404, "Not Found"},
		{"POST git/refs", `{"ref":"refs/heads/main","sha":"$main"}`, 422, "Reference already exists"},
		{"POST git/refs", `{"ref":"refs/heads/new","sha":"0123456789012345678901234567890123456789"}`, 422, "Object does not exist"},
		{"POST git/refs", `{"ref":"refs/heads/new","sha":"$tree"}`, 422, "must point to a commit"},
		{"POST git/refs", `{"ref":"heads/new","sha":"$main"}`, 422, "Reference name must"},
		{"POST git/refs", `{"ref":"refs/heads/../../config","sha":"$main"}`, 422, "Reference name must"},
		{"POST git/refs", `{"ref":"refs/heads/a b","sha":"$main"}`, 422, "Reference name must"},
		{"POST git/refs", `{"ref":"refs/heads/main/below","sha":"$main"}`, 422, "Reference update failed"},
		{"PATCH git/refs/heads/absent", `{"sha":"$main"}`, 422, "Reference does not exist"},
		{"DELETE git/refs/heads/absent", "", 422, "Reference does not exist"},
		{"GET git/commits/$tree", "", 404, "Not Found"},
		{"GET git/commits/main", "", 404, "Not Found"},
		{"POST git/commits", `{"tree":"$tree"}`, 422, `"message" wasn't supplied`},
		{"POST git/commits", `{"message":"m","tree":"$main"}`, 422, "Tree SHA does not exist"},
		{"POST git/commits", `{"message":"m","tree":"$tree","parents":["$tree"]}`, 422, "Parent SHA does not exist"},
		{"POST git/commits", `{"message":"m","tree":"$tree","author":{"name":"x"}}`, 422, "weren't supplied"},
		{"GET git/trees/absent", "", 404, "Not Found"},
		{"POST git/trees", `{"tree":[]}`, 422, "Invalid tree info"},
		{"POST git/trees", `{"base_tree":"absent","tree":[{"path":"a","mode":"100644","content":""}]}`, 422, "base_tree is not a valid tree oid"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100600","content":""}]}`, 422, "valid tree.mode"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100644","type":"tree","content":""}]}`, 422, "does not match"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"040000","content":""}]}`, 422, "for blobs only"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100644"}]}`, 422, "either tree.sha or tree.content"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100644","sha":"$main","content":""}]}`, 422, "either tree.sha or tree.content"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100644","sha":"$tree"}]}`, 422, "is not a valid blob"},
		{"POST git/trees", `{"base_tree":"$tree","tree":[{"path":"absent","sha":null}]}`, 422, "BadObjectState"},
		{"POST git/trees", `{"base_tree":"$tree","tree":[{"path":"absent/below","sha":null}]}`, 422, "BadObjectState"},
		{"POST git/trees", `{"tree":[{"path":"a","mode":"100644","content":""},{"path":"a/b","mode":"100644","content":""}]}`, 422, "BadObjectState"},
		{"POST git/trees", `{"tree":[{"path":"/a","mode":"100644","content":""}]}`, 422, "malformed path"},
		{"POST git/trees", `{"tree":[{"path":"a//b","mode":"100644","content":""}]}`, 422, "malformed path"},
		{"POST git/trees", `{"tree":[{"path":"../a","mode":"100644","content":""}]}`, 422, "malformed path"},
		{"POST git/trees", `{"tree":[{"path":"a/.GIT/config","mode":"100644","content":""}]}`, 422, "malformed path"},
		{"GET git/blobs/$tree", "", 404, "Not Found"},
		{"POST git/blobs", `{"content":"x","encoding":"rot13"}`, 422, "encoding"},
		{"POST git/blobs", `{"content":"x","encoding":"base64"}`, 422, "not valid Base64"},
		{"POST git/blobs", `{}`, 422, `"content" wasn't supplied`},
		{"POST git/blobs", `{"content":5}`, 422, "properties/content"},
		{"POST git/blobs", `[]`, 400, "should be a JSON object"},
		{"POST git/blobs", `{`, 400, "Problems parsing JSON"},
		{"GET commits/absent", "", 422, "No commit found for SHA: absent"},
		{"GET branches/absent", "", 404, "Branch not found"},
		{"GET contents/absent.txt", "", 404, "Not Found"},
		{"GET contents/README.md/below", "", 404, "Not Found"},
		{"GET contents/README.md?ref=absent", "", 404, "No commit found for the ref absent"},
		{"EMPTY git/ref/heads/main", "", 409, "Git Repository is empty."},
		{"EMPTY git/trees/main", "", 409, "Git Repository is empty."},
		{"EMPTY commits/main", "", 409, "Git Repository is empty."},
		{"EMPTY contents/README.md", "", 404, "This repository is empty."},
	} {
		fill := strings.NewReplacer("$main", main, "$tree", tree)
		method, path, _ := strings.Cut(fill.Replace(c.request), " ")
		repo := "shop"
		if method == "EMPTY" {
			method, repo = "GET", "empty"
		}
		r := ask(t, s, "owner", method+" /repos/demo/"+repo+"/"+path, fill.Replace(c.body))
		if r.status != c.status || !strings.Contains(fmt.Sprint(r.get("message")), c.says) {
			t.Errorf("%s %s: %d %s, want %d %q", c.request, c.body, r.status, r, c.status, c.says)
		}
	}
	if r := ask(t, s, "owner", "POST /repos/demo/empty/git/blobs", `{"content":"x"}`); r.status != 409 {
		t.Errorf("a blob into an empty repository: %d", r.status)
	}
	if r := ask(t, s, "owner", "GET /repos/demo/empty/branches", ""); r.status != 200 || r.text != "[]\n" {
		t.Errorf("branches of an empty repository: %d %s", r.status, r)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	first, tree := head(t, s, "main")
	commit := func(message, parent string) string {
		r := ask(t, s, "owner", "POST /repos/demo/shop/git/commits", fmt.Sprintf(`{"message":%q,"tree":%q,"parents":[%q]}`, message, tree, parent))
		return fmt.Sprint(r.get("sha"))
	}
	ours, theirs := commit("ours", first), commit("theirs", first)
	for _, step := range []struct {
		request, body string
		status        int
	}{
		{"POST git/refs", `{"ref":"refs/heads/topic/ünï","sha":"` + first + `"}`, 201},
		{"PATCH git/refs/heads/topic/%C3%BCn%C3%AF", `{"sha":"` + ours + `"}`, 200},
		{"PATCH git/refs/heads/topic/ünï", `{"sha":"` + theirs + `"}`, 422}, // not a fast forward
		{"PATCH git/refs/heads/topic/ünï", `{"sha":"` + first + `","force":false}`, 422},
		{"PATCH git/refs/heads/topic/ünï", `{"sha":"` + theirs + `","force":true}`, 200},
		{"POST git/refs", `{"ref":"refs/heads/topic/two","sha":"` + first + `"}`, 201},
		{"DELETE git/refs/heads/topic/two", "", 204},
		{"GET git/ref/heads/topic/two", "", 404},
		{"GET git/ref/heads/topic%2F%C3%BCn%C3%AF", "", 200},
	} {
		method, path, _ := strings.Cut(step.request, " ")
		if r := ask(t, s, "owner", method+" /repos/demo/shop/"+path, step.body); r.status != step.status {
			t.Errorf("%s %s: %d %s", step.request, step.body, r.status, r)
		}
	}
	branches, err := s.Branches("demo/shop")
	must(t, err)
	if len(branches) != 2 || branches["topic/ünï"] != theirs {
		t.Errorf("branches: %v", branches)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/git/matching-refs/heads/to", ""); r.status != 200 || strings.Count(r.text, `"ref":`) != 1 || !strings.Contains(r.text, theirs) {
		t.Errorf("matching: %s", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/branches/topic/ünï", ""); r.get("commit.commit.message") != "theirs" {
		t.Errorf("branch: %s", r)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/branches?per_page=1&page=2", ""); r.status != 200 || strings.Count(r.text, `"name":`) != 1 || !strings.Contains(r.header.Get("Link"), `page=1&per_page=1>; rel="prev"`) {
		t.Errorf("branches: %s %v", r, r.header)
	}
	if r := ask(t, s, "", "GET /repos/demo/shop/git/trees/topic%2F%C3%BCn%C3%AF", ""); r.get("sha") != tree {
		t.Errorf("tree of a branch: %s", r)
	}

	// Many make the same branch at once: one of them gets it.
	var won sync.Map
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if r := ask(t, s, "owner", "POST /repos/demo/shop/git/refs", `{"ref":"refs/heads/race","sha":"`+first+`"}`); r.status == 201 {
				won.Store(i, true)
			} else if r.status != 422 {
				t.Errorf("race: %d %s", r.status, r)
			}
		})
	}
	all.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d made the branch", n)
	}
}

// TestTrees makes trees through the API and holds them against those that git
// makes of the same files.
func TestTrees(t *testing.T) {
	t.Parallel()
	s := start(t, Options{TreeLimit: 7})
	_, base := head(t, s, "main")
	const blob = `"mode":"100644","type":"blob","content"`
	for name, c := range map[string]struct {
		base, entries string
		want          fstest.MapFS
	}{
		"added, changed and deleted": {base, `{"path":"README.md",` + blob + `:"new"},{"path":"x/y/z",` + blob + `:"z"},{"path":"run.sh","sha":null}`,
			with(shop, "README.md", "new", "x/y/z", "z", "run.sh", "-")},
		"a directory that empties goes": {base, `{"path":"src/total.py","sha":null}`, with(shop, "src/total.py", "-")},
		"a whole directory":             {base, `{"path":"docs","sha":null}`, with(shop, "docs/logo.png", "-", "docs/readme-link", "-", "docs/dangling", "-")},
		"a file becomes a directory":    {base, `{"path":"run.sh/a",` + blob + `:"a"},{"path":"run.sh","sha":null}`, with(shop, "run.sh", "-", "run.sh/a", "a")},
		"a directory becomes a file":    {base, `{"path":"src",` + blob + `:"s"},{"path":"src/total.py","sha":null}`, with(shop, "src/total.py", "-", "src", "s")},
		"git's order of names":          {"", `{"path":"a.b",` + blob + `:"1"},{"path":"a/b",` + blob + `:"2"},{"path":"a0",` + blob + `:"3"}`, with(nil, "a.b", "1", "a/b", "2", "a0", "3")},
	} {
		body := `{"tree":[` + c.entries + `]}`
		if c.base != "" {
			body = `{"base_tree":"` + c.base + `","tree":[` + c.entries + `]}`
		}
		r := ask(t, s, "owner", "POST /repos/demo/shop/git/trees", body)
		if want := treeOf(t, c.want); r.get("sha") != want {
			t.Errorf("%s: %s, want %s", name, r, want)
		}
	}

	// A submodule's commit lies elsewhere.
	r := ask(t, s, "owner", "POST /repos/demo/shop/git/trees", `{"base_tree":"main","tree":[{"path":"sub","mode":"160000","type":"commit","sha":"`+strings.Repeat("1", 40)+`"}]}`)
	if r.status != 201 {
		t.Errorf("submodule: %s", r)
	}

	r = ask(t, s, "", "GET /repos/demo/shop/git/trees/"+base, "")
	if r.get("truncated") != false || strings.Count(r.text, `"path":`) != 4 {
		t.Errorf("flat: %s", r)
	}
	r = ask(t, s, "", "GET /repos/demo/shop/git/trees/main?recursive=0", "")
	if r.get("truncated") != true || strings.Count(r.text, `"path":`) != 7 || !strings.Contains(r.text, `"path":"docs/logo.png","sha":`) {
		t.Errorf("recursive, of 8 entries 7: %s", r)
	}
}

// with is the files with some set to a content, or deleted by "-".
func with(files fstest.MapFS, changes ...string) fstest.MapFS {
	made := fstest.MapFS{}
	for name, f := range files {
		made[name] = f
	}
	for i := 0; i < len(changes); i += 2 {
		delete(made, changes[i])
		if changes[i+1] != "-" {
			made[changes[i]] = &fstest.MapFile{Data: []byte(changes[i+1])}
		}
	}
	return made
}

// treeOf is the tree that git itself makes of files.
func treeOf(t *testing.T, files fstest.MapFS) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, files))
	for name, f := range files {
		if f.Mode.IsRegular() && f.Mode&0o111 != 0 {
			must(t, os.Chmod(filepath.Join(dir, name), 0o755))
		}
	}
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "--all"}} {
		if out, err := git(t, dir, "", args...); err != nil {
			t.Fatal(out)
		}
	}
	out, err := git(t, dir, "", "write-tree")
	must(t, err)
	return strings.TrimSpace(out)
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for _, content := range []string{"", "text\r\n", "\x00\xff\xfe binary", strings.Repeat("long ", 100_000)} {
		encoded := base64.StdEncoding.EncodeToString([]byte(content))
		r := ask(t, s, "owner", "POST /repos/demo/shop/git/blobs", `{"encoding":"base64","content":"`+encoded+`"}`)
		cmd := exec.CommandContext(t.Context(), "git", "hash-object", "--stdin")
		cmd.Stdin = strings.NewReader(content)
		want, err := cmd.Output()
		must(t, err)
		if r.get("sha") != strings.TrimSpace(string(want)) {
			t.Errorf("%.20q: %s, want %s", content, r, want)
		}
		path := fmt.Sprint("GET /repos/demo/shop/git/blobs/", r.get("sha"))
		if r := ask(t, s, "", path, "", "Accept: application/vnd.github.raw+json"); r.text != content {
			t.Errorf("raw: %.20q, want %.20q", r, content)
		}
		r = ask(t, s, "", path, "")
		got, err := base64.StdEncoding.DecodeString(fmt.Sprint(r.get("content")))
		if string(got) != content || err != nil || r.get("size") != float64(len(content)) {
			t.Errorf("%.20q: %.60s, %v", content, r, err)
		}
	}
	if r := ask(t, s, "owner", "POST /repos/demo/shop/git/blobs", `{"content":"`+strings.Repeat("x", maxBody)+`"}`); r.status != 413 {
		t.Errorf("a body of more than 64 MiB: %d", r.status)
	}
}

// TestWorkflows: files that GitHub runs need a permission of their own.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	contents := map[string]string{"contents": "write"}
	for _, token := range []Token{
		{Value: secret.New("classic"), Login: "demo", Scopes: []string{"repo"}},
		{Value: secret.New("fine"), Login: "demo", Kind: FineGrained, Permissions: contents},
		{Value: secret.New("app"), Login: "dayclaude[bot]", Kind: App, Permissions: contents},
		{Value: secret.New("app-workflows"), Login: "dayclaude[bot]", Kind: App, Permissions: map[string]string{"contents": "write", "workflows": "write"}},
	} {
		must(t, s.AddToken(token))
	}
	for token, want := range map[string]int{"classic": 404, "fine": 403, "app": 403, "app-workflows": 201, "owner": 201} {
		body := `{"tree":[{"path":".github/workflows/ci.yml","mode":"100644","content":"on: push"}]}`
		if r := ask(t, s, token, "POST /repos/demo/shop/git/trees", body); r.status != want {
			t.Errorf("%s: %d, want %d: %s", token, r.status, want, r)
		}
	}
}
