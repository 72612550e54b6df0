package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// bad breaks or mends something at GitHub. The shop's reference is demo/shop#42.
type bad func(t *testing.T, s *e2e.Stack, ref string)

// token gives the command line's user another token of the same value.
func token(change func(*github.Token)) bad {
	return func(t *testing.T, s *e2e.Stack, _ string) {
		t.Helper()
		next := github.Token{Value: secret.New(s.Canaries["GITHUB_TOKEN"]), Login: e2e.User, Scopes: []string{"repo"}}
		change(&next)
		if err := s.GitHub.AddToken(next); err != nil {
			t.Fatal(err)
		}
	}
}

// finely makes the token a fine-grained one: "contents=write issues=write".
func finely(permissions string) bad {
	return token(func(next *github.Token) {
		next.Kind, next.Scopes, next.Permissions = github.FineGrained, nil, map[string]string{}
		for permission := range strings.FieldsSeq(permissions) {
			name, access, _ := strings.Cut(permission, "=")
			next.Permissions[name] = access
		}
	})
}

const enough = "contents=write issues=write pull_requests=write"

// renewed is the token as it was.
func renewed() bad { return token(func(*github.Token) {}) }

func expired() bad { return token(func(next *github.Token) { next.Expires = time.Unix(1, 0) }) }

// settings changes the settings of the reference's repository.
func settings(change func(*github.Repository)) bad {
	return func(t *testing.T, s *e2e.Stack, ref string) {
		t.Helper()
		if err := s.GitHub.UpdateRepository(repoOf(ref), change); err != nil {
			t.Fatal(err)
		}
	}
}

func repoOf(ref string) string { return ref[:strings.IndexByte(ref, '#')] }

// whileWorking breaks something while Claude waits for the model.
func whileWorking(breaks bad) (bad, func(*testing.T, *e2e.Stack, *e2e.Command)) {
	var model *e2e.Model
	var release func()
	hold := func(_ *testing.T, s *e2e.Stack, _ string) {
		model = s.WatchModel()
		release = model.Hold()
	}
	return hold, func(t *testing.T, s *e2e.Stack, c *e2e.Command) {
		t.Helper()
		defer release()
		s.Eventually("a call of the model", func() bool { return model.Waiting() || c.Ended() })
		breaks(t, s, "demo/shop#42")
	}
}

// nothing mends what the next command goes on in spite of.
func nothing(*testing.T, *e2e.Stack, string) {}

// shopOf is the shop, with something about it.
func shopOf(change func(*github.Repository)) github.Repository {
	r := github.Repository{Name: demo.Repository, Files: demo.Shop()}
	change(&r)
	return r
}

// TestGitHubDays are the days on which GitHub does not let a run begin.
func TestGitHubDays(t *testing.T) {
	private := shopOf(func(r *github.Repository) { r.Private = true })
	someones := shopOf(func(r *github.Repository) {
		r.Owner, r.Private, r.Collaborators = "acme", true, map[string]string{e2e.User: "write"}
	})
	mayNot := func(permissions, does, lacks string, args ...string) day {
		return day{
			repository: private, breaks: finely(permissions), args: args, exit: 4, kind: fault.Auth,
			says: []string{does, "the token lacks a permission (403 Resource not accessible by personal access token)"},
			hint: []string{"give the token the permission `" + lacks + "`", "on demo/shop"},
			page: "the token lacks a permission", heals: finely(enough), again: []string{},
		}
	}
	days(t, lightly(map[string]day{
		"unknown issue": {
			ref: "demo/shop#4711", exit: 1, kind: fault.NotFound,
			says: []string{"reading issue demo/shop#4711: not found, or the token has no access to it"},
			hint: []string{"check the name"}, page: "not found, or the token has no access to it", heals: nothing,
		},
		"unknown repository": {
			ref: "demo/shoq#42", exit: 1, kind: fault.NotFound, says: []string{"reading repository demo/shoq: not found"},
			hint: []string{"check the name"}, page: "not found, or the token has no access to it", heals: nothing,
		},
		"hidden repository": {
			repository: someones, breaks: settings(func(r *github.Repository) { r.Collaborators = nil }),
			exit: 1, kind: fault.NotFound, says: []string{"reading repository acme/shop: not found, or the token has no access to it"},
			hint: []string{"its user access on acme/shop"}, page: "not found, or the token has no access to it",
			heals: settings(func(r *github.Repository) { r.Collaborators = someones.Collaborators }),
		},
		"repository that may only be read": {
			repository: someones, breaks: settings(func(r *github.Repository) { r.Collaborators = map[string]string{e2e.User: "read"} }),
			exit: 7, kind: fault.NotAdmitted, says: []string{"this GitHub user can't push to acme/shop"}, hint: []string{"--dry-run"},
			page:  "this GitHub user can't push to",
			heals: settings(func(r *github.Repository) { r.Collaborators = someones.Collaborators }),
		},
		"pull request": {
			breaks: func(t *testing.T, s *e2e.Stack, _ string) { pullOf(t, s, "demo/shop", "topic") },
			ref:    "demo/shop#43", exit: 7, kind: fault.NotAdmitted, says: []string{"demo/shop#43 is a pull request"},
			hint: []string{"the number of an issue"}, page: "is a pull request",
		},
		"closed issue": {
			issue: github.Issue{Closed: true}, exit: 7, kind: fault.NotAdmitted, says: []string{"demo/shop#42 is closed"},
			hint: []string{"--force"}, page: "is closed", heals: nothing, again: []string{"--force"},
		},
		"locked issue": {
			issue: github.Issue{Locked: true}, exit: 7, kind: fault.NotAdmitted, says: []string{"the conversation of demo/shop#42 is locked"},
			hint: []string{"unlock it", "--force"}, page: "is locked", heals: nothing, again: []string{"--force"},
		},
		"archived repository": {
			repository: shopOf(func(r *github.Repository) { r.Archived = true }), exit: 7, kind: fault.NotAdmitted,
			says: []string{"demo/shop is archived"}, hint: []string{"unarchive"}, page: "is archived",
			heals: settings(func(r *github.Repository) { r.Archived = false }),
		},
		"empty repository": {
			repository: github.Repository{Name: "void"}, exit: 7, kind: fault.NotAdmitted,
			says: []string{"demo/void has no commit yet"}, hint: []string{"first commit"}, page: "has no commit yet",
			heals: func(t *testing.T, s *e2e.Stack, ref string) {
				if _, err := s.GitHub.Commit(t.Context(), repoOf(ref), "main", "first", demo.Shop()); err != nil {
					t.Fatal(err)
				}
			},
		},
		"issues disabled": {
			repository: shopOf(func(r *github.Repository) { r.NoIssues = true }), exit: 7, kind: fault.NotAdmitted,
			says: []string{"reading issue demo/shop#1: the repository has its issues switched off"}, hint: []string{"switch issues on"},
			page: "the repository has its issues switched off", heals: settings(func(r *github.Repository) { r.NoIssues = false }),
		},
		"no token": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { delete(s.Env, "GITHUB_TOKEN") },
			exit:   4, kind: fault.Auth, says: []string{"no GitHub token"}, hint: []string{"GITHUB_TOKEN"},
			heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.Env["GITHUB_TOKEN"] = s.Canaries["GITHUB_TOKEN"] },
		},
		"expired token": {
			breaks: expired(), exit: 4, kind: fault.Auth, says: []string{"GitHub refused the token (401 Bad credentials)"},
			hint: []string{"expired or revoked"}, page: "GitHub refused the token", heals: renewed(),
		},
		"classic token without a scope": {
			breaks: token(func(next *github.Token) { next.Scopes = []string{"gist"} }), exit: 4, kind: fault.Auth,
			says: []string{"trying what the token may write in demo/shop: the token may not write"}, hint: []string{"scopes: gist", "needs the scope `repo`"},
			page: "the token may not write", heals: renewed(),
		},
		"token without contents: read":       mayNot("issues=read", "reading branch", "contents: read", "--dry-run"),
		"token without contents: write":      mayNot("contents=read issues=write pull_requests=write", "trying what the token may write", "contents: write"),
		"token without pull requests: write": mayNot("contents=write issues=write pull_requests=read", "trying what the token may write", "pull requests: write"),
		"token without issues: read":         mayNot("contents=write pull_requests=write", "reading issue demo/shop#1", "issues: read"),
		"token without issues: write":        mayNot("contents=write issues=read pull_requests=write", "commenting on demo/shop#1", "issues: write"),
		"token without the repository": {
			repository: private, breaks: token(func(next *github.Token) {
				next.Kind, next.Permissions, next.Repositories = github.FineGrained, map[string]string{"contents": "write"}, []string{"demo/other"}
			}),
			exit: 1, kind: fault.NotFound, says: []string{"not found, or the token has no access to it"}, hint: []string{"`metadata: read` on demo/shop"},
			heals: renewed(),
		},
		"single sign-on": {
			repository: shopOf(func(r *github.Repository) { r.Private, r.SAML = true, true }), exit: 4, kind: fault.Auth,
			says:  []string{"the organisation's single sign-on does not know the token"},
			hint:  []string{"authorise the token for the organisation at https://github.com/orgs/demo/sso?authorization_request=A"},
			heals: token(func(next *github.Token) { next.SAML = true }),
		},
		"address not on the allow list": {
			breaks: settings(func(r *github.Repository) { r.AllowList = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }),
			exit:   4, kind: fault.Auth, says: []string{"the organisation does not take calls from this address (403 Although"}, hint: []string{"IP allow list"},
			page:  "the organisation does not take calls from this address",
			heals: settings(func(r *github.Repository) { r.AllowList = nil }),
		},
		"kind of token": {
			breaks: settings(func(r *github.Repository) { r.NoClassicTokens = true }), exit: 4, kind: fault.Auth,
			says: []string{"the organisation does not take this kind of token (403 `demo` forbids access via a personal access token (classic)."},
			hint: []string{"GITHUB_TOKEN"}, page: "the organisation does not take this kind of token", heals: finely(enough),
		},
		"workflow token that may not open pull requests": {
			breaks: func(t *testing.T, s *e2e.Stack, ref string) {
				asWorkflow(t, s, "write")
				settings(func(r *github.Repository) { r.NoActions = true })(t, s, ref)
			},
			exit: 4, kind: fault.Auth, says: []string{"the repository does not let GitHub Actions open pull requests"},
			hint: []string{"Workflow permissions"}, heals: settings(func(r *github.Repository) { r.NoActions = false }),
		},
		"no base branch": {
			args: []string{"--base", "nowhere"}, exit: 2, kind: fault.Usage, says: []string{`demo/shop has no branch "nowhere"`},
			hint: []string{"--base"}, page: "has no branch", heals: nothing, again: []string{},
		},
		"rate limit": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SetRemaining(e2e.User, 0) },
			exit:   1, kind: fault.Quota, says: []string{"GitHub's rate limit is reached until 20"}, hint: []string{"other tools that use the same token"},
			page: "GitHub's rate limit is reached until", heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SetRemaining(e2e.User, 5000) },
		},
		"secondary rate limit": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SecondaryLimit(1000, 20*time.Minute) },
			exit:   1, kind: fault.Quota, says: []string{"commenting on demo/shop#42: GitHub's secondary rate limit is reached until 20"},
			page: "GitHub's secondary rate limit is reached until", heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SecondaryLimit(0, 0) },
		},
	}))
}

// lightly lives through days with the light Claude.
func lightly(all map[string]day) map[string]day {
	for name, d := range all {
		d.options.Light = true
		if d.repository.Name != "" {
			d.issue.Title, d.issue.Body = demo.IssueTitle, demo.IssueBody
		}
		all[name] = d
	}
	return all
}

// pullOf opens a pull request as a person does.
func pullOf(t *testing.T, s *e2e.Stack, repo, branch string) {
	t.Helper()
	if _, err := s.GitHub.Commit(t.Context(), repo, branch, "by hand", small("by-hand", nil).Files); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"title":"By hand","head":%q,"base":"main"}`, branch)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.GitHub.APIURL()+"repos/"+repo+"/pulls", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Canaries["GITHUB_TOKEN"])
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		said, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, said)
	}
}

// TestGitHubRefusesTheWork has GitHub refuse what was done: it is kept, and
// the same command publishes it once that is mended. Claude is not asked again.
func TestGitHubRefusesTheWork(t *testing.T) {
	rules := func(rules ...github.Ruleset) bad {
		return settings(func(r *github.Repository) { r.Rulesets = rules })
	}
	limited := func(requests int) bad {
		return func(_ *testing.T, s *e2e.Stack, _ string) { s.GitHub.SecondaryLimit(requests, 20*time.Minute) }
	}
	const forbids = "the token lacks a permission (403 Resource not accessible by personal access token)"
	failed := func(where string) []string {
		return []string{"**This did not work.**", where, "run-issue demo/shop#42"}
	}
	const patched, pushed = "The patch is kept on the computer that ran this", "What there is stands on branch `dayclaude/issue-42-"
	rows := map[string]day{
		"branches may not be made": {
			breaks: rules(github.Ruleset{Branches: []string{"~ALL"}, Creations: true}), exit: 6, kind: fault.Refused,
			says: []string{"writing branch dayclaude/issue-42-", "a rule of the repository refuses it (422 Repository rule violations found Cannot create ref due to creations being restricted.)"},
			hint: []string{"dayclaude/*"}, page: "a rule of the repository refuses it",
			comment: []string{"**Not published.**", "Cannot create ref due to creations being restricted", patched, "run-issue demo/shop#42"}, heals: rules(),
		},
		"commits must be signed": {
			breaks: rules(github.Ruleset{Branches: []string{"dayclaude/*"}, UnsignedCommits: true}), exit: 6, kind: fault.Refused,
			says: []string{"the repository takes signed commits only (422 Repository rule violations found Commits must have verified signatures.)"},
			hint: []string{"GitHub App"}, page: "the repository takes signed commits only",
			comment: []string{"**Not published.**", "Commits must have verified signatures", patched}, heals: rules(),
		},
		"token expires": {
			exit: 4, kind: fault.Auth, says: []string{"GitHub refused the token (401 Bad credentials)"}, hint: []string{"GITHUB_TOKEN"},
			page: "GitHub refused the token", comment: []string{"dayclaude is working on this"}, heals: renewed(),
		},
		"token loses contents: write": {
			exit: 4, kind: fault.Auth, says: []string{"uploading a file to demo/shop: " + forbids}, hint: []string{"`contents: write` on demo/shop"},
			page: "the token lacks a permission", comment: failed(patched), heals: renewed(),
		},
		"token loses pull requests: write": {
			exit: 4, kind: fault.Auth, says: []string{"opening a pull request for dayclaude/issue-42-", forbids}, hint: []string{"`pull requests: write` on demo/shop"},
			page: "the token lacks a permission", comment: failed(pushed), heals: renewed(),
		},
		"archived": {
			exit: 7, kind: fault.NotAdmitted, says: []string{"the repository is archived and takes no changes"}, hint: []string{"unarchive"},
			page: "is archived", comment: []string{"dayclaude is working on this"}, heals: settings(func(r *github.Repository) { r.Archived = false }),
		},
		"secondary rate limit": {
			exit: 1, kind: fault.Quota, says: []string{"uploading a file to demo/shop: GitHub's secondary rate limit is reached until 20"},
			page: "GitHub's secondary rate limit is reached until", comment: []string{"dayclaude is working on this"}, heals: limited(0),
		},
		"base branch deleted": {
			args: []string{"--base", "topic"}, exit: 1, kind: fault.Conflict,
			says: []string{"the base branch is gone (422 Validation Failed; base of PullRequest: invalid)"}, hint: []string{"--base"},
			page: "the base branch is gone", comment: failed(pushed), heals: branchFrom("topic"),
		},
	}
	for name, breaks := range map[string]bad{
		"token expires":                    expired(),
		"token loses contents: write":      finely("contents=read issues=write pull_requests=write"),
		"token loses pull requests: write": finely("contents=write issues=write pull_requests=read"),
		"archived":                         settings(func(r *github.Repository) { r.Archived = true }),
		"secondary rate limit":             limited(1000),
		"base branch deleted": func(t *testing.T, s *e2e.Stack, ref string) {
			if err := s.GitHub.DeleteBranch(t.Context(), repoOf(ref), "topic"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		d := rows[name]
		d.breaks, d.start = whileWorking(breaks)
		if name == "base branch deleted" {
			hold := d.breaks
			d.breaks = func(t *testing.T, s *e2e.Stack, ref string) { branchFrom("topic")(t, s, ref); hold(t, s, ref) }
		}
		rows[name] = d
	}
	for name, d := range rows {
		heals := d.heals
		d.heals = func(t *testing.T, s *e2e.Stack, ref string) {
			heals(t, s, ref)
			s.WrapModel(func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					t.Error("Claude is asked again for what was done")
					w.WriteHeader(http.StatusBadRequest)
				})
			})
		}
		rows[name] = d
	}
	days(t, lightly(rows))
}

// branchFrom makes a branch of the shop's that has a file more.
func branchFrom(branch string) bad {
	return func(t *testing.T, s *e2e.Stack, ref string) {
		t.Helper()
		if _, err := s.GitHub.Commit(t.Context(), repoOf(ref), branch, "a branch", demo.Shop()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTransferredIssue is told where the issue is, and that is not followed:
// another repository is another decision.
func TestTransferredIssue(t *testing.T) {
	s := onProcess(t, e2e.Options{Light: true})
	ref := s.Shop(github.Issue{})
	if err := s.GitHub.AddRepository(github.Repository{Owner: e2e.User, Name: "store", Files: demo.Shop()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GitHub.TransferIssue("demo/shop", 42, "demo/store"); err != nil {
		t.Fatal(err)
	}
	r := wantExit(t, s.Run("run-issue", ref, "--json"), 1)
	problem := problemOf(t, r)
	if problem.Kind != fault.NotFound || problem.Message != "reading issue demo/shop#42: it was transferred and is now demo/store#1" || problem.Hint != "`dayclaude run-issue demo/store#1`" {
		t.Errorf("told %+v", problem)
	}
	wantExit(t, s.Run("run-issue", "demo/store#1"), 0)
	s.Pull("demo/store")
	s.NoPull("demo/shop", "main")
}

// TestRenamedRepository goes on under the new name, which it tells: of a
// repository that has another name since long, and that gets one meanwhile.
func TestRenamedRepository(t *testing.T) {
	o := scripted(diligent)
	o.Light = true
	s := onProcess(t, o)
	ref := s.Shop(github.Issue{})
	rename := func(name string) bad { return settings(func(r *github.Repository) { r.Name = name }) }
	rename("store")(t, s, ref)
	hold, start := whileWorking(func(t *testing.T, s *e2e.Stack, _ string) { rename("market")(t, s, "demo/store#42") })
	hold(t, s, ref)
	c := s.Start("run-issue", ref)
	start(t, s, c)
	r := wantExit(t, c.Wait(), 0)
	holds(t, "stderr", r.Stderr, "demo/shop was moved: it is demo/store now")
	s.Pull("demo/market")
	holds(t, "the comment", s.Comment("demo/market", 42).Body, "**Opened #43**")
	wantExit(t, s.Run("run-issue", ref), 0) // the same thread's next turn
	s.Pull("demo/market")
	if n := len(s.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
}

// TestWorkflowScope lacks what a classic token takes for workflows, which
// GitHub answers with a mere 404.
func TestWorkflowScope(t *testing.T) {
	days(t, lightly(map[string]day{"classic": {
		options:    e2e.Options{Scenario: "workflow"},
		repository: small("hello", fstest.MapFS{".github/dayclaude.yml": {Data: []byte("paths: {workflows: true}\n")}}),
		exit:       4, kind: fault.Auth, says: []string{"making a tree in demo/hello: the token may not change workflows (404 Not Found)"},
		hint: []string{"needs the scope `workflow`"}, page: "the token may not change workflows",
		comment: []string{"the token may not change workflows"},
		heals:   token(func(next *github.Token) { next.Scopes = []string{"repo", "workflow"} }),
	}}))
}

// outage is GitHub going away for a while, once for each of its requests that
// write: before the request takes effect, or after.
type outage struct {
	lasts time.Duration

	mu    sync.Mutex
	at    []string // "METHOD pattern" of the path
	after bool
	until time.Time
}

func (o *outage) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		if time.Now().Before(o.until) {
			o.mu.Unlock()
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		i := slices.IndexFunc(o.at, func(pattern string) bool {
			return regexp.MustCompile("^" + pattern + "$").MatchString(r.Method + " " + r.URL.Path)
		})
		if i < 0 {
			o.mu.Unlock()
			next.ServeHTTP(w, r)
			return
		}
		o.at, o.until = slices.Delete(o.at, i, i+1), time.Now().Add(o.lasts)
		after := o.after
		o.mu.Unlock()
		if after {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		panic(http.ErrAbortHandler)
	})
}

// TestGitHubIsAway has GitHub go away at each of the run's writes.
func TestGitHubIsAway(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("took effect %t", after), func(t *testing.T) {
			t.Parallel()
			o := &outage{lasts: 1500 * time.Millisecond, after: after, at: []string{
				"GET .*/issues/42", "POST .*/issues/42/comments", "POST .*/git/blobs", "POST .*/git/trees", "POST .*/git/commits",
				"POST .*/git/refs", "POST .*/pulls", "PATCH .*/issues/comments/[0-9]+",
			}}
			all := len(o.at)
			s := e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true, GitHub: github.Options{Wrap: o.around}})
			ref := s.Shop(github.Issue{})
			r := wantExit(t, s.Run("run-issue", ref), 0)
			o.mu.Lock()
			defer o.mu.Unlock()
			if len(o.at) > 0 {
				t.Errorf("GitHub was never away at %q", o.at)
			}
			for _, said := range []string{"; trying again for 2m30s", "GitHub answers again, after "} {
				if n := strings.Count(r.Stderr, said); n != all {
					t.Errorf("%d outages are told %d times with %q:\n%s", all, n, said, r)
				}
			}
			pull, _ := wantOneOfEach(t, s)
			wantOneCommit(t, s, "demo/shop", "main", pull.Head)
		})
	}
}

// TestGitHubSlowsDown waits for as long as GitHub asks, and says so.
func TestGitHubSlowsDown(t *testing.T) {
	s := onProcess(t, e2e.Options{Light: true})
	ref := s.Shop(github.Issue{})
	s.GitHub.SecondaryLimit(2, time.Second)
	r := wantExit(t, s.Run("run-issue", ref), 0)
	holds(t, "stderr", r.Stderr, "GitHub's secondary rate limit is reached until ", "; waiting for that")
	wantOneOfEach(t, s)
}

// TestWrongAPIURL leads to where no GitHub is: the user hears of it at once.
func TestWrongAPIURL(t *testing.T) {
	s := onProcess(t, e2e.Options{Light: true})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	ref := s.Shop(github.Issue{})
	s.Env["GITHUB_API_URL"] = "http://" + host + "/"
	c := s.Start("run-issue", ref)
	c.WaitFor("GitHub at " + host + " did not answer: dial tcp " + host + ": connect: connection refused; trying again for 2m30s")
	c.Signal(syscall.SIGINT)
	r := wantExit(t, c.Wait(), 130)
	holds(t, "stderr", r.Stderr, "dayclaude: reading repository demo/shop: stopped by hand")

	s.Env["GITHUB_API_URL"] = s.GitHub.URL() + "/api/" // a server, but not its API
	r = wantExit(t, s.Run("run-issue", ref), 1)
	holds(t, "stderr", r.Stderr, "does not answer as GitHub's API does (404 Not Found)", "hint: set GITHUB_API_URL")
}

// diligent is a Claude that finds something to do at every turn.
const diligent = `
steps:
  - bash: date +%s%N >> work.txt
  - say: First turn
follow_ups:
  - - bash: date +%s%N >> work.txt
    - say: Second turn
`

// TestFollowUpMeanwhile has people change the run's branch while Claude works
// on a follow-up. Nothing of theirs is overwritten, and the next run goes on
// from what there is.
func TestFollowUpMeanwhile(t *testing.T) {
	t.Parallel()
	again := []string{"--force"} // the merge closes the issue
	for name, tt := range map[string]struct {
		change func(t *testing.T, s *e2e.Stack, pull github.Pull)
		exit   int
		says   string
		pulls  int
	}{
		"merged and deleted": {func(t *testing.T, s *e2e.Stack, pull github.Pull) {
			if err := errors.Join(s.GitHub.MergePull(t.Context(), "demo/shop", pull.Number, "ann"), s.GitHub.DeleteBranch(t.Context(), "demo/shop", pull.Head)); err != nil {
				t.Fatal(err)
			}
		}, 1, "it was deleted meanwhile", 1},
		"closed": {func(t *testing.T, s *e2e.Stack, pull github.Pull) {
			if err := s.GitHub.UpdateIssue("demo/shop", pull.Number, "ann", func(i *github.Issue) { i.Closed = true }); err != nil {
				t.Fatal(err)
			}
		}, 0, "", 2},
		"merged": {func(t *testing.T, s *e2e.Stack, pull github.Pull) {
			if err := s.GitHub.MergePull(t.Context(), "demo/shop", pull.Number, "ann"); err != nil {
				t.Fatal(err)
			}
		}, 0, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := scripted(diligent)
			o.Engine, o.Light = e2e.Process, true
			s := e2e.New(t, o)
			ref := s.Shop(github.Issue{})
			wantExit(t, s.Run("run-issue", ref), 0)
			pull := s.Pull("demo/shop")
			hold, start := whileWorking(func(t *testing.T, s *e2e.Stack, _ string) { tt.change(t, s, pull) })
			hold(t, s, ref)
			c := s.Start("run-issue", ref)
			start(t, s, c)
			r := wantExit(t, c.Wait(), tt.exit)
			holds(t, "stderr", r.Stderr, tt.says)
			if tt.exit != 0 {
				holds(t, "stderr", r.Stderr, "the changes so far: ", "hint: run it again")
				wantExit(t, s.Run(append([]string{"run-issue", ref}, again...)...), 0)
				tt.pulls++
			}
			if pulls, err := s.GitHub.Pulls("demo/shop"); err != nil || len(pulls) != tt.pulls || pulls[len(pulls)-1].Closed {
				t.Errorf("pull requests: %+v, %v; want %d, the last open", pulls, err, tt.pulls)
			}
		})
	}
}
