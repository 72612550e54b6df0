package hub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func file(path, mode, content string) changeset.Change {
	return changeset.Change{Path: path, Mode: mode, Content: []byte(content)}
}

func deleted(path string) changeset.Change { return changeset.Change{Path: path, Deleted: true} }

func TestCommit(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	content := "new\n" // the one blob that the script takes: uploading anything else fails
	got, err := c.Commit(t.Context(), shop, CommitInput{
		Base:    sha("aa"),
		Message: "Fix issue #42: it breaks\n\ndayclaude-run: r_other\n",
		RunID:   "r_1",
		Changes: []changeset.Change{
			file("a", changeset.ModeFile, content),
			deleted("gone"),
			file("bin/ü x", changeset.ModeExecutable, content),
			file("link", changeset.ModeSymlink, content),
		},
	})
	if err != nil || got != sha("bb") {
		t.Fatalf("got %s, %v", got, err)
	}
	if n := s.count("POST " + at + "/git/blobs"); n != 1 {
		t.Errorf("uploaded equal contents %d times", n)
	}
	blob := s.last("POST " + at + "/git/blobs")
	if blob["encoding"] != "base64" || blob["content"] != base64.StdEncoding.EncodeToString([]byte(content)) {
		t.Errorf("blob is %v", blob)
	}
	tree := s.last("POST " + at + "/git/trees")
	if tree["base_tree"] != sha("ab") {
		t.Errorf("base_tree is %v", tree["base_tree"])
	}
	name := blobSHA([]byte(content))
	var entries []string
	for _, e := range tree["tree"].([]any) {
		e := e.(map[string]any)
		if _, there := e["sha"]; !there {
			t.Errorf("no sha, not even null, in %v", e)
		}
		entries = append(entries, fmt.Sprintf("%v %v %v %v", e["mode"], e["type"], e["path"], e["sha"]))
	}
	want := []string{"100644 blob gone <nil>", "100644 blob a " + name, "100755 blob bin/ü x " + name, "120000 blob link " + name}
	if !slices.Equal(entries, want) {
		t.Errorf("tree\n%q\nwant\n%q", entries, want)
	}
	commit := s.last("POST " + at + "/git/commits")
	if m := commit["message"]; m != "Fix issue #42: it breaks\n\nDayclaude-Run: r_1" {
		t.Errorf("message is %q", m)
	}
	if commit["tree"] != sha("ba") || fmt.Sprint(commit["parents"]) != "["+sha("aa")+"]" || commit["author"] != nil {
		t.Errorf("commit is %v", commit)
	}
	_, err = c.Commit(t.Context(), shop, CommitInput{
		Base: sha("aa"), Parents: []string{sha("cc"), sha("aa")}, RunID: "r_1",
		Changes: []changeset.Change{file("a", changeset.ModeFile, content)},
	})
	if merged := s.last("POST " + at + "/git/commits"); err != nil || fmt.Sprint(merged["parents"]) != "["+sha("cc")+" "+sha("aa")+"]" {
		t.Errorf("a merge: %v, %v", merged, err)
	}
}

func TestCommitRefuses(t *testing.T) {
	t.Parallel()
	raw := file("a\ufffd", changeset.ModeFile, "new\n")
	raw.RawPath = []byte("a\xff")
	for name, tt := range map[string]struct {
		change changeset.Change
		kind   fault.Kind
		setup  func(*script)
	}{
		"submodule":     {file("lib", changeset.ModeSubmodule, ""), fault.Refused, nil},
		"no mode":       {file("lib", "", ""), fault.Refused, nil},
		"raw path":      {raw, fault.Refused, nil},
		"other content": {file("a", changeset.ModeFile, "stored as something else"), fault.Unavailable, nil},
		"nothing changed": {file("a", changeset.ModeFile, "new\n"), fault.Unchanged, func(s *script) {
			s.says("POST "+at+"/git/trees", 201, `{"sha":"%s"}`, sha("ab"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			if tt.setup != nil {
				tt.setup(s)
			}
			_, err := c.Commit(t.Context(), shop, CommitInput{Base: sha("aa"), Message: "m", RunID: "r_1", Changes: []changeset.Change{tt.change}})
			if err == nil || fault.KindOf(err) != tt.kind {
				t.Fatalf("got %v, want %s", err, tt.kind)
			}
			if s.count("POST "+at+"/git/commits") != 0 {
				t.Error("made a commit")
			}
		})
	}
}

func TestChunks(t *testing.T) {
	t.Parallel()
	var many []*github.TreeEntry
	entry := func(path string, add bool) *github.TreeEntry {
		e := &github.TreeEntry{Path: &path}
		if add {
			e.SHA = github.String(sha("aa"))
		}
		return e
	}
	for i := range treeChunk + 1 {
		many = append(many, entry(fmt.Sprint(i), true))
	}
	tests := []struct {
		name    string
		entries []*github.TreeEntry
		want    []int // entries in each call
	}{
		{"none", nil, nil},
		{"rename", []*github.TreeEntry{entry("a", false), entry("b", true)}, []int{2}},
		{"file becomes directory", []*github.TreeEntry{entry("a", false), entry("x", false), entry("a/b/c", true)}, []int{2, 1}},
		{"directory becomes file", []*github.TreeEntry{entry("a/b/c", false), entry("a", true), entry("z", true)}, []int{1, 2}},
		{"likeness", []*github.TreeEntry{entry("a", false), entry("ab/c", true)}, []int{2}},
		{"only deletions", []*github.TreeEntry{entry("a", false), entry("a/b", false)}, []int{2}},
		{"many", many, []int{treeChunk, 1}},
	}
	for _, tt := range tests {
		var got []int
		for _, part := range chunks(tt.entries) {
			got = append(got, len(part))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: calls of %v entries, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTreesBuildOnEachOther(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("POST "+at+"/git/trees", inTurn(
		answer(201, nil, fmt.Sprintf(`{"sha":%q}`, sha("b1"))), answer(201, nil, fmt.Sprintf(`{"sha":%q}`, sha("b2")))))
	_, err := c.Commit(t.Context(), shop, CommitInput{Base: sha("aa"), Message: "m", RunID: "r_1",
		Changes: []changeset.Change{file("d/x", changeset.ModeFile, "new\n"), deleted("d")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.last("POST " + at + "/git/trees")["base_tree"]; got != sha("b1") {
		t.Errorf("the second tree stands on %v", got)
	}
	if got := s.last("POST " + at + "/git/commits")["tree"]; got != sha("b2") {
		t.Errorf("the commit has tree %v", got)
	}
}

func FuzzTrailer(f *testing.F) {
	f.Add("Fix issue #1: x", "r_1")
	f.Add("a\r\nDayclaude-Run: r_2\n", "r_1")
	f.Add("dayclaude-run:r_2\n\nDAYCLAUDE-RUN: r_3", "r_1")
	f.Fuzz(func(t *testing.T, message, id string) {
		if id == "" || strings.TrimSpace(id) != id || strings.ContainsAny(id, "\r\n") {
			t.Skip()
		}
		got := withTrailer(message, id)
		if !madeBy(got, id) || madeBy(got, id+"x") {
			t.Fatalf("%q is not known as run %q's", got, id)
		}
		if n := strings.Count(strings.ToLower("\n"+got), "\ndayclaude-run:"); n != 1 {
			t.Fatalf("%d trailers in %q", n, got)
		}
	})
}

func TestBranch(t *testing.T) {
	t.Parallel()
	head := func(s *script, name, at40, message string) {
		s.says("GET "+at+"/git/ref/heads/"+name, 200, `{"object":{"sha":"%s"}}`, at40)
		s.says("GET "+at+"/git/commits/"+at40, 200, `{"sha":"%s","message":%q,"tree":{"sha":"%s"}}`, at40, message, sha("ab"))
	}
	exists := answer(422, nil, `{"message":"Reference already exists"}`)
	tests := []struct {
		name   string
		expect string
		setup  func(*script)
		want   string
		kind   fault.Kind
		writes int
	}{
		{name: "new", want: sha("bb"), writes: 1},
		{name: "again", want: sha("bb"), setup: func(s *script) { head(s, "fix", sha("bb"), "x\n\nDayclaude-Run: r_1") }},
		{name: "an earlier attempt's", want: sha("cc"), setup: func(s *script) { head(s, "fix", sha("cc"), "x\n\nDayclaude-Run: r_1\n") }},
		{name: "somebody else's", kind: fault.Conflict, setup: func(s *script) { head(s, "fix", sha("cc"), "Dayclaude-Run: r_1\n\nx") }},
		{name: "moved on", expect: sha("aa"), want: sha("bb"), writes: 1, setup: func(s *script) {
			head(s, "fix", sha("aa"), "x\n\nDayclaude-Run: r_0")
			s.says("PATCH "+at+"/git/refs/heads/fix", 200, `{"object":{"sha":"%s"}}`, sha("bb"))
		}},
		{name: "pushed to", expect: sha("aa"), kind: fault.Conflict, setup: func(s *script) { head(s, "fix", sha("cc"), "mine") }},
		{name: "deleted", expect: sha("aa"), kind: fault.Conflict},
		{name: "made by another host between look and create", want: sha("cc"), writes: 1, setup: func(s *script) {
			s.on("POST "+at+"/git/refs", func(w http.ResponseWriter, r *http.Request) {
				head(s, "fix", sha("cc"), "x\n\nDayclaude-Run: r_1")
				exists(w, r)
			})
		}},
		{name: "taken between look and create", kind: fault.Conflict, writes: 1, setup: func(s *script) {
			s.on("POST "+at+"/git/refs", func(w http.ResponseWriter, r *http.Request) {
				head(s, "fix", sha("cc"), "mine")
				exists(w, r)
			})
		}},
		{name: "pushed to between look and move", expect: sha("aa"), kind: fault.Conflict, writes: 1, setup: func(s *script) {
			head(s, "fix", sha("aa"), "x")
			s.on("PATCH "+at+"/git/refs/heads/fix", func(w http.ResponseWriter, r *http.Request) {
				head(s, "fix", sha("cc"), "mine")
				answer(422, nil, `{"message":"Update is not a fast forward"}`)(w, r)
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			if tt.setup != nil {
				tt.setup(s)
			}
			got, err := c.Branch(t.Context(), shop, "fix", sha("bb"), "r_1", tt.expect)
			if tt.kind != "" && (err == nil || fault.KindOf(err) != tt.kind) || tt.kind == "" && (err != nil || got != tt.want) {
				t.Fatalf("got %s, %v", got, err)
			}
			moves := s.requests("PATCH " + at + "/git/refs/heads/fix")
			if n := s.count("POST "+at+"/git/refs") + len(moves); n != tt.writes {
				t.Errorf("wrote %d times, want %d", n, tt.writes)
			}
			for _, m := range moves {
				if !strings.Contains(m.Body, `"force":false`) {
					t.Errorf("moved with %s", m.Body)
				}
			}
		})
	}
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	in := PullInput{Base: "main", Head: "fix", Title: "t", Body: "b", Draft: true}
	tests := []struct {
		name         string
		open         string
		create       http.HandlerFunc
		posts, edits int
		draft        bool
	}{
		{name: "new", posts: 1, draft: true},
		{name: "no drafts", posts: 2, create: inTurn(
			answer(422, nil, `{"message":"Draft pull requests are not supported in this repository."}`),
			answer(201, nil, `{"number":9}`))},
		{name: "ours", open: openPull("Robin", 7), edits: 1},
		{name: "opened by somebody else", open: openPull("eve", 7)},
		{name: "of a fork", open: openPull("robin", 8), posts: 1, draft: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			s.says("GET "+at+"/pulls", 200, `[%s]`, tt.open)
			s.says("POST "+at+"/pulls", 201, `{"number":9,"draft":true}`)
			if tt.create != nil {
				s.on("POST "+at+"/pulls", tt.create)
			}
			got, err := c.PullRequest(t.Context(), shop, in)
			if err != nil || got.Number != 9 || got.Draft != tt.draft {
				t.Fatalf("got %+v, %v", got, err)
			}
			if p, e := s.count("POST "+at+"/pulls"), s.count("PATCH "+at+"/pulls/9"); p != tt.posts || e != tt.edits {
				t.Errorf("created %d times, edited %d times; want %d, %d", p, e, tt.posts, tt.edits)
			}
			if q := s.requests("GET " + at + "/pulls")[0].Query; q != "base=main&head=acme%3Afix&state=open" {
				t.Errorf("looked with %s", q)
			}
		})
	}
}

// TestLostPullRequest loses the answer to the create; the second look finds it.
func TestLostPullRequest(t *testing.T) {
	t.Parallel()
	s, c := setup(t)
	s.on("POST "+at+"/pulls", func(w http.ResponseWriter, _ *http.Request) {
		s.says("GET "+at+"/pulls", 200, `[%s]`, openPull("robin", 7))
		w.WriteHeader(http.StatusBadGateway)
	})
	got, err := c.PullRequest(t.Context(), shop, PullInput{Base: "main", Head: "fix", Title: "t", Body: "b"})
	if err != nil || got.Number != 9 || s.count("POST "+at+"/pulls") != 1 {
		t.Fatalf("got %+v, %v after %d creates", got, err, s.count("POST "+at+"/pulls"))
	}
}

func TestComment(t *testing.T) {
	t.Parallel()
	const mark = "<!-- dayclaude thread=t_1 -->"
	forged := `{"id":4,"body":"` + mark + `","user":{"login":"eve"}}`
	tests := []struct {
		name         string
		id           int64
		there        string
		gone         bool
		posts, edits int
	}{
		{name: "new", posts: 1},
		{name: "by id", id: 5, edits: 1},
		{name: "id lost", there: ourComment, edits: 1},
		{name: "forged marker", there: forged, posts: 1},
		{name: "forged before ours", there: forged + "," + ourComment, edits: 1},
		{name: "deleted by somebody", id: 5, gone: true, posts: 1, edits: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := setup(t)
			s.says("GET "+at+"/issues/42/comments", 200, `[%s]`, tt.there)
			if tt.gone {
				s.says("PATCH "+at+"/issues/comments/5", 404, `{"message":"Not Found"}`)
			}
			id, url, err := c.Comment(t.Context(), shop, 42, tt.id, mark, "done")
			if err != nil || id != 5 || !strings.HasSuffix(url, "#issuecomment-5") {
				t.Fatalf("got %d, %s, %v", id, url, err)
			}
			p, e := s.requests("POST "+at+"/issues/42/comments"), s.requests("PATCH "+at+"/issues/comments/5")
			if len(p) != tt.posts || len(e) != tt.edits {
				t.Errorf("created %d times, edited %d times; want %d, %d", len(p), len(e), tt.posts, tt.edits)
			}
			for _, w := range append(p, e...) {
				var sent struct{ Body string }
				if err := json.Unmarshal([]byte(w.Body), &sent); err != nil || sent.Body != "done\n\n"+mark {
					t.Errorf("sent %q, %v", w.Body, err)
				}
			}
		})
	}
}

// TestLookThenCreateGivesUp bounds the circle of looking and creating.
func TestLookThenCreateGivesUp(t *testing.T) {
	t.Parallel()
	_, c := setup(t)
	posts := 0
	_, err := lookThenCreate(t.Context(), c, op{does: "x"},
		func() (int, bool, error) { return 0, false, nil },
		func() (int, error) { posts++; return 0, fault.New(fault.Conflict, "there already") })
	if fault.KindOf(err) != fault.Conflict || posts != c.conflicts {
		t.Fatalf("got %v after %d", err, posts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	posts = 0
	_, _ = lookThenCreate(ctx, c, op{does: "x"},
		func() (int, bool, error) { return 0, false, nil },
		func() (int, error) { posts++; return 0, fault.New(fault.Unavailable, "lost") })
	if posts != 1 {
		t.Errorf("sent %d times though cancelled", posts)
	}
}
