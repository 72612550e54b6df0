package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// someone is somebody else with a key to the same Daytona.
func someone(t *testing.T, s *e2e.Stack) *daytona.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := daytona.New(daytona.Config{
		BaseURL: s.Daytona.URL(), Key: secret.New(s.Canaries["DAYTONA_API_KEY"]), HTTP: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestDaytonaDays are the days on which Daytona refuses.
func TestDaytonaDays(t *testing.T) {
	set := func(name string, value func(s *e2e.Stack) string) func(*testing.T, *e2e.Stack, string) {
		return func(_ *testing.T, s *e2e.Stack, _ string) { s.Env[name] = value(s) }
	}
	text := func(value string) func(*e2e.Stack) string { return func(*e2e.Stack) string { return value } }
	key := set("DAYTONA_API_KEY", func(s *e2e.Stack) string { return s.Canaries["DAYTONA_API_KEY"] })
	server := func(do func(*devstack.Server)) func(*testing.T, *e2e.Stack, string) {
		return func(_ *testing.T, s *e2e.Stack, _ string) { do(s.Daytona) }
	}
	snapshot := func(state, reason string, permissions ...string) func(*testing.T, *e2e.Stack, string) {
		return func(t *testing.T, s *e2e.Stack, _ string) {
			if err := s.Daytona.SetSnapshot(e2e.Snapshot, state, reason); err != nil {
				t.Fatal(err)
			}
			s.Daytona.SetPermissions(permissions...)
		}
	}
	all := []string{"write:sandboxes", "delete:sandboxes", "write:snapshots"}
	url := set("DAYTONA_API_URL", func(s *e2e.Stack) string { return s.Daytona.URL() })

	rows := map[string]day{
		"no key": {
			breaks: func(_ *testing.T, s *e2e.Stack, _ string) { delete(s.Env, "DAYTONA_API_KEY") },
			exit:   4, kind: fault.Auth, says: []string{"no Daytona key"}, hint: []string{"DAYTONA_API_KEY", "--local"},
			heals: key,
		},
		"wrong key": {
			breaks: set("DAYTONA_API_KEY", text("dtn_of-yesterday")),
			exit:   4, kind: fault.Auth, says: []string{"Daytona refused the API key", "Invalid credentials"}, hint: []string{"DAYTONA_API_KEY"},
			comment: []string{"Daytona refused the API key: Invalid credentials", "run-issue demo/shop#42"},
			heals:   key,
		},
		"a key without a permission": {
			breaks: server(func(d *devstack.Server) { d.SetPermissions("delete:sandboxes") }),
			exit:   4, kind: fault.Auth, says: []string{"Daytona denied access", "Access denied (403"}, hint: []string{"write:sandboxes and delete:sandboxes"},
			comment: []string{"Daytona denied access"},
			heals:   server(func(d *devstack.Server) { d.SetPermissions(all...) }),
		},
		"quota": {
			breaks: server(func(d *devstack.Server) { d.SetQuota(devstack.Quota{CPU: 1}) }),
			exit:   1, kind: fault.Quota, says: []string{"Total CPU limit exceeded", "Maximum allowed: 1. Consider archiving"}, hint: []string{"delete sandboxes that nobody needs"},
			comment: []string{"Total CPU limit exceeded. Maximum allowed: 1."},
			heals:   server(func(d *devstack.Server) { d.SetQuota(devstack.Quota{}) }),
		},
		"suspended organization": {
			breaks: server(func(d *devstack.Server) { d.Suspend("Depleted credits") }),
			exit:   1, kind: fault.Quota, says: []string{"Organization is suspended", "Depleted credits"}, hint: []string{"billing"},
			comment: []string{"Organization is suspended: Depleted credits"},
			heals:   server(func(d *devstack.Server) { d.Suspend("") }),
		},
		"no snapshot": {
			breaks: set("DAYCLAUDE_SNAPSHOT", text("slim:of-tomorrow")),
			exit:   1, kind: fault.NotFound, says: []string{"is not there", "the snapshot slim:of-tomorrow", "Did you add it through the Daytona Dashboard?"}, hint: []string{"docs/snapshots.md", "--snapshot"},
			comment: []string{"the snapshot slim:of-tomorrow is not there"},
			heals:   set("DAYCLAUDE_SNAPSHOT", text(e2e.Snapshot)),
		},
		"inactive snapshot that the key may not activate": {
			breaks: snapshot("inactive", "", "write:sandboxes", "delete:sandboxes"),
			exit:   4, kind: fault.Auth, says: []string{"is inactive, and the API key may not activate it"}, hint: []string{"write:snapshots"},
			comment: []string{"is inactive, and the API key may not activate it"},
			heals:   snapshot("inactive", "", all...),
		},
		"broken snapshot": {
			breaks: snapshot("error", "pull access denied", all...),
			exit:   1, kind: fault.Sandbox, says: []string{"is in state error", "pull access denied"}, hint: []string{"docs/snapshots.md", "--snapshot"},
			comment: []string{"is in state error: pull access denied"},
			heals:   snapshot("active", "", all...),
		},
		"a URL of something else": {
			breaks: func(t *testing.T, s *e2e.Stack, _ string) {
				html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					_, _ = io.WriteString(w, "<title>Welcome</title>")
				}))
				t.Cleanup(html.Close)
				s.Env["DAYTONA_API_URL"] = html.URL + "/api"
			},
			exit: 1, kind: fault.Unavailable, says: []string{"the answer is a web page", "127.0.0.1:"}, hint: []string{"DAYTONA_API_URL: it ends in /api"},
			comment: []string{"the answer is a web page"},
			heals:   url,
		},
		"a URL without /api": {
			breaks: set("DAYTONA_API_URL", func(s *e2e.Stack) string { return strings.TrimSuffix(s.Daytona.URL(), "/api") }),
			exit:   2, kind: fault.Usage, says: []string{"no Daytona API answers at", "127.0.0.1:"}, hint: []string{"DAYTONA_API_URL: it ends in /api"},
			comment: []string{"no Daytona API answers at"},
			heals:   url,
		},
		"clock skew": {
			breaks: outdated,
			exit:   1, kind: fault.Unavailable, says: []string{"certificate has expired or is not yet valid", "Daytona does not answer at"}, hint: []string{"this machine's clock"},
			comment: []string{"certificate has expired or is not yet valid"},
			heals:   url,
		},
		"a sandbox of another store": {
			breaks: func(t *testing.T, s *e2e.Stack, _ string) {
				_, err := someone(t, s).Create(t.Context(), daytona.CreateSandbox{
					Name: boxName(t, s), Labels: map[string]string{"dayclaude/store": "another", "dayclaude/made-by": "process 7 on ann-laptop"},
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			exit: 1, kind: fault.Conflict, says: []string{"another machine works on demo/shop#42", "was made by process 7 on ann-laptop at "}, hint: []string{"wait for that machine", "--new"},
			comment: []string{"was made by process 7 on ann-laptop at "}, page: "another machine works on",
			heals: func(t *testing.T, s *e2e.Stack, _ string) { deleteBox(t, s) },
		},
	}
	rows["an image without Claude Code"] = day{
		options: e2e.Options{Bare: true},
		exit:    1, kind: fault.Sandbox, says: []string{"lacks claude", "the snapshot " + e2e.Snapshot}, hint: []string{"snapshot/Dockerfile.slim"},
		comment: []string{"lacks claude"},
	}
	for name, d := range rows {
		d.options.Light = !d.options.Bare
		rows[name] = d
	}
	days(t, rows)
}

// boxName is what the sandbox of the shop's issue is called.
func boxName(t *testing.T, s *e2e.Stack) string {
	t.Helper()
	var repo struct{ ID int64 }
	request(t, http.MethodGet, s.GitHub.APIURL()+"repos/demo/shop", s.Canaries["GITHUB_TOKEN"], &repo)
	return run.SandboxName(repo.ID, 42, 1)
}

// request sends one with a token, and decodes the answer.
func request(t *testing.T, method, url, token string, into any) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %v, %s", method, url, err, resp.Status)
	}
}

// deleteBox deletes every sandbox.
func deleteBox(t *testing.T, s *e2e.Stack) {
	t.Helper()
	for _, b := range s.Sandboxes() {
		if err := someone(t, s).Delete(t.Context(), b.ID); err != nil {
			t.Error(err)
		}
	}
}

// outdated puts a Daytona whose certificate's time is over in Daytona's place.
func outdated(t *testing.T, s *e2e.Stack, _ string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(s.Dir, "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	s.Env["SSL_CERT_FILE"], s.Env["DAYTONA_API_URL"] = roots, server.URL+"/api"
}

// held starts a run on the shop's issue whose first model call waits until
// release.
func held(t *testing.T, s *e2e.Stack, args ...string) (c *e2e.Command, ref string, release func()) {
	t.Helper()
	model := s.WatchModel()
	ref = s.Shop(github.Issue{})
	release = model.Hold()
	t.Cleanup(release)
	c = s.Start(append([]string{"run-issue", ref}, args...)...)
	s.Eventually("the first call of the model", model.Waiting)
	return c, ref, release
}

// wantSolved ends the test unless the command solved the shop's issue, with one
// of everything.
func wantSolved(t *testing.T, s *e2e.Stack, r *e2e.Result) *e2e.Result {
	t.Helper()
	wantExit(t, r, 0)
	pull, comment := wantOneOfEach(t, s)
	wantOneCommit(t, s, "demo/shop", "main", pull.Head)
	holds(t, "the comment", comment.Body, "**Opened #")
	if pull.Draft {
		t.Error("the pull request is a draft")
	}
	return r
}

func light(t *testing.T, o e2e.Options) *e2e.Stack {
	t.Helper()
	o.Light = true
	return onProcess(t, o)
}

// TestSandboxHarmed has somebody, or bad luck, take the sandbox away from
// under Claude: the run goes on with it, or with another.
func TestSandboxHarmed(t *testing.T) {
	t.Parallel()
	breaks := func(recoverable bool) func(*testing.T, *e2e.Stack, string) {
		return func(t *testing.T, s *e2e.Stack, id string) {
			if err := s.Daytona.Break(id, "no space left on device", recoverable); err != nil {
				t.Error(err)
			}
		}
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, s *e2e.Stack, id string)
		says []string
		same bool // the sandbox
	}{
		"stopped": {func(t *testing.T, s *e2e.Stack, id string) {
			if err := someone(t, s).Stop(t.Context(), id); err != nil {
				t.Error(err)
			}
		}, []string{"was stopped", "starting sandbox dayclaude-"}, true},
		"deleted":     {func(t *testing.T, s *e2e.Stack, _ string) { deleteBox(t, s) }, []string{"is gone: somebody deleted it", "making sandbox dayclaude-"}, false},
		"broken":      {breaks(false), []string{"broke: no space left on device", "replacing sandbox dayclaude-"}, false},
		"recoverable": {breaks(true), []string{"recovering sandbox dayclaude-", "no space left on device"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := light(t, e2e.Options{})
			command, _, release := held(t, s)
			id := sandboxID(t, s)
			c.harm(t, s, id)
			release()
			r := wantSolved(t, s, command.Wait())
			holds(t, "the progress", r.Stderr, c.says...)
			if now := sandboxID(t, s); (now == id) != c.same {
				t.Errorf("sandbox %s, was %s", now, id)
			}
		})
	}
}

// TestSandboxGoneAtHarvest deletes the sandbox when its changes are asked for.
func TestSandboxGoneAtHarvest(t *testing.T) {
	var s *e2e.Stack
	ready := make(chan struct{})
	once := sync.OnceFunc(func() { <-ready; deleteBox(t, s) })
	s = light(t, e2e.Options{Daytona: devstack.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/changeset") {
				once()
			}
			next.ServeHTTP(w, r)
		})
	}}})
	close(ready)
	r := wantSolved(t, s, s.Run("run-issue", s.Shop(github.Issue{})))
	holds(t, "the progress", r.Stderr, "somebody deleted it", "collecting the changes")
	if n := strings.Count(r.Stderr, "Claude is at work"); n != 2 {
		t.Errorf("Claude worked %d times", n)
	}
}

// TestSandboxGoneBetween deletes the sandbox after a run: the follow-up makes
// another.
func TestSandboxGoneBetween(t *testing.T) {
	s := light(t, e2e.Options{Scenario: "leftovers"})
	ref := s.Shop(github.Issue{})
	wantExit(t, s.Run("run-issue", ref), 0)
	deleteBox(t, s)
	r := wantExit(t, s.Run("run-issue", ref), 3) // what it would do stands on the branch
	holds(t, "the progress", r.Stderr, "making sandbox dayclaude-", "cloning demo/shop at ")
	if n := len(s.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
}

// TestArchived goes on in a sandbox that was archived.
func TestArchived(t *testing.T) {
	s := light(t, e2e.Options{Daytona: devstack.Options{Delays: devstack.Delays{Restore: time.Second}}})
	ref := s.Shop(github.Issue{})
	wantExit(t, s.Run("run-issue", ref), 0)
	id := sandboxID(t, s)
	s.Eventually("the sandbox to stop", func() bool { return allAre(s, daytona.Stopped) })
	var box daytona.Sandbox
	request(t, http.MethodPost, s.Daytona.URL()+"/sandbox/"+id+"/archive", s.Canaries["DAYTONA_API_KEY"], &box)
	if _, err := someone(t, s).Wait(t.Context(), id, daytona.Archived); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GitHub.AddComment("demo/shop", 42, "ann", "Please test the other side of the limit, too."); err != nil {
		t.Fatal(err)
	}
	wantExit(t, s.Run("run-issue", ref), 0)
	if now := sandboxID(t, s); now != id {
		t.Errorf("sandbox %s, was %s", now, id)
	}
}

// TestSandboxTakenAgainAndAgain has something stop, or delete, the sandbox for
// good: the run ends with a sentence, not with a fight.
func TestSandboxTakenAgainAndAgain(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(*daytona.Client, context.Context, string) error{
		"stop": (*daytona.Client).Stop, "delete": (*daytona.Client).Delete,
	} {
		t.Run(name, func(t *testing.T) {
			s := light(t, e2e.Options{})
			model := s.WatchModel()
			release := model.Hold()
			defer release()
			ref, other := s.Shop(github.Issue{}), someone(t, s)
			c := s.Start("run-issue", ref, "--json")
			s.Eventually("the run to give up", func() bool {
				for _, b := range s.Sandboxes() {
					if b.State == daytona.Started && model.Waiting() {
						if err := take(other, t.Context(), b.ID); err != nil {
							t.Error(err)
						}
					}
				}
				return c.Ended()
			})
			r := wantExit(t, c.Wait(), 1)
			p := problemOf(t, r)
			holds(t, "the sentence", p.Message, "something keeps ending the sandbox")
			holds(t, "the hint", p.Hint, "Daytona's dashboard")
			holds(t, "the comment", s.Comment("demo/shop", 42).Body, "something keeps ending the sandbox")
			release()
			wantSolved(t, s, s.Run("run-issue", ref))
		})
	}
}

// TestSandboxLostForGood loses every sandbox in the middle of the work. What
// came to the host at intervals is published as a draft.
func TestSandboxLostForGood(t *testing.T) {
	s := light(t, scripted("steps:\n  - bash: echo begun > begun.txt\n  - bash: sleep 600\n"))
	s.Env["DAYCLAUDE_HARVEST_EVERY"] = "1s"
	ref := s.Shop(github.Issue{})
	c := s.Start("run-issue", ref, "--json")
	losses := 0
	s.Eventually("the run to give up", func() bool {
		kept, err := filepath.Glob(filepath.Join(s.StateDir(), "runs", "*", "changeset.json"))
		if losses < 3 && err == nil && len(kept) > 0 && strings.Contains(read(t, kept[0]), "begun.txt") {
			if losses++; losses <= 2 {
				if err := os.Remove(kept[0]); err != nil { // the next sandbox's is waited for
					t.Fatal(err)
				}
			}
			deleteBox(t, s)
		}
		return c.Ended()
	})
	r := wantExit(t, c.Wait(), 1)
	holds(t, "the sentence", problemOf(t, r).Message, "something keeps ending the sandbox")
	pull := s.Pull("demo/shop")
	if changed := wantOneCommit(t, s, "demo/shop", "main", pull.Head); losses != 3 || !pull.Draft || !slices.Equal(changed, []string{"A\tbegun.txt"}) {
		t.Errorf("after %d losses pull request %+v changes %q", losses, pull, changed)
	}
	holds(t, "the draft", pull.Body, "something keeps ending the sandbox")
	holds(t, "the comment", s.Comment("demo/shop", 42).Body, "something keeps ending the sandbox", fmt.Sprint("#", pull.Number))
}

// TestNoRunners waits for Daytona to have room.
func TestNoRunners(t *testing.T) {
	s := light(t, e2e.Options{})
	s.Daytona.SetRunners(false)
	c := s.Start("run-issue", s.Shop(github.Issue{}))
	c.WaitFor("No available runners (400); trying again for 15m")
	s.Daytona.SetRunners(true)
	wantSolved(t, s, c.Wait())
}

// TestSlowFirstPull is waited for, and told.
func TestSlowFirstPull(t *testing.T) {
	// Daytona holds the answer for 30 s, and what takes 15 s more is told.
	s := light(t, e2e.Options{Daytona: devstack.Options{Delays: devstack.Delays{Pull: 50 * time.Second}}})
	r := wantSolved(t, s, s.Run("run-issue", s.Shop(github.Issue{})))
	holds(t, "the progress", r.Stderr, "is pulling_snapshot; the first time that takes minutes")
}

// TestInactiveSnapshot is woken.
func TestInactiveSnapshot(t *testing.T) {
	s := light(t, e2e.Options{Daytona: devstack.Options{Delays: devstack.Delays{Pull: 500 * time.Millisecond}}})
	if err := s.Daytona.SetSnapshot(e2e.Snapshot, "inactive", ""); err != nil {
		t.Fatal(err)
	}
	r := wantSolved(t, s, s.Run("run-issue", s.Shop(github.Issue{})))
	holds(t, "the progress", r.Stderr, "was not used for long and is being activated")
}

// away is a Daytona that can be away: its API, its toolboxes and its previews
// answer with a gateway's 503, and what is under way is cut.
type away struct {
	mu   sync.Mutex
	down chan struct{} // closed when an outage begins
	up   chan struct{} // closed when it ends; nil while there is none
	at   *regexp.Regexp
	last time.Duration
	hits atomic.Int64
}

func newAway(at string, last time.Duration) *away {
	return &away{down: make(chan struct{}), at: regexp.MustCompile("^" + at + "$"), last: last}
}

func (a *away) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.at.MatchString(r.Method+" "+r.URL.Path) && a.hits.Add(1) == 1 {
			if r.Method != http.MethodGet {
				next.ServeHTTP(httptest.NewRecorder(), r) // it took effect, and the answer is lost
			}
			a.mu.Lock()
			close(a.down)
			up := make(chan struct{})
			a.up = up
			a.mu.Unlock()
			time.AfterFunc(a.last, func() {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.down, a.up = make(chan struct{}), nil
				close(up)
			})
			panic(http.ErrAbortHandler)
		}
		a.mu.Lock()
		down, out := a.down, a.up != nil
		a.mu.Unlock()
		if out {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "<html>upstream connect error</html>")
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-down:
				cancel()
			case <-stop:
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// TestDaytonaAway has Daytona go away in the middle of each step, after what
// was asked last took effect. The run waits, says so, and goes on.
func TestDaytonaAway(t *testing.T) {
	t.Parallel()
	const box = "/api/sandbox/[^/]+"
	for name, at := range map[string]string{
		"looking":    "GET " + box,
		"making":     "POST /api/sandbox",
		"claiming":   "POST /toolbox/.*/files/bulk-upload",
		"looking in": "POST /toolbox/.*/process/execute",
		"spawning":   "POST /toolbox/.*/process/session/[^/]+/exec",
		"previewing": "GET " + box + "/ports/.*",
		"greeting":   "GET /healthz",
		"tunnelling": "GET /v1/tunnel",
		"tasking":    "POST /v1/tasks",
		"working":    "GET /v1/tasks/[^/]+/events",
		"harvesting": "GET /v1/tasks/[^/]+/changeset",
		"stopping":   "POST " + box + "/stop",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAway(at, 4*time.Second)
			s := light(t, e2e.Options{Daytona: devstack.Options{Wrap: a.wrap}})
			r := wantSolved(t, s, s.Run("run-issue", s.Shop(github.Issue{})))
			if a.hits.Load() == 0 {
				t.Fatal("Daytona was never away")
			}
			holds(t, "the progress", r.Stderr, "trying again for 3m0s", "answers again, after ")
			if n := strings.Count(r.Stderr, "trying again for"); n > 2 { // Daytona, and the way through its proxy
				t.Errorf("the outage was told %d times:\n%s", n, r.Stderr)
			}
		})
	}
}

// skewed is Daytona's clock, which tests put forward.
type skewed struct{ ahead atomic.Int64 }

func (c *skewed) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *skewed) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// asleep lets Daytona find the sandbox idle.
func asleep(t *testing.T, s *e2e.Stack, clock *skewed) {
	t.Helper()
	clock.forward(16 * time.Minute)
	s.Eventually("Daytona to stop the idle sandbox", func() bool { return allAre(s, daytona.Stopped) })
}

// TestHostGone kills the host while Claude works. Nobody keeps the sandbox
// awake, so Daytona stops it; the run goes on in it when the host is back, in
// the same session.
func TestHostGone(t *testing.T) {
	t.Parallel()
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			clock := &skewed{}
			s := e2e.New(t, e2e.Options{Engine: engine, Light: engine == e2e.Process, Daytona: devstack.Options{Now: clock.now}})
			c, ref, release := held(t, s)
			id := sandboxID(t, s)
			c.Signal(syscall.SIGKILL)
			c.Wait()
			asleep(t, s, clock)
			release()
			r := wantSolved(t, s, s.Run("run-issue", ref))
			holds(t, "the progress", r.Stderr, "going on with run r_", "starting sandbox dayclaude-")
			if n := strings.Count(r.Stderr, "cloning "); n != 0 || sandboxID(t, s) != id {
				t.Errorf("the task was begun anew: %s", r)
			}
		})
	}
}

// TestHostGoneForTooLong is back when the run's time is over: what there was of
// the work is published as a draft.
func TestHostGoneForTooLong(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the shortest time limit")
	}
	clock := &skewed{}
	o := scripted("steps:\n  - bash: echo begun > begun.txt\n  - bash: sleep 600\n")
	o.Daytona.Now = clock.now
	s := light(t, o)
	const limit = time.Minute
	ref := s.Shop(github.Issue{})
	began := time.Now()
	c := s.Start("run-issue", ref, "--timeout", limit.String(), "--verbose")
	c.WaitFor("→ Bash sleep 600")
	c.Signal(syscall.SIGKILL)
	c.Wait()
	asleep(t, s, clock)
	s.Eventually("the run's time to be over", func() bool { return time.Since(began) > limit })
	r := wantExit(t, s.Run("run-issue", ref), 5)
	holds(t, "stderr", r.Stderr, "the run's time limit", "collecting the changes")
	pull, comment := wantOneOfEach(t, s)
	if changed := wantOneCommit(t, s, "demo/shop", "main", pull.Head); !pull.Draft || !slices.Equal(changed, []string{"A\tbegun.txt"}) {
		t.Errorf("pull request %+v changes %q", pull, changed)
	}
	holds(t, "the comment", comment.Body, "the run's time limit")
}

// TestHostAsleep stops the host's process, as a laptop's lid does, and wakes it
// when Daytona has long stopped the sandbox.
func TestHostAsleep(t *testing.T) {
	clock := &skewed{}
	s := light(t, e2e.Options{Daytona: devstack.Options{Now: clock.now}})
	c, _, release := held(t, s)
	id := sandboxID(t, s)
	c.Signal(syscall.SIGSTOP)
	asleep(t, s, clock)
	release()
	c.Signal(syscall.SIGCONT)
	r := wantSolved(t, s, c.Wait())
	holds(t, "the progress", r.Stderr, "starting sandbox dayclaude-")
	if now := sandboxID(t, s); now != id || strings.Count(r.Stderr, "cloning ") != 1 {
		t.Errorf("sandbox %s, was %s: %s", now, id, r)
	}
}

// TestWokenTooLate wakes a host whose run another process took over meanwhile:
// it leaves it alone.
func TestWokenTooLate(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to run out")
	}
	s := light(t, e2e.Options{})
	first, ref, release := held(t, s)
	first.Signal(syscall.SIGSTOP)
	release()
	var r *e2e.Result
	s.Eventually("the lease to run out", func() bool {
		if r = s.Run("run-issue", ref); r.Exit != 0 {
			holds(t, "stderr", r.Stderr, "has worked on it since")
		}
		return r.Exit == 0
	})
	wantSolved(t, s, r)
	requests := len(s.GitHub.Requests())
	first.Signal(syscall.SIGCONT)
	woken := wantExit(t, first.Wait(), 1)
	holds(t, "stderr", woken.Stderr, "another process took this run over")
	for _, q := range s.GitHub.Requests()[requests:] {
		if q.Method != http.MethodGet {
			t.Errorf("the one that slept sent %s %s", q.Method, q.Path)
		}
	}
	wantOneOfEach(t, s)
}

// TestTwoMachinesAtOnce lets two machines ask for the sandbox's name at the
// same moment: one gets it.
func TestTwoMachinesAtOnce(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	var asked atomic.Int64
	s := light(t, e2e.Options{Daytona: devstack.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.URL.Path == "/api/sandbox" && asked.Add(1) <= 2 {
				both.Done()
				both.Wait()
			}
			next.ServeHTTP(w, r)
		})
	}}})
	ref := s.Shop(github.Issue{})
	first := s.Start("run-issue", ref, "--dry-run")
	s.Env["XDG_STATE_HOME"] = filepath.Join(t.TempDir(), "state")
	second := s.Start("run-issue", ref, "--dry-run")
	won, lost := first.Wait(), second.Wait()
	if won.Exit != 0 {
		won, lost = lost, won
	}
	wantExit(t, won, 0)
	holds(t, "stderr", wantExit(t, lost, 1).Stderr, "another machine works on demo/shop#42")
	if n := len(s.Sandboxes()); n != 1 || asked.Load() < 2 {
		t.Errorf("%d sandboxes after %d requests", n, asked.Load())
	}
}

// TestTwoMachines has a second machine, with a store of its own, ask for the
// same issue: Daytona's lock on the name tells it who works on it.
func TestTwoMachines(t *testing.T) {
	s := light(t, e2e.Options{})
	c, ref, release := held(t, s)
	s.Env["XDG_STATE_HOME"] = filepath.Join(t.TempDir(), "state")
	r := wantExit(t, s.Run("run-issue", ref, "--dry-run"), 1)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	holds(t, "stderr", r.Stderr, " on "+host+" at ", "another machine works on demo/shop#42", "hint: wait for that machine")
	release()
	wantSolved(t, s, c.Wait())
}
