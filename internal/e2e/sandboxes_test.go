package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/run"
)

// solved is a stack on which one small issue was solved; it returns the run's
// id and the sandbox's name.
func solved(t *testing.T) (s *e2e.Stack, ref, id, name string) {
	t.Helper()
	s, ref, release := busy(t)
	release()
	id, _ = wantExit(t, s.Run("run-issue", ref, "--json"), 0).JSON()["run_id"].(string)
	for name = range s.Sandboxes() {
	}
	s.Eventually("its sandbox to stop", func() bool { return allAre(s, daytona.Stopped) })
	return s, ref, id, name
}

// array parses stdout, or fails the test unless it is exactly one array of
// objects.
func array(t *testing.T, r *e2e.Result) (list []e2e.Object) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return list
}

// TestSandboxesOfARun looks at a run's sandbox, stops and starts it, deletes
// it, and lets a follow-up make another.
func TestSandboxesOfARun(t *testing.T) {
	s, ref, id, name := solved(t)
	made := s.Sandboxes()[name]

	list := wantExit(t, s.Run("sandboxes", "list"), 0).Stdout
	head, row, _ := strings.Cut(list, "\n")
	if got := strings.Join(strings.Fields(head), " "); got != "NAME STATE ISSUE RUN AGE ACTIVE SIZE COST NEXT" {
		t.Errorf("list begins with %q", got)
	}
	holds(t, "list", row, name+"  stopped  "+ref+"  "+id, "2 CPU, 4+10 GiB", "$0.", "archived in 24 h")
	v := array(t, wantExit(t, s.Run("sandbox", "list", "--json"), 0))[0]
	next, _ := v["next"].(e2e.Object)
	if v["id"] != made.ID || v["name"] != name || v["repo"] != "demo/small" || v["issue"] != 1.0 || v["run_id"] != id || v["ours"] != true ||
		v["cpu"] != 2.0 || v["cost_usd"] == 0.0 || v["cost_usd"] == nil || next["step"] != "archives" || next["if_idle"] != false {
		t.Errorf("list --json: %v", v)
	}

	show := wantExit(t, s.Run("sandboxes", "show", name), 0).Stdout
	holds(t, "show", show, "id         "+made.ID, "state      stopped", "issue      "+ref, "network    open",
		"intervals  stopped after 15 min idle, archived after 24 h stopped, deleted after 7 d stopped",
		"label      dayclaude/issue = ", id+"  done ", "dayclaude sandboxes start "+name)
	for _, what := range []string{made.ID, id, id[:8], ref, s.GitHub.APIURL()} {
		if what == s.GitHub.APIURL() {
			what = "https://github.com/demo/small/issues/1"
		}
		if got := wantExit(t, s.Run("sandboxes", "show", what, "--json"), 0).JSON(); got["id"] != made.ID || len(got["runs"].([]any)) != 1 {
			t.Errorf("show %s: %v", what, got)
		}
	}

	for _, step := range []struct{ args, want string }{
		{"stop", name + " was already stopped\n"},
		{"start", name + " is started\n"},
		{"start", name + " was already started\n"},
		{"stop", name + " is stopped\n"},
	} {
		if got := wantExit(t, s.Run("sandboxes", step.args, ref), 0).Stdout; got != step.want {
			t.Errorf("%s: %q", step.args, got)
		}
	}
	r := wantExit(t, s.Run("sandboxes", "start", ref, "demo/none#1", id, "--json"), 1)
	if got := array(t, r); len(got) != 2 || got[0]["changed"] != true || got[1]["changed"] != false || got[1]["state"] != "started" {
		t.Errorf("start --json: %v", got)
	}
	holds(t, "its error", r.Stderr, `"error":"no run on demo/none#1: not in the store"`, `"kind":"not_found"`)
	holds(t, "show of one that runs", wantExit(t, s.Run("sandboxes", "show", ref), 0).Stdout, "stops in 15 min if idle", "dayclaude sandboxes ssh "+name)
	holds(t, "list --state", wantExit(t, s.Run("sandboxes", "list", "--state", "started,archived"), 0).Stdout, name)
	holds(t, "list --state", wantExit(t, s.Run("sandboxes", "list", "--state", "archived"), 0).Stderr, "no sandbox is in state archived")

	holds(t, "delete", wantExit(t, s.Run("sandboxes", "delete", ref), 2).Stderr, "nobody is there to be asked", "add --yes")
	if got := wantExit(t, s.Run("sandboxes", "delete", ref, "-y"), 0).Stdout; got != name+" is deleted\n" {
		t.Errorf("delete: %q", got)
	}
	for what, want := range map[string]string{ref: ref + " was already deleted\n", made.ID: made.ID + " was already deleted\n"} {
		if got := wantExit(t, s.Run("sandboxes", "delete", what, "-y"), 0).Stdout; got != want {
			t.Errorf("delete again: %q", got)
		}
	}
	holds(t, "a name that is free again", wantExit(t, s.Run("sandboxes", "delete", name, "-y"), 1).Stderr, "there is no sandbox "+name, "dayclaude sandboxes list")
	holds(t, "start of a deleted one", wantExit(t, s.Run("sandboxes", "start", ref), 1).Stderr, "the sandbox of "+ref+" was deleted", "`dayclaude run-issue "+ref+"` makes another")
	holds(t, "list", wantExit(t, s.Run("sandboxes", "list"), 0).Stderr, "no sandboxes: `dayclaude run-issue")
	if got := wantExit(t, s.Run("sandboxes", "list", "--json"), 0).Stdout; got != "[]\n" {
		t.Errorf("list --json of none: %q", got)
	}

	wantExit(t, s.Run("run-issue", ref), 3) // Claude begins anew, and finds all done
	if again := s.Sandboxes()[name]; again == nil || again.ID == made.ID {
		t.Errorf("the follow-up's sandbox: %+v", again)
	}
}

// TestSandboxAtWork leaves the sandbox of a run that goes on alone.
func TestSandboxAtWork(t *testing.T) {
	s, ref, release := busy(t)
	driver := working(t, s, ref)
	for _, args := range [][]string{{"stop", ref}, {"delete", ref, "--yes"}} {
		r := wantExit(t, s.Run(append([]string{"sandboxes"}, args...)...), 1)
		holds(t, args[0], r.Stderr, "is in use: process ", " has worked on it since ", "hint: `dayclaude runs cancel "+ref+"` ends the run")
	}
	holds(t, "list", wantExit(t, s.Run("sandboxes", "list"), 0).Stdout, " started  "+ref, "stops in 15 min if idle")
	holds(t, "show", wantExit(t, s.Run("sandboxes", "show", ref), 0).Stdout, "driven by  process ", "dayclaude runs watch r_")
	holds(t, "delete --force", wantExit(t, s.Run("sandboxes", "delete", ref, "--force", "--yes"), 0).Stdout, " is deleted\n")
	release()
	wantExit(t, driver.Wait(), 0) // it makes another
	s.Pull("demo/small")
}

// TestSandboxOfAKilledRun asks for no lease that nobody has.
func TestSandboxOfAKilledRun(t *testing.T) {
	s, ref, release := busy(t)
	c := working(t, s, ref)
	c.Signal(syscall.SIGKILL)
	c.Wait()
	holds(t, "delete", wantExit(t, s.Run("sandboxes", "delete", ref, "--yes"), 0).Stdout, " is deleted\n")
	release()
	wantExit(t, s.Run("run-issue", ref), 0)
	s.Pull("demo/small")
}

// hostile is what a server may put into a name or a label.
const hostile = "evil\x1b]0;owned\x07\x1b[2J\u202e\nname"

// TestForeignSandboxes touches what others made only after its name was typed,
// and shows it without what would steer a terminal.
func TestForeignSandboxes(t *testing.T) {
	s, ref, _, name := solved(t)
	theirs := create(t, s, daytona.CreateSandbox{
		Name: "theirs", Labels: map[string]string{run.LabelStore: "another", run.LabelMadeBy: "process 7 on elsewhere"},
	})
	create(t, s, daytona.CreateSandbox{Name: "webshop", Labels: map[string]string{"team": "shop"}})
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			evil, err := json.Marshal(hostile)
			if err != nil {
				t.Error(err)
			}
			body := bytes.ReplaceAll(answer.Body.Bytes(), []byte(`"elsewhere"`), evil)
			body = bytes.ReplaceAll(body, []byte(`"team":"shop"`), append([]byte(`"team":`), evil...))
			body = bytes.ReplaceAll(body, []byte(`"name":"webshop"`), append([]byte(`"name":`), evil...))
			for name := range answer.Header() {
				if name != "Content-Length" {
					w.Header()[name] = answer.Header()[name]
				}
			}
			w.WriteHeader(answer.Code)
			_, _ = io.Copy(w, bytes.NewReader(body))
		})
	})

	list := wantExit(t, s.Run("sandboxes", "list"), 0).Stdout
	if !strings.Contains(list, name) || strings.Contains(list, "theirs") {
		t.Errorf("list:\n%s", list)
	}
	all := wantExit(t, s.Run("sandboxes", "list", "--all"), 0).Stdout
	holds(t, "list --all", all, "this machine's", "another dayclaude's, process 7 on elsewhere", "not dayclaude's", "evil]0;owned[2J name", "–")
	steersNothing(t, all)
	if got := array(t, wantExit(t, s.Run("sandboxes", "list", "--all", "--json"), 0)); len(got) != 3 || got[0]["ours"] != false || got[0]["cost_usd"] != nil {
		t.Errorf("list --all --json: %v", got)
	}

	holds(t, "show", wantExit(t, s.Run("sandboxes", "show", theirs), 2).Stderr, "sandbox theirs was not made by this machine's dayclaude", "add --all")
	holds(t, "show --all", wantExit(t, s.Run("sandboxes", "show", theirs, "--all"), 0).Stdout, "whose      another dayclaude's, process 7 on elsewhere")
	for _, sandbox := range s.Sandboxes() {
		if sandbox.Labels["team"] != "" {
			show := wantExit(t, s.Run("sandboxes", "show", sandbox.ID, "--all"), 0).Stdout
			holds(t, "show of a hostile one", show, "evil]0;owned[2J name")
			steersNothing(t, show)
		}
	}
	holds(t, "stop", wantExit(t, s.Run("sandboxes", "stop", theirs), 2).Stderr, "was not made by this machine's")
	holds(t, "stop --all", wantExit(t, s.Run("sandboxes", "stop", theirs, "--all"), 2).Stderr, "nobody is there to type the name", "--confirm theirs")
	holds(t, "a wrong name", wantExit(t, s.Run("sandboxes", "stop", theirs, "--all", "--confirm", "their"), 2).Stderr, `"their" is not the name of sandbox theirs: nothing was done`)
	if state := s.Sandboxes()["theirs"].State; state != daytona.Started {
		t.Fatalf("it is %s", state)
	}
	wantExit(t, s.Run("sandboxes", "stop", theirs, "--all", "--confirm", "theirs"), 0)
	wantExit(t, s.Run("sandboxes", "delete", theirs, "--all", "--confirm", "theirs", "--yes"), 0)
	if s.Sandboxes()["theirs"] != nil || s.Sandboxes()[name] == nil {
		t.Errorf("sandboxes: %v", s.Sandboxes())
	}

	offered := func(args ...string) string {
		return wantExit(t, s.Run(append([]string{"__complete", "sandboxes"}, args...)...), 0).Stdout
	}
	holds(t, "completion", offered("show", ""), ref+"\tdone\n", name+"\tstopped "+ref+"\n", ":36\n")
	if got := offered("show", "--all", ""); strings.Contains(got, "evil") {
		t.Errorf("a name that can't be typed is offered: %q", got)
	}
	holds(t, "completion of a run", offered("delete", "r_"), "r_")
	if got := offered("delete", ref, "demo"); strings.Contains(got, ref) {
		t.Errorf("what is named already is offered again: %q", got)
	}
	if got := offered("preview", ref, ""); got != ":4\n" {
		t.Errorf("ports are offered: %q", got)
	}
	s.Env["DAYTONA_API_KEY"] = ""
	holds(t, "completion without a key", offered("show", ""), ref+"\tdone\n")
	holds(t, "list without a key", wantExit(t, s.Run("sandboxes", "list"), 4).Stderr, "no Daytona", "DAYTONA_API_KEY")
}

// TestBrokenSandbox tells why it broke, and has it mended if that can be.
func TestBrokenSandbox(t *testing.T) {
	s, ref, _, name := solved(t)
	broken := func(recoverable bool) {
		t.Helper()
		if err := s.Daytona.Break(name, "the disk \x1b[31mis gone", recoverable); err != nil {
			t.Fatal(err)
		}
		s.Eventually("it to be broken", func() bool { return s.Sandboxes()[name].State.Failed() })
	}
	broken(false)
	const why = "sandbox dayclaude-1002-1-1 is broken: the disk [31mis gone"
	for _, verb := range []string{"start", "stop"} {
		holds(t, verb, wantExit(t, s.Run("sandboxes", verb, ref), 1).Stderr, why, "hint: `dayclaude sandboxes delete "+name+"` deletes it; the next run makes another")
	}
	for _, args := range [][]string{{"ssh", ref}, {"preview", ref, "80"}} {
		holds(t, args[0], wantExit(t, s.Run(append([]string{"sandboxes"}, args...)...), 1).Stderr, "sandbox "+name+" is error, and must be started for that")
	}
	holds(t, "list", wantExit(t, s.Run("sandboxes", "list"), 0).Stdout, name+"  error ", "stays error")
	holds(t, "show", wantExit(t, s.Run("sandboxes", "show", ref), 0).Stdout, "problem    the disk [31mis gone", "dayclaude sandboxes delete "+name)

	wantExit(t, s.Run("sandboxes", "delete", ref, "--yes"), 0)
	wantExit(t, s.Run("run-issue", ref), 3)
	s.Eventually("its sandbox to stop", func() bool { return allAre(s, daytona.Stopped) })
	broken(true)
	holds(t, "stop", wantExit(t, s.Run("sandboxes", "stop", ref), 1).Stderr, why, "hint: `dayclaude sandboxes start "+name+"` has Daytona mend it")
	holds(t, "show", wantExit(t, s.Run("sandboxes", "show", ref), 0).Stdout, "sandboxes start "+name+" (has Daytona mend it)")
	holds(t, "start", wantExit(t, s.Run("sandboxes", "start", ref), 0).Stdout, name+" is started\n")
}

// TestSandboxBreaksAtItsStart says so, and what is left to do.
func TestSandboxBreaksAtItsStart(t *testing.T) {
	s, ref, _, name := solved(t)
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/start") {
				if err := s.Daytona.Break(name, "no machine has room for it", false); err != nil {
					t.Error(err)
				}
				s.Eventually("it to be broken", func() bool { return s.Sandboxes()[name].State.Failed() })
			}
			next.ServeHTTP(w, r)
		})
	})
	r := wantExit(t, s.Run("sandboxes", "start", ref), 1)
	holds(t, "start", r.Stderr, "dayclaude: sandbox "+name+" is broken: no machine has room for it", "hint: `dayclaude sandboxes delete "+name+"`")
}

// TestEphemeralSandbox asks before it stops what would be deleted by that.
func TestEphemeralSandbox(t *testing.T) {
	s, ref, release := busy(t)
	release()
	s.Env["DAYCLAUDE_DELETE_AFTER"] = "0"
	wantExit(t, s.Run("run-issue", ref, "--keep"), 0)
	holds(t, "list", wantExit(t, s.Run("sandboxes", "list"), 0).Stdout, "deleted in 15 min if idle")
	holds(t, "stop", wantExit(t, s.Run("sandboxes", "stop", ref), 2).Stderr, "nobody is there to be asked whether to delete sandbox")
	holds(t, "stop --yes", wantExit(t, s.Run("sandboxes", "stop", ref, "--yes"), 0).Stdout, " is deleted\n")
	if left := s.Sandboxes(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestSandboxesListOnABadDay prints what there is before the error, and keeps
// no shell waiting.
func TestSandboxesListOnABadDay(t *testing.T) {
	s, ref, _, name := solved(t)
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			_, _ = w.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte(`"nextCursor":null`), []byte(`"nextCursor":"more"`)))
		})
	})
	r := wantExit(t, s.Run("sandboxes", "list"), 4)
	holds(t, "list", r.Stdout, name)
	holds(t, "its error", r.Stderr, "Daytona denied access")
	r = wantExit(t, s.Run("sandboxes", "list", "--json"), 4)
	if got := array(t, r); len(got) != 1 || got[0]["name"] != name {
		t.Errorf("list --json: %s", r)
	}

	s.WrapDaytona(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	})
	holds(t, "completion", wantExit(t, s.Run("__complete", "sandboxes", "show", ""), 0).Stdout, ref+"\tdone\n:36\n")
}

// TestSandboxPreview opens a port of a sandbox with nothing but the URL.
func TestSandboxPreview(t *testing.T) {
	s, ref, release := busy(t)
	driver := working(t, s, ref)
	get := func(url string) int {
		t.Helper()
		c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		defer c.CloseIdleConnections()
		r, err := c.Get(strings.TrimSuffix(url, "\n") + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode
	}
	r := wantExit(t, s.Run("sandboxes", "preview", ref, "8080"), 0)
	if strings.Count(r.Stdout, "\n") != 1 || get(r.Stdout) != http.StatusOK {
		t.Errorf("preview: %s", r)
	}
	holds(t, "preview", r.Stderr, "whoever has this URL can open it until ", "(1 h)")
	v := wantExit(t, s.Run("sandboxes", "preview", ref, "8080", "--json", "--expires", "2s"), 0).JSON()
	url, _ := v["url"].(string)
	if v["port"] != 8080.0 || v["expires_at"] == nil {
		t.Errorf("preview --json: %v", v)
	}
	s.Eventually("it to expire", func() bool { return get(url) == http.StatusTemporaryRedirect })
	release()
	wantExit(t, driver.Wait(), 0)
	holds(t, "preview of a stopped one", wantExit(t, s.Run("sandboxes", "preview", ref, "8080"), 1).Stderr, "is stopped, and must be started for that")
}

// create makes a sandbox that no run made and returns its id.
func create(t *testing.T, s *e2e.Stack, asked daytona.CreateSandbox) string {
	t.Helper()
	var id string
	s.WithDaytona(func(c *daytona.Client) {
		asked.Snapshot = e2e.Snapshot
		made, err := c.Create(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		id = made.ID
	})
	return id
}

func steersNothing(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\x07\u202e") {
		t.Errorf("what would steer a terminal was printed: %q", text)
	}
}
