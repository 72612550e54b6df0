package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

var shopFiles = fstest.MapFS{
	"README.md":             {Data: []byte("# shop\n")},
	"src/total.go":          {Data: []byte("package shop\n")},
	"src/deep/a/b.txt":      {Data: []byte("b\n")},
	"run.sh":                {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
	"link":                  {Data: []byte("README.md"), Mode: fs.ModeSymlink},
	".github/dayclaude.yml": {Data: []byte("check: go test ./...\n")},
}

// standIn is the embedded GitHub with acme/shop, whose issue 42 is open.
type standIn struct {
	*github.Server
	lose atomic.Value // the next such request, "POST pulls", takes effect but its answer is lost
}

func startStandIn(t *testing.T, r github.Repository) *standIn {
	t.Helper()
	s := new(standIn)
	s.lose.Store("")
	var err error
	s.Server, err = github.New(github.Options{TreeLimit: 50, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lose := s.lose.Load().(string)
			method, end, _ := strings.Cut(lose, " ")
			if r.Method != method || !strings.HasSuffix(r.URL.Path, end) || !s.lose.CompareAndSwap(lose, "") {
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Owner, r.Name = "acme", "shop"
	r.Collaborators = map[string]string{"robin": "write", "rita": "read"}
	must(t, s.Start())
	must(t, s.AddRepository(r))
	_, err = s.AddIssue("acme/shop", github.Issue{Number: 42, Title: "Total is \"wrong\"\r\n$(x)", Body: "It adds up to 3.", Author: "ann", Labels: []string{"bug"}})
	must(t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as returns a client with a token of its own.
func (s *standIn) as(t *testing.T, token github.Token) *Client {
	t.Helper()
	token.Value = secret.New(fmt.Sprintf("ghp_%s%d", strings.ReplaceAll(t.Name(), "/", "_"), len(s.Requests())))
	must(t, s.AddToken(token))
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := New(Config{APIURL: s.APIURL(), Token: token.Value, HTTP: &http.Client{Transport: transport}})
	must(t, err)
	c.backoff = time.Millisecond
	return c
}

func robin() github.Token { return github.Token{Login: "robin", Scopes: []string{"repo"}} }

func (s *standIn) repository(t *testing.T, c *Client) run.Repository {
	t.Helper()
	r, err := c.Repository(t.Context(), "acme", "shop")
	must(t, err)
	return r.Repository
}

func TestStandInRead(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{Private: true, DefaultBranch: "trunk", Files: shopFiles, SizeKB: 5})
	c := s.as(t, robin())
	ctx := t.Context()
	r, err := c.Repository(ctx, "ACME", "Shop")
	must(t, err)
	if r.FullName() != "acme/shop" || !r.Private || !r.Push || r.Empty || r.DefaultBranch != "trunk" || !r.HasIssues || r.WebURL != s.URL()+"/" {
		t.Errorf("repository is %+v", r)
	}
	if out, err := exec.CommandContext(ctx, "git", "ls-remote", r.CloneURL).CombinedOutput(); err == nil {
		t.Errorf("a private repository is there for everybody: %s", out)
	}
	if login, err := c.Viewer(ctx); err != nil || login != "robin" {
		t.Errorf("viewer is %q, %v", login, err)
	}
	odd, err := s.Commit(ctx, "acme/shop", "feat/ü#1%2F", "odd name", shopFiles)
	must(t, err)
	if head, err := c.Head(ctx, r.Repository, "feat/ü#1%2F"); err != nil || head != odd {
		t.Errorf("head is %s, %v; want %s", head, err, odd)
	}

	for i := range 130 {
		_, err := s.AddComment("acme/shop", 42, "ann", fmt.Sprint("comment ", i))
		must(t, err)
	}
	_, _, err = c.Comment(ctx, r.Repository, 42, 0, "<!-- dayclaude thread=t_1 -->", "working")
	must(t, err)
	i, err := c.Issue(ctx, r.Repository, 42)
	must(t, err)
	if i.Title != "Total is \"wrong\"\r\n$(x)" || i.Author != "ann" || !reflect.DeepEqual(i.Labels, []string{"bug"}) || i.Closed || i.Locked || i.PullRequest {
		t.Errorf("issue is %+v", i)
	}
	if len(i.Comments) != 130 || i.Omitted != 0 || i.Comments[0].Body != "comment 0" || i.Comments[129].Body != "comment 129" {
		t.Errorf("%d comments, %d omitted", len(i.Comments), i.Omitted)
	}

	content, found, err := c.File(ctx, r.Repository, "trunk", ".github/dayclaude.yml")
	if err != nil || !found || string(content) != "check: go test ./...\n" {
		t.Errorf("file is %q, %t, %v", content, found, err)
	}
	if _, found, err := c.File(ctx, r.Repository, "trunk", ".github/other.yml"); found || err != nil {
		t.Errorf("a missing file is %t, %v", found, err)
	}
	if _, _, err := c.File(ctx, r.Repository, "trunk", "link"); err == nil {
		t.Error("followed a link")
	}
	if _, _, err := c.File(ctx, r.Repository, "nowhere", "README.md"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a missing branch is %v", err)
	}
}

// TestStandInEntries walks a tree that GitHub cuts off and finds the same as
// in a complete one.
func TestStandInEntries(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, f := range shopFiles {
		files[name] = f
	}
	s := startStandIn(t, github.Repository{Files: files})
	c := s.as(t, robin())
	repo := s.repository(t, c)
	for i := range 60 {
		files[fmt.Sprintf("zz/%02d.txt", i)] = &fstest.MapFile{Data: []byte("z")}
	}
	small, err := c.Head(t.Context(), repo, "main")
	must(t, err)
	large, err := s.Commit(t.Context(), "acme/shop", "large", "more", files)
	must(t, err)
	paths := []string{"src/new.go", "src/deep/a/b.txt", "new/dir/x"}
	want, err := c.Entries(t.Context(), repo, small, paths)
	must(t, err)
	got, err := c.Entries(t.Context(), repo, large, paths)
	must(t, err)
	if got["zz"].Mode != ModeDirectory {
		t.Errorf("the large tree was not walked: %v", got)
	}
	delete(got, "zz")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("walking found\n%v\nwant\n%v", got, want)
	}
	if got["run.sh"].Mode != changeset.ModeExecutable || got["src/deep/a/b.txt"].Size != 2 || got["link"].Mode != changeset.ModeSymlink {
		t.Errorf("entries are %v", got)
	}
}

// TestStandInCompare asks what a branch gained since another left it.
func TestStandInCompare(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, f := range shopFiles {
		files[name] = f
	}
	s := startStandIn(t, github.Repository{Files: files})
	c, ctx := s.as(t, robin()), t.Context()
	repo := s.repository(t, c)
	start, err := c.Head(ctx, repo, "main")
	must(t, err)
	_, err = s.Commit(ctx, "acme/shop", "topic/a+b", "beside it", fstest.MapFS{"topic": {}})
	must(t, err)
	files["src/sum.go"] = files["src/total.go"]
	delete(files, "src/total.go")
	delete(files, "run.sh")
	_, err = s.Commit(ctx, "acme/shop", "main", "second", files)
	must(t, err)
	files["new"] = &fstest.MapFile{}
	_, err = s.Commit(ctx, "acme/shop", "main", "third", files)
	must(t, err)
	for _, base := range []string{start, "topic/a+b"} {
		found, err := c.Compare(ctx, repo, base, "main")
		if slices.Sort(found.Paths); err != nil || !found.Complete || found.Parted != start ||
			!slices.Equal(found.Paths, []string{"new", "run.sh", "src/sum.go", "src/total.go"}) {
			t.Errorf("from %s: %+v, %v", base, found, err)
		}
	}
	if found, err := c.Compare(ctx, repo, "main", start); err != nil || !found.Complete || found.Paths != nil || found.Parted != start {
		t.Errorf("backwards: %+v, %v", found, err)
	}
	for i := range maxCompared {
		files[fmt.Sprint("many/", i)] = &fstest.MapFile{}
	}
	_, err = s.Commit(ctx, "acme/shop", "main", "many", files)
	must(t, err)
	if found, err := c.Compare(ctx, repo, start, "main"); err != nil || found.Complete || len(found.Paths) < maxCompared {
		t.Errorf("many: %d paths, %t, %v", len(found.Paths), found.Complete, err)
	}
	if _, err := c.Compare(ctx, repo, start, "nowhere"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a branch that is not there: %v", err)
	}
}

var fixes = []changeset.Change{
	{Path: "README.md", Mode: changeset.ModeFile, Content: []byte("# shop\r\n")},
	{Path: "run.sh", Mode: changeset.ModeFile, Content: []byte("#!/bin/sh\n")},
	{Path: "tool", Mode: changeset.ModeExecutable, Content: []byte("\x7fELF\x00\xff")},
	{Path: "ünï/co de \"q\".txt", Mode: changeset.ModeFile},
	{Path: "link", Mode: changeset.ModeSymlink, Content: []byte("src/total.go")},
	{Path: "src/deep/a/b.txt", Deleted: true},
	{Path: "src/deep", Mode: changeset.ModeFile, Content: []byte("a directory becomes a file")},
	{Path: "src/total.go", Deleted: true},
	{Path: "src/total.go/x", Mode: changeset.ModeFile, Content: []byte("a file becomes a directory")},
}

// publish does what one run does on GitHub.
func publish(ctx context.Context, c *Client, repo run.Repository, id, base, expect string, changes []changeset.Change) (string, Pull, int64, error) {
	commit, err := c.Commit(ctx, repo, CommitInput{Base: base, Message: "Fix issue #42: it", RunID: id, Changes: changes})
	if err != nil {
		return "", Pull{}, 0, err
	}
	head, err := c.Branch(ctx, repo, "dayclaude/issue-42-it", commit, id, expect)
	if err != nil {
		return "", Pull{}, 0, err
	}
	pull, err := c.PullRequest(ctx, repo, PullInput{Base: "main", Head: "dayclaude/issue-42-it", Title: "Fix it " + id, Body: "By " + id, Draft: true})
	if err != nil {
		return "", Pull{}, 0, err
	}
	comment, _, err := c.Comment(ctx, repo, 42, 0, "<!-- dayclaude thread=t_1 generation=1 -->", "done by "+id)
	return head, pull, comment, err
}

func TestStandInPublish(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{Files: shopFiles, NoDrafts: true})
	c := s.as(t, robin())
	repo := s.repository(t, c)
	base, err := c.Head(t.Context(), repo, "main")
	must(t, err)
	head, pull, comment, err := publish(t.Context(), c, repo, "r_1", base, "", fixes)
	must(t, err)

	for _, ch := range fixes {
		content, mode, err := s.File("acme/shop", head, ch.Path)
		switch {
		case ch.Deleted && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s is still there: %v", ch.Path, err)
		case !ch.Deleted && (err != nil || string(content) != string(ch.Content) || mode != ch.Mode):
			t.Errorf("%s is %s %q, %v", ch.Path, mode, content, err)
		}
	}
	if _, _, err := s.File("acme/shop", head, ".github/dayclaude.yml"); err != nil {
		t.Errorf("what was not changed is gone: %v", err)
	}
	dir, err := s.GitDir("acme/shop")
	must(t, err)
	for args, want := range map[string]string{
		"fsck --strict --no-dangling": "", "log -1 --format=%P " + head: base, "log -1 --format=%(trailers:key=Dayclaude-Run,valueonly) " + head: "r_1",
	} {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, strings.Fields(args)...)...).Output()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("git %s: %q, %v", args, out, err)
		}
	}

	// Everything once more, as after a kill: nothing is made twice.
	head2, pull2, comment2, err := publish(t.Context(), c, repo, "r_1", base, "", fixes)
	if err != nil || head2 != head || pull2 != pull || comment2 != comment {
		t.Errorf("again: %s, %+v, %d, %v", head2, pull2, comment2, err)
	}
	s.once(t, head)

	// A follow-up moves the branch and rewrites title, body and comment.
	follow := []changeset.Change{{Path: "more", Mode: changeset.ModeFile, Content: []byte("more")}}
	for range 2 {
		head2, pull2, comment2, err = publish(t.Context(), c, repo, "r_2", head, head, follow)
		if err != nil || head2 == head || pull2.Number != pull.Number || comment2 != comment {
			t.Errorf("follow-up: %s, %+v, %d, %v", head2, pull2, comment2, err)
		}
	}
	s.once(t, head2)
	pulls, err := s.Pulls("acme/shop")
	must(t, err)
	if pulls[0].Title != "Fix it r_2" || pulls[0].Body != "By r_2" || pulls[0].Draft {
		t.Errorf("pull request is %+v", pulls[0])
	}

	// A person pushes: the next run does not overwrite it.
	theirs, err := s.Commit(t.Context(), "acme/shop", "dayclaude/issue-42-it", "mine", shopFiles)
	must(t, err)
	if _, _, _, err := publish(t.Context(), c, repo, "r_3", head2, head2, []changeset.Change{{Path: "more", Deleted: true}}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("over a person's push: %v", err)
	}
	s.once(t, theirs)
}

// once checks that there is one branch besides main, at head, one pull
// request and one comment.
func (s *standIn) once(t *testing.T, head string) {
	t.Helper()
	branches, err := s.Branches("acme/shop")
	must(t, err)
	pulls, err := s.Pulls("acme/shop")
	must(t, err)
	comments, err := s.Comments("acme/shop", 42)
	must(t, err)
	if len(branches) != 2 || branches["dayclaude/issue-42-it"] != head || len(pulls) != 1 || len(comments) != 1 {
		t.Fatalf("branches %v, pull requests %+v, comments %+v; want head %s", branches, pulls, comments, head)
	}
}

// TestStandInLostAnswers loses the answer to each write in turn.
func TestStandInLostAnswers(t *testing.T) {
	t.Parallel()
	for _, lose := range []string{"POST git/blobs", "POST git/trees", "POST git/commits", "POST git/refs", "POST pulls", "POST issues/42/comments"} {
		t.Run(lose, func(t *testing.T) {
			t.Parallel()
			s := startStandIn(t, github.Repository{Files: shopFiles})
			c := s.as(t, robin())
			repo := s.repository(t, c)
			base, err := c.Head(t.Context(), repo, "main")
			must(t, err)
			s.lose.Store(lose)
			head, _, _, err := publish(t.Context(), c, repo, "r_1", base, "", fixes[:1])
			must(t, err)
			if s.lose.Load() != "" {
				t.Fatal("no answer was lost")
			}
			s.once(t, head)
		})
	}
}

// TestStandInApp is at work with an installation token, as Actions gives it to
// a workflow: GET /user is forbidden, and the repository tells no role.
func TestStandInApp(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{Private: true, Files: shopFiles})
	as := func(contents string) *Client {
		return s.as(t, github.Token{Login: WorkflowBot, Kind: github.App,
			Permissions: map[string]string{"contents": contents, "issues": "write", "pull_requests": "write"}})
	}
	ctx := t.Context()
	c := as("write")
	r, err := c.Repository(ctx, "acme", "shop")
	must(t, err)
	if err := c.MayPublish(ctx, r); err != nil || !r.App || !r.Pull {
		t.Errorf("an App that may write: %v, %+v", err, r)
	}
	if login, err := c.Viewer(ctx); err != nil || login != WorkflowBot {
		t.Errorf("viewer is %q, %v", login, err)
	}
	// It knows its own comment and pull request again.
	first, _, err := c.Comment(ctx, r.Repository, 42, 0, "<!-- dayclaude x -->", "working")
	must(t, err)
	if again, _, err := as("write").Comment(ctx, r.Repository, 42, 0, "<!-- dayclaude x -->", "done"); err != nil || again != first {
		t.Errorf("comment %d, then %d, %v", first, again, err)
	}
	c = as("read")
	r, err = c.Repository(ctx, "acme", "shop")
	must(t, err)
	if err := c.MayPublish(ctx, r); fault.KindOf(err) != fault.Auth || !r.App || !r.Pull {
		t.Errorf("an App that may read: %v, %+v", err, r)
	}
	if r, err := s.as(t, github.Token{Login: "rita", Scopes: []string{"repo"}}).Repository(ctx, "acme", "shop"); err != nil || r.App || r.Push || !r.Pull {
		t.Errorf("a user who may read: %+v, %v", r, err)
	}
}

func TestStandInEmptyRepository(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{})
	c := s.as(t, robin())
	r, err := c.Repository(t.Context(), "acme", "shop")
	if err != nil || !r.Empty {
		t.Fatalf("got %+v, %v", r, err)
	}
	_, err = s.Commit(t.Context(), "acme/shop", "main", "first", shopFiles)
	must(t, err)
	if r, err := c.Repository(t.Context(), "acme", "shop"); err != nil || r.Empty {
		t.Fatalf("got %+v, %v", r, err)
	}
}

func TestStandInLimits(t *testing.T) {
	t.Parallel()
	s := startStandIn(t, github.Repository{Files: shopFiles})
	c := s.as(t, robin())
	repo := s.repository(t, c)
	var waits []time.Duration
	clock := time.Now()
	c.now = func() time.Time { return clock }
	c.sleep = func(_ context.Context, d time.Duration) error {
		waits, clock = append(waits, d), clock.Add(d)
		return nil
	}
	s.SecondaryLimit(2, 30*time.Second)
	_, _, err := c.Comment(t.Context(), repo, 42, 0, "<!-- dayclaude x -->", "x")
	must(t, err)
	if !slices.Equal(waits, []time.Duration{30 * time.Second, 30 * time.Second}) {
		t.Errorf("waited %v", waits)
	}
	s.SetRemaining("robin", 0)
	_, err = c.Head(t.Context(), repo, "main")
	var limit *RateLimit
	if fault.KindOf(err) != fault.Quota || !errors.As(err, &limit) || limit.Until.Before(clock.Add(50*time.Minute)) {
		t.Errorf("got %v", err)
	}
}
