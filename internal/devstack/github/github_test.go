package github

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	gh "github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// shop is the content of the repository that most tests use.
var shop = fstest.MapFS{
	"README.md":        {Data: []byte("# Shop\n")},
	"src/total.py":     {Data: []byte("def total(items):\n    return sum(items) - 1\n")},
	"run.sh":           {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
	"docs/logo.png":    {Data: []byte("\x89PNG\x00\x01")},
	"docs/readme-link": {Data: []byte("../README.md"), Mode: fs.ModeSymlink | 0o777},
	"docs/dangling":    {Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink | 0o777},
}

// start serves demo/shop (public) and demo/vault (private), with the issue 42
// in both, and a classic token of the owner: "owner".
func start(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.Wrap == nil {
		opts.Wrap = checked(t)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, s.Start())
	s.AddUser(User{Login: "demo", Name: "De Mo", Email: "demo@example.com"})
	for _, r := range []Repository{
		{Owner: "demo", Name: "shop", Description: "A shop", Files: shop, Collaborators: map[string]string{"wanda": "write", "tria": "triage"}},
		{Owner: "demo", Name: "vault", Private: true, DefaultBranch: "trunk", Files: shop, Collaborators: map[string]string{"wanda": "write", "rita": "read"}},
	} {
		must(t, s.AddRepository(r))
		_, err := s.AddIssue(r.Owner+"/"+r.Name, Issue{Number: 42, Title: "Total is wrong", Body: "By one.", Author: "ann", Labels: []string{"bug"}})
		must(t, err)
	}
	must(t, s.AddToken(Token{Value: secret.New("owner"), Login: "demo", Scopes: []string{"repo", "workflow"}}))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an answer of the API as a test looks at it.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any // nil unless the answer is an object
}

// String is the answer as a failed test prints it.
func (r reply) String() string { return fmt.Sprintf("%.500s", r.text) }

// ask calls the API. The request is "GET /path", headers are "Name: value".
func ask(t *testing.T, s *Server, token, request, body string, headers ...string) reply {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, s.APIURL()+strings.TrimPrefix(path, "/"), strings.NewReader(body))
	must(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows nothing
	must(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	must(t, err)
	r := reply{status: res.StatusCode, header: res.Header, text: string(data)}
	if json.Unmarshal(data, &r.body) != nil {
		r.body = nil
	}
	return r
}

// get walks into an answer: "object.sha".
func (r reply) get(path string) any {
	var at any = r.body
	for key := range strings.SplitSeq(path, ".") {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}

func client(t *testing.T, s *Server, token string) *gh.Client {
	t.Helper()
	c, err := gh.NewClient(nil).WithAuthToken(token).WithEnterpriseURLs(s.URL(), s.URL())
	must(t, err)
	return c
}

// TestFlow goes from an issue to a pull request as dayclaude does, with the
// library it uses.
func TestFlow(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	c, ctx := client(t, s, "owner"), t.Context()

	repo, _, err := c.Repositories.Get(ctx, "Demo", "SHOP") // case does not matter
	must(t, err)
	if repo.GetFullName() != "demo/shop" || repo.GetDefaultBranch() != "main" || !repo.GetPermissions()["push"] || repo.GetSize() < 1 {
		t.Errorf("repository: %v", repo)
	}
	issue, _, err := c.Issues.Get(ctx, "demo", "shop", 42)
	must(t, err)
	if issue.GetTitle() != "Total is wrong" || issue.IsPullRequest() || issue.GetUser().GetLogin() != "ann" || issue.Labels[0].GetName() != "bug" {
		t.Errorf("issue: %v", issue)
	}
	head, _, err := c.Git.GetRef(ctx, "demo", "shop", "heads/main")
	must(t, err)
	base, _, err := c.Git.GetCommit(ctx, "demo", "shop", head.Object.GetSHA())
	must(t, err)

	fixed := "def total(items):\n    return sum(items)\n"
	blob, _, err := c.Git.CreateBlob(ctx, "demo", "shop", &gh.Blob{
		Content: gh.String(base64.StdEncoding.EncodeToString([]byte(fixed))), Encoding: gh.String("base64"),
	})
	must(t, err)
	tree, _, err := c.Git.CreateTree(ctx, "demo", "shop", base.Tree.GetSHA(), []*gh.TreeEntry{
		{Path: gh.String("src/total.py"), Mode: gh.String("100644"), Type: gh.String("blob"), SHA: blob.SHA},
		{Path: gh.String("docs/dangling"), Mode: gh.String("120000"), Type: gh.String("blob")}, // sha null: delete
		{Path: gh.String("src/ünï.txt"), Mode: gh.String("100755"), Type: gh.String("blob"), Content: gh.String("new\n")},
	})
	must(t, err)
	commit, _, err := c.Git.CreateCommit(ctx, "demo", "shop", &gh.Commit{
		Message: gh.String("Fix total\n\nDayclaude-Run: r_1"), Tree: tree, Parents: []*gh.Commit{{SHA: head.Object.SHA}},
	}, nil)
	must(t, err)
	if commit.Author.GetEmail() != "demo@example.com" || commit.GetVerification().GetVerified() {
		t.Errorf("commit: %v", commit)
	}
	_, _, err = c.Git.CreateRef(ctx, "demo", "shop", &gh.Reference{Ref: gh.String("refs/heads/dayclaude/issue-42"), Object: &gh.GitObject{SHA: commit.SHA}})
	must(t, err)
	pull, _, err := c.PullRequests.Create(ctx, "demo", "shop", &gh.NewPullRequest{
		Title: gh.String("Fix the total"), Body: gh.String("Fixes #42"), Head: gh.String("dayclaude/issue-42"), Base: gh.String("main"), Draft: gh.Bool(true),
	})
	must(t, err)
	if pull.GetNumber() != 43 || !pull.GetDraft() || pull.GetChangedFiles() != 3 || pull.GetCommits() != 1 || pull.GetHead().GetSHA() != commit.GetSHA() {
		t.Errorf("pull request: %v", pull)
	}
	if issue, _, err := c.Issues.Get(ctx, "demo", "shop", 43); err != nil || !issue.IsPullRequest() {
		t.Errorf("the pull request as an issue: %v, %v", issue, err)
	}
	diff, _, err := c.PullRequests.GetRaw(ctx, "demo", "shop", 43, gh.RawOptions{Type: gh.Diff})
	must(t, err)
	if !strings.Contains(diff, "-    return sum(items) - 1\n+    return sum(items)\n") {
		t.Errorf("diff:\n%s", diff)
	}
	comment, _, err := c.Issues.CreateComment(ctx, "demo", "shop", 42, &gh.IssueComment{Body: gh.String("working")})
	must(t, err)
	_, _, err = c.Issues.EditComment(ctx, "demo", "shop", comment.GetID(), &gh.IssueComment{Body: gh.String("done: " + pull.GetHTMLURL())})
	must(t, err)

	// What tests see of it.
	pulls, err := s.Pulls("demo/shop")
	must(t, err)
	want := Pull{Number: 43, Title: "Fix the total", Body: "Fixes #42", Author: "demo", Head: "dayclaude/issue-42", Base: "main", HeadCommit: commit.GetSHA(), Draft: true}
	if len(pulls) != 1 || pulls[0] != want {
		t.Errorf("Pulls: %+v", pulls)
	}
	comments, err := s.Comments("demo/shop", 42)
	must(t, err)
	if len(comments) != 1 || comments[0].Body != "done: "+s.URL()+"/demo/shop/pull/43" || comments[0].Author != "demo" {
		t.Errorf("Comments: %+v", comments)
	}
	content, mode, err := s.File("demo/shop", "dayclaude/issue-42", "src/ünï.txt")
	if string(content) != "new\n" || mode != "100755" || err != nil {
		t.Errorf("File: %q %s %v", content, mode, err)
	}
	if _, _, err := s.File("demo/shop", "dayclaude/issue-42", "docs/dangling"); err == nil {
		t.Error("the deleted file is there")
	}
	for _, r := range s.Requests() {
		if r.Login != "demo" || r.Status >= 400 {
			t.Errorf("request: %+v", r)
		}
	}
}
