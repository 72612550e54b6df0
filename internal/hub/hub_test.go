package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	canary = "ghp_canary0123456789"
	agent  = "dayclaude/hub-test"
)

var shop = run.Repository{ID: 7, Owner: "acme", Name: "shop", DefaultBranch: "main"}

// sha is a made-up object name that begins with the given digits.
func sha(digits string) string { return digits + strings.Repeat("0", 40-len(digits)) }

// seen is a request the scripted GitHub got.
type seen struct {
	Line   string // "POST /repos/acme/shop/pulls"
	Query  string
	Body   string
	Header http.Header
}

// script is a GitHub whose answers are written down. A test changes answers
// with on; requests without one fail the test.
type script struct {
	t       *testing.T
	url     string
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	seen    []seen
	slept   []time.Duration
	clock   time.Time
}

// setup starts a scripted GitHub in which every method of the client succeeds,
// and a client whose waits take no time but move its clock.
func setup(t *testing.T) (*script, *Client) {
	t.Helper()
	s := &script{t: t, answers: make(map[string]http.HandlerFunc), clock: time.Now()}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	c, err := New(Config{APIURL: srv.URL, Token: secret.New(canary), HTTP: srv.Client(), UserAgent: agent, Now: s.now})
	if err != nil {
		t.Fatal(err)
	}
	c.sleep = func(ctx context.Context, d time.Duration) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.slept = append(s.slept, d)
		s.clock = s.clock.Add(d)
		return ctx.Err()
	}
	s.standard()
	return s, c
}

func (s *script) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

// on sets what a request, "GET /path", is answered.
func (s *script) on(line string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[line] = h
}

// says sets a request's answer to a status and a JSON body.
func (s *script) says(line string, status int, format string, args ...any) {
	s.on(line, answer(status, nil, fmt.Sprintf(format, args...)))
}

func answer(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// inTurn answers with each handler in turn, the last one from then on.
func inTurn(hs ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := hs[0]
		if len(hs) > 1 {
			hs = hs[1:]
		}
		mu.Unlock()
		h(w, r)
	}
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.UserAgent() != agent { // other tests on this machine try every loopback port
		http.NotFound(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.URL.Path
	s.mu.Lock()
	s.seen = append(s.seen, seen{line, r.URL.RawQuery, string(body), r.Header.Clone()})
	h := s.answers[line]
	s.mu.Unlock()
	if h == nil {
		s.t.Errorf("unexpected request %s?%s", line, r.URL.RawQuery)
		h = answer(http.StatusTeapot, nil, `{}`)
	}
	h(w, r)
}

// count returns how often a request came.
func (s *script) count(line string) int { return len(s.requests(line)) }

func (s *script) requests(line string) (got []seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		if r.Line == line {
			got = append(got, r)
		}
	}
	return got
}

// last decodes the body of the last such request.
func (s *script) last(line string) map[string]any {
	s.t.Helper()
	got := s.requests(line)
	if len(got) == 0 {
		s.t.Fatalf("no request %s", line)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(got[len(got)-1].Body), &body); err != nil {
		s.t.Fatal(err)
	}
	return body
}

const at = "/repos/acme/shop"

const ourComment = `{"id":5,"body":"working <!-- dayclaude thread=t_1 -->","user":{"login":"Robin"},"html_url":"https://github.com/acme/shop/issues/42#issuecomment-5"}`

// standard are the answers to everything the client asks: a repository with
// one branch, one issue, two comments, and nothing of ours in it.
func (s *script) standard() {
	get := func(path, format string, args ...any) { s.says("GET "+path, 200, format, args...) }
	get(at, `{"id":7,"name":"shop","owner":{"login":"acme"},"default_branch":"main","clone_url":"%s/acme/shop.git","size":12,"private":true,"has_issues":true,"permissions":{"push":true,"pull":true}}`, s.url)
	get("/user", `{"login":"robin"}`)
	get(at+"/git/ref/heads/main", `{"ref":"refs/heads/main","object":{"type":"commit","sha":"%s"}}`, sha("aa"))
	get(at+"/issues/42", `{"number":42,"title":"it breaks","body":"badly","state":"open","comments":2,"user":{"login":"ann"},"labels":[{"name":"bug"}],"html_url":"https://github.com/acme/shop/issues/42","repository_url":"%s/repos/Acme/shop"}`, s.url)
	get(at+"/issues/42/comments", `[{"id":1,"body":"me too","user":{"login":"bob"}},{"id":2,"body":"<!-- dayclaude not ours","user":{"login":"eve"}}]`)
	get(at+"/git/trees/"+sha("aa"), `{"sha":"%s","tree":[{"path":"README.md","mode":"100644","type":"blob","sha":"%s","size":6},{"path":"src","mode":"040000","type":"tree","sha":"%s"}]}`, sha("ab"), blobSHA([]byte("hello\n")), sha("ac"))
	get(at+"/git/blobs/"+blobSHA([]byte("hello\n")), "hello\n")
	get(at+"/git/commits/"+sha("aa"), `{"sha":"%s","message":"first","tree":{"sha":"%s"}}`, sha("aa"), sha("ab"))
	get(at+"/compare/"+sha("aa")+"...main", `{"merge_base_commit":{"sha":"%s"},"files":[{"filename":"README.md"}]}`, sha("aa"))
	s.says("POST /graphql", 200, `{"data":{"viewer":{"login":"github-actions[bot]"}}}`)
	s.on("POST "+at+"/git/blobs", answer(201, nil, fmt.Sprintf(`{"sha":%q}`, blobSHA([]byte("new\n")))))
	s.says("POST "+at+"/git/trees", 201, `{"sha":"%s"}`, sha("ba"))
	s.says("POST "+at+"/git/commits", 201, `{"sha":"%s"}`, sha("bb"))
	s.says("GET "+at+"/git/ref/heads/fix", 404, `{"message":"Not Found"}`)
	s.says("POST "+at+"/git/refs", 201, `{"object":{"sha":"%s"}}`, sha("bb"))
	get(at+"/git/ref/heads/old", `{"object":{"sha":"%s"}}`, sha("aa"))
	s.says("PATCH "+at+"/git/refs/heads/old", 200, `{"object":{"sha":"%s"}}`, sha("bb"))
	get(at+"/pulls", `[]`)
	s.says("POST "+at+"/pulls", 201, `{"number":9,"html_url":"https://github.com/acme/shop/pull/9"}`)
	s.says("PATCH "+at+"/pulls/9", 200, `{"number":9,"html_url":"https://github.com/acme/shop/pull/9"}`)
	s.says("POST "+at+"/issues/42/comments", 201, ourComment)
	s.says("PATCH "+at+"/issues/comments/5", 200, ourComment)
}

// method is one way to call the client, and one request it makes on it.
type method struct {
	name  string
	line  string // the request that goes wrong
	setup func(*script)
	call  func(context.Context, *Client) error
	// want says what becomes of a fault where it differs from the usual:
	// fault → kind, or "" for success.
	want map[string]fault.Kind
	// once marks a request that makes something new; it may be sent again
	// only after looking.
	once bool
}

func methods() []method {
	commit := func(ctx context.Context, c *Client) error {
		_, err := c.Commit(ctx, shop, CommitInput{Base: sha("aa"), Message: "fix", RunID: "r_1",
			Changes: []changeset.Change{{Path: "a", Mode: changeset.ModeFile, Content: []byte("new\n")}}})
		return err
	}
	branch := func(name, expect string) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error {
			_, err := c.Branch(ctx, shop, name, sha("bb"), "r_1", expect)
			return err
		}
	}
	pull := func(ctx context.Context, c *Client) error {
		_, err := c.PullRequest(ctx, shop, PullInput{Base: "main", Head: "fix", Title: "t", Body: "b"})
		return err
	}
	comment := func(id int64) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error {
			_, _, err := c.Comment(ctx, shop, 42, id, "<!-- dayclaude thread=t_1 -->", "done")
			return err
		}
	}
	repository := func(ctx context.Context, c *Client) error {
		_, err := c.Repository(ctx, "acme", "shop")
		return err
	}
	issue := func(ctx context.Context, c *Client) error {
		_, err := c.Issue(ctx, shop, 42)
		return err
	}
	file := func(ctx context.Context, c *Client) error {
		_, _, err := c.File(ctx, shop, "main", "README.md")
		return err
	}
	may := func(ctx context.Context, c *Client) error {
		return c.MayPublish(ctx, &Repository{Repository: shop})
	}
	return []method{
		{name: "Repository", line: "GET " + at, call: repository},
		{name: "Repository/empty", line: "GET " + at + "/git/ref/heads/main", call: repository, want: map[string]fault.Kind{"404": ""},
			setup: func(s *script) {
				s.says("GET "+at, 200, `{"id":7,"name":"shop","owner":{"login":"acme"},"default_branch":"main","clone_url":"%s/acme/shop.git"}`, s.url)
			}},
		{name: "Viewer", line: "GET /user", call: func(ctx context.Context, c *Client) error { _, err := c.Viewer(ctx); return err }},
		{name: "Viewer/bot", line: "POST /graphql", setup: forbidUser, call: func(ctx context.Context, c *Client) error { _, err := c.Viewer(ctx); return err }},
		{name: "MayPublish/blob", line: "POST " + at + "/git/blobs", setup: mayPublish, call: may, want: map[string]fault.Kind{"404": fault.Auth}},
		{name: "MayPublish/pull", line: "POST " + at + "/pulls", setup: mayPublish, call: may, want: map[string]fault.Kind{"404": fault.Auth, "422": ""}},
		{name: "Head", line: "GET " + at + "/git/ref/heads/main", call: func(ctx context.Context, c *Client) error { _, err := c.Head(ctx, shop, "main"); return err }},
		{name: "Issue", line: "GET " + at + "/issues/42", call: issue},
		{name: "Issue/comments", line: "GET " + at + "/issues/42/comments", call: issue},
		{name: "Issue/viewer", line: "GET /user", call: issue},
		{name: "File/head", line: "GET " + at + "/git/ref/heads/main", call: file},
		{name: "File/tree", line: "GET " + at + "/git/trees/" + sha("aa"), call: file},
		{name: "File/blob", line: "GET " + at + "/git/blobs/" + blobSHA([]byte("hello\n")), call: file},
		{name: "Entries", line: "GET " + at + "/git/trees/" + sha("aa"), call: func(ctx context.Context, c *Client) error {
			_, err := c.Entries(ctx, shop, sha("aa"), []string{"src/a.go"})
			return err
		}},
		{name: "Blob", line: "GET " + at + "/git/blobs/" + blobSHA([]byte("hello\n")), call: func(ctx context.Context, c *Client) error {
			_, err := c.Blob(ctx, shop, blobSHA([]byte("hello\n")), 100)
			return err
		}},
		{name: "Compare", line: "GET " + at + "/compare/" + sha("aa") + "...main", call: func(ctx context.Context, c *Client) error {
			_, err := c.Compare(ctx, shop, sha("aa"), "main")
			return err
		}},
		{name: "Commit/base", line: "GET " + at + "/git/commits/" + sha("aa"), call: commit},
		{name: "Commit/blob", line: "POST " + at + "/git/blobs", call: commit},
		{name: "Commit/tree", line: "POST " + at + "/git/trees", call: commit},
		{name: "Commit/commit", line: "POST " + at + "/git/commits", call: commit},
		{name: "Branch/look", line: "GET " + at + "/git/ref/heads/fix", call: branch("fix", ""), want: map[string]fault.Kind{"404": ""}},
		{name: "Branch/create", line: "POST " + at + "/git/refs", call: branch("fix", ""), once: true},
		{name: "Branch/read", line: "GET " + at + "/git/commits/" + sha("aa"), call: branch("old", sha("aa"))},
		{name: "Branch/move", line: "PATCH " + at + "/git/refs/heads/old", call: branch("old", sha("aa")), once: true},
		{name: "PullRequest/look", line: "GET " + at + "/pulls", call: pull},
		{name: "PullRequest/create", line: "POST " + at + "/pulls", call: pull, once: true},
		{name: "PullRequest/edit", line: "PATCH " + at + "/pulls/9", call: pull, setup: func(s *script) {
			s.says("GET "+at+"/pulls", 200, `[%s]`, openPull("robin", 7))
		}},
		{name: "Comment/edit", line: "PATCH " + at + "/issues/comments/5", call: comment(5), want: map[string]fault.Kind{"404": ""}},
		{name: "Comment/look", line: "GET " + at + "/issues/42/comments", call: comment(0)},
		{name: "Comment/create", line: "POST " + at + "/issues/42/comments", call: comment(0), once: true},
	}
}

// mayPublish answers as GitHub does to a token that may.
func mayPublish(s *script) {
	s.says("POST "+at+"/git/blobs", 201, `{"sha":"%s"}`, blobSHA(nil))
	s.says("POST "+at+"/pulls", 422, `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"No commits between main and main"}]}`)
}

// forbidUser answers as GitHub does to an App's installation token.
func forbidUser(s *script) {
	s.says("GET /user", 403, `{"message":"Resource not accessible by integration"}`)
}

func openPull(login string, repoID int64) string {
	return fmt.Sprintf(`{"number":9,"title":"x","body":"y","user":{"login":%q},"html_url":"https://github.com/acme/shop/pull/9","base":{"ref":"main"},"head":{"ref":"fix","repo":{"id":%d}}}`, login, repoID)
}
