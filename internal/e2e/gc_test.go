package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// adds is a scenario in which Claude adds a file.
var adds = fstest.MapFS{"adds.yaml": {Data: []byte(
	"steps: [{write: {path: a.txt, content: a}}, {bash: cat a.txt, expect: a}, {say: Add a}]\n" +
		"follow_ups: [[{say: It is there}]]",
)}}

// aged is a stack on which Daytona's clock is an hour slow: whatever happens
// there, gc takes it to have happened an hour ago.
func aged(t *testing.T) *e2e.Stack {
	t.Helper()
	t.Parallel()
	o := e2e.Options{Engine: e2e.Process, Light: true, Scenario: "adds", Anthropic: anthropic.Options{Scenarios: adds}}
	o.Daytona.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	return e2e.New(t, o)
}

// issue adds a repository with one issue.
func issue(s *e2e.Stack, name string) (ref string) {
	return s.Add(small(name, nil), github.Issue{Title: "Add a"})
}

// with does something with a client of Daytona's and fails the test if that
// fails.
func with(t *testing.T, s *e2e.Stack, do func(*daytona.Client) error) {
	t.Helper()
	s.WithDaytona(func(c *daytona.Client) {
		if err := do(c); err != nil {
			t.Fatal(err)
		}
	})
}

// made makes a started sandbox by hand, with some labels.
func made(t *testing.T, s *e2e.Stack, name string, labels map[string]string) (id string) {
	t.Helper()
	return create(t, s, daytona.CreateSandbox{Name: name, Labels: labels})
}

// broken breaks a sandbox and waits until it is.
func broken(t *testing.T, s *e2e.Stack, name string) {
	t.Helper()
	if err := s.Daytona.Break(name, "no space left on device", true); err != nil {
		t.Fatal(err)
	}
	s.Eventually("the sandbox to break", func() bool { return s.Sandboxes()[name].State == daytona.Errored })
}

// ofRun runs on an issue and returns the sandbox that is then the issue's.
func ofRun(t *testing.T, s *e2e.Stack, ref string, args ...string) (sb *daytona.Sandbox) {
	t.Helper()
	if r := s.Run(append([]string{"run-issue", ref}, args...)...); r.Exit != 0 && r.Exit != 3 {
		t.Fatal(r)
	}
	id, _ := wantExit(t, s.Run("sandboxes", "show", ref, "--json"), 0).JSON()["id"].(string)
	with(t, s, func(c *daytona.Client) (err error) {
		sb, err = c.Get(t.Context(), id)
		return err
	})
	return sb
}

// deeds are what a gc --json says was done, by the sandbox's name.
func deeds(t *testing.T, r *e2e.Result) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, _ := r.JSON()["sandboxes"].([]any)
	for _, one := range list {
		v := one.(e2e.Object)
		all[v["name"].(string)] = strings.Trim(fmt.Sprint(v["do"]), "[]")
	}
	return all
}

// TestGC meets one sandbox of every kind, and another store's, which is as it
// was afterwards.
func TestGC(t *testing.T) {
	s := aged(t)
	done, old := ofRun(t, s, issue(s, "done")), ofRun(t, s, issue(s, "again"))
	ofRun(t, s, "demo/again#1", "--new")
	broke, endless := ofRun(t, s, issue(s, "broke")), ofRun(t, s, issue(s, "endless"))
	kept := ofRun(t, s, issue(s, "kept"), "--keep")
	never := 0
	with(t, s, func(c *daytona.Client) error {
		if err := c.SetIntervals(t.Context(), endless.ID, daytona.Intervals{AutoStop: &never}); err != nil {
			return err
		}
		for _, sb := range []*daytona.Sandbox{broke, endless} {
			if err := c.Start(t.Context(), sb.ID); err != nil {
				return err
			}
			if _, err := c.Wait(t.Context(), sb.ID, daytona.Started); err != nil {
				return err
			}
		}
		return nil
	})
	broken(t, s, broke.Name)

	ours := map[string]string{run.LabelStore: done.Labels[run.LabelStore]}
	replaced := maps.Clone(done.Labels)
	made(t, s, "orphan", ours)
	made(t, s, "broken-orphan", ours)
	broken(t, s, "broken-orphan")
	made(t, s, "replaced", replaced)
	// Another store's is let alone, even if it had our thread; so is what is
	// not dayclaude's at all.
	theirs := maps.Clone(done.Labels)
	theirs[run.LabelStore] = "another-store"
	made(t, s, "theirs", theirs)
	made(t, s, "their-broken", map[string]string{run.LabelStore: "another-store"})
	broken(t, s, "their-broken")
	made(t, s, "somebodys", map[string]string{"team": "web"})
	before := s.Sandboxes()

	want := map[string]string{
		old.Name: "delete", broke.Name: "delete", "orphan": "delete", "broken-orphan": "delete", "replaced": "delete",
		endless.Name: "set_auto_stop stop",
	}
	if got := deeds(t, wantExit(t, s.Run("sandboxes", "gc", "--dry-run", "--json"), 0)); !maps.Equal(got, want) {
		t.Errorf("gc --dry-run would do %v, want %v", got, want)
	}
	dry := wantExit(t, s.Run("sandbox", "gc", "-n"), 0).Stdout
	holds(t, "gc --dry-run", dry, "would be deleted: this machine's store knows no run that it belongs to\n", "  orphan\n", "  broken-orphan\n",
		"would be deleted: its issue was begun anew with --new\n  "+old.Name+"  demo/again#1\n",
		"would be set to stop after 15 idle minutes, would be stopped: it runs, and nobody works on it\n  "+endless.Name+"  demo/endless#1\n")
	if now := s.Sandboxes(); !maps.EqualFunc(now, before, alike) {
		t.Errorf("gc --dry-run changed %v\nto %v", before, now)
	}

	out := wantExit(t, s.Run("sandboxes", "gc"), 0).Stdout
	holds(t, "gc", out, "deleted: its issue has another sandbox now\n  replaced  demo/done#1\n", "deleted: it broke, and no run needs it\n  "+broke.Name+"  demo/broke#1\n")
	s.Eventually("five to be destroyed", func() bool { return len(s.Sandboxes()) == len(before)-5 })
	now := s.Sandboxes()
	for name, sb := range before {
		switch do := want[name]; {
		case do == "delete" && now[name] != nil:
			t.Errorf("%s is still %s", name, now[name].State)
		case do == "" && !alike(now[name], sb):
			t.Errorf("%s was %+v, is %+v", name, sb, now[name])
		}
	}
	if sb := now[endless.Name]; sb.State != daytona.Stopped && sb.State != daytona.Stopping || *sb.AutoStop != run.IdleMinutes {
		t.Errorf("%s is %s, stops after %d", sb.Name, sb.State, *sb.AutoStop)
	}
	if sb := now[kept.Name]; sb.State != daytona.Started {
		t.Errorf("the sandbox of a --keep run is %s", sb.State)
	}
	s.Eventually("the rest to be over", func() bool { return s.Sandboxes()[endless.Name].State == daytona.Stopped })
	quiet(t, s)
	ofRun(t, s, "demo/broke#1") // what was deleted is made anew
}

// alike reports whether nothing has happened to a sandbox.
func alike(a, b *daytona.Sandbox) bool {
	return a != nil && b != nil && a.ID == b.ID && a.State == b.State && *a.AutoStop == *b.AutoStop && a.UpdatedAt == b.UpdatedAt
}

// quiet wants gc to find nothing to do, and to say nothing.
func quiet(t *testing.T, s *e2e.Stack) {
	t.Helper()
	if r := wantExit(t, s.Run("sandboxes", "gc"), 0); r.Stdout+r.Stderr != "" {
		t.Errorf("gc with nothing to do: %s", r)
	}
}

// TestGCLeavesTheYoung has a right clock: nothing is old enough.
func TestGCLeavesTheYoung(t *testing.T) {
	s := onProcess(t, e2e.Options{Bare: true})
	r := wantExit(t, s.Run("sandboxes", "gc", "--json"), 0)
	if o := r.JSON(); o["seen"] != 0.0 || o["dry_run"] != false {
		t.Errorf("gc of nothing: %s", r)
	}
	db, err := store.Open(t.Context(), s.StateDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	made(t, s, "young", map[string]string{run.LabelStore: db.ID()})
	quiet(t, s)
	if o := wantExit(t, s.Run("sandboxes", "gc", "--json"), 0).JSON(); o["seen"] != 1.0 {
		t.Errorf("gc: %v", o)
	}
}

// TestGCBesideARun runs gc at every moment of a run: it finds nothing to do.
func TestGCBesideARun(t *testing.T) {
	s := aged(t)
	ref := issue(s, "busy")
	var moments atomic.Int32
	s.Moments(func(state run.State, m engine.Moment) {
		if state == run.Settling && m == engine.Stored {
			return // the run is over: its sandbox is like any other
		}
		moments.Add(1)
		if r := s.Run("sandboxes", "gc"); r.Exit != 0 || r.Stdout+r.Stderr != "" {
			t.Errorf("gc %s %s: %s", m, state, r)
		}
	})
	sb := ofRun(t, s, ref)
	if n := moments.Load(); n < 30 {
		t.Errorf("%d moments", n)
	}
	if all := s.Sandboxes(); len(all) != 1 || all[sb.Name] == nil {
		t.Errorf("sandboxes: %v", all)
	}
	wantOneCommit(t, s, "demo/busy", "main", s.Pull("demo/busy").Head)
}

// TestGCAfterAKill kills a run in each state, cleans up, and has the run go
// on: the work that it had is still there.
func TestGCAfterAKill(t *testing.T) {
	t.Parallel()
	for _, w := range []string{"done", "parked"} {
		for _, state := range ways[w].states {
			doom := e2e.Doom{State: state, Moment: engine.After}
			t.Run(w+"/"+doom.String(), func(t *testing.T) {
				t.Parallel()
				o := e2e.Options{Engine: e2e.Process, Light: true}
				o.Daytona.Now = func() time.Time { return time.Now().Add(-time.Hour) }
				s, hears := ways[w].stack(t, o)
				ref := issue(s, "small")
				s.Doom(doom)
				ways[w].untilKilled(t, s, ref)
				s.Doom(e2e.Doom{})
				left := s.Sandboxes()
				for name, do := range deeds(t, wantExit(t, s.Run("sandboxes", "gc", "--json"), 0)) {
					if do != "stop" || left[name].State != daytona.Started {
						t.Errorf("%s, which was %s: %s", name, left[name].State, do)
					}
				}
				ways[w].untilDone(t, s, ref)
				ways[w].wantOneOfEach(t, s)
				if calls, _ := hears.heard(); calls > ways[w].calls+1 {
					t.Errorf("%d calls of the model, want about %d", calls, ways[w].calls)
				}
			})
		}
	}
}

// TestGCBeforeAdoption kills a run when its sandbox was made, and it does not
// know which yet.
func TestGCBeforeAdoption(t *testing.T) {
	s := aged(t)
	ref := issue(s, "fresh")
	died := make(chan *e2e.Command, 1)
	var once sync.Once
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/sandbox") {
				once.Do(func() {
					c := <-died
					c.Signal(syscall.SIGKILL)
					c.Wait()
				})
			}
		})
	})
	c := s.Start("run-issue", ref)
	died <- c
	c.Wait()
	var before string
	for _, sb := range s.Sandboxes() {
		before = sb.ID
	}
	if got := deeds(t, wantExit(t, s.Run("sandboxes", "gc", "--json"), 0)); len(got) != 1 || !slices.Contains(slices.Collect(maps.Values(got)), "stop") {
		t.Errorf("gc: %v", got)
	}
	if sb := ofRun(t, s, ref); sb.ID != before {
		t.Error("the run did not go on with its sandbox")
	}
}

// orphans makes some, and returns their names.
func orphans(t *testing.T, s *e2e.Stack, n int) (names []string) {
	t.Helper()
	labels := map[string]string{run.LabelStore: ofRun(t, s, issue(s, "first")).Labels[run.LabelStore]}
	for i := range n {
		names = append(names, fmt.Sprintf("orphan-%d", i))
		made(t, s, names[i], labels)
	}
	return names
}

// gone wants only the sandbox of the first run to be there.
func gone(t *testing.T, s *e2e.Stack) {
	t.Helper()
	s.Eventually("the others to be destroyed", func() bool { return len(s.Sandboxes()) == 1 })
	quiet(t, s)
}

// TestGCTwiceAtOnce has several clean up the same things.
func TestGCTwiceAtOnce(t *testing.T) {
	s := aged(t)
	orphans(t, s, 12)
	sb := ofRun(t, s, "demo/first#1", "--new")
	for i := range 4 {
		made(t, s, fmt.Sprintf("replaced-%d", i), sb.Labels)
	}
	var all []*e2e.Command
	for range 3 {
		all = append(all, s.Start("sandboxes", "gc"))
	}
	for _, c := range all {
		if r := wantExit(t, c.Wait(), 0); r.Stderr != "" {
			t.Errorf("one of several: %s", r)
		}
	}
	// Each may have left to the other what the other was at.
	wantExit(t, s.Run("sandboxes", "gc"), 0)
	gone(t, s)
}

// atDeletion has f called at each deletion, before it comes to Daytona. If f
// answers it itself, it does not.
func atDeletion(s *e2e.Stack, f func(w http.ResponseWriter, r *http.Request) (answered bool)) {
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodDelete || !f(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	})
}

// TestGCKilled kills gc at its third deletion: the next one goes on.
func TestGCKilled(t *testing.T) {
	s := aged(t)
	orphans(t, s, 5)
	sb := ofRun(t, s, "demo/first#1", "--new")
	for i := range 5 {
		made(t, s, fmt.Sprintf("replaced-%d", i), sb.Labels)
	}
	died := make(chan *e2e.Command, 1)
	var deletions atomic.Int32
	atDeletion(s, func(http.ResponseWriter, *http.Request) bool {
		if deletions.Add(1) == 3 {
			c := <-died
			c.Signal(syscall.SIGKILL)
			c.Wait()
		}
		return false
	})
	c := s.Start("sandboxes", "gc")
	died <- c
	if r := c.Wait(); r.Exit != killed {
		t.Fatalf("it was not killed: %s", r)
	}
	if n := len(s.Sandboxes()); n < 2 {
		t.Fatalf("it left %d sandboxes", n)
	}
	wantExit(t, s.Run("sandboxes", "gc"), 0)
	gone(t, s)
}

// TestGCInterrupted presses Ctrl-C amid a deletion.
func TestGCInterrupted(t *testing.T) {
	s := aged(t)
	orphans(t, s, 3)
	deleting := make(chan struct{}, 3)
	var held atomic.Bool
	held.Store(true)
	atDeletion(s, func(_ http.ResponseWriter, r *http.Request) bool {
		if !held.Load() {
			return false
		}
		deleting <- struct{}{}
		<-r.Context().Done()
		return true
	})
	gc := s.Start("sandboxes", "gc")
	<-deleting
	gc.Signal(syscall.SIGINT)
	holds(t, "gc", wantExit(t, gc.Wait(), 130).Stderr, "dayclaude: stopped by hand: 3 of 3 sandboxes are left as they were")
	held.Store(false)
	wantExit(t, s.Run("sandboxes", "gc"), 0)
	gone(t, s)
}

// TestGCOfTwoMachines has two machines clean up at once: each takes its own.
func TestGCOfTwoMachines(t *testing.T) {
	s := aged(t)
	orphans(t, s, 4)
	first := s.Env["XDG_STATE_HOME"]
	s.Env["XDG_STATE_HOME"] = first + "-of-another"
	theirs := ofRun(t, s, issue(s, "theirs"))
	for i := range 4 {
		made(t, s, fmt.Sprintf("their-orphan-%d", i), map[string]string{run.LabelStore: theirs.Labels[run.LabelStore]})
	}
	made(t, s, "replaced", theirs.Labels)
	there := s.Start("sandboxes", "gc", "--json")
	s.Env["XDG_STATE_HOME"] = first
	here := s.Start("sandboxes", "gc", "--json")
	for name := range deeds(t, wantExit(t, here.Wait(), 0)) {
		if !strings.HasPrefix(name, "orphan-") {
			t.Errorf("the first machine touched %s", name)
		}
	}
	if got := deeds(t, wantExit(t, there.Wait(), 0)); len(got) != 5 || got["orphan-0"] != "" {
		t.Errorf("the second machine: %v", got)
	}
	s.Eventually("the others to be destroyed", func() bool { return len(s.Sandboxes()) == 2 })
}

// TestRunBesideGC begins a run on an issue while gc deletes what is left of
// the one before: the run waits for that moment.
func TestRunBesideGC(t *testing.T) {
	s := aged(t)
	sb := ofRun(t, s, issue(s, "first"))
	with(t, s, func(c *daytona.Client) error { return c.Start(t.Context(), sb.ID) })
	s.Eventually("the start", func() bool { return allAre(s, daytona.Started) })
	broken(t, s, sb.Name)
	deleting, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	atDeletion(s, func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(deleting); <-goOn })
		return false
	})
	gc := s.Start("sandboxes", "gc")
	<-deleting
	second := wantExit(t, s.Run("sandboxes", "gc"), 0)
	if second.Stdout != "" {
		t.Errorf("the second gc did what the first was at: %s", second)
	}
	// It asks GitHub for what it must know before it takes the lease.
	asked := len(s.GitHub.Requests())
	again := s.Start("run-issue", "demo/first#1")
	s.Eventually("the run to come to the lease", func() bool { return len(s.GitHub.Requests()) > asked+2 || again.Ended() })
	close(goOn)
	holds(t, "gc", wantExit(t, gc.Wait(), 0).Stdout, "deleted: it broke")
	wantExit(t, again.Wait(), 3)
	if all := s.Sandboxes(); len(all) != 1 || all[sb.Name] == nil || all[sb.Name].ID == sb.ID {
		t.Errorf("sandboxes: %v", all)
	}
}

// TestGCGoesOn meets refusals: what can be done is done, and the exit code is
// the first one's.
func TestGCGoesOn(t *testing.T) {
	s := aged(t)
	names := orphans(t, s, 4)
	bad := s.Sandboxes()[names[2]].ID
	var mended atomic.Bool
	atDeletion(s, func(w http.ResponseWriter, r *http.Request) bool {
		if mended.Load() || !strings.HasSuffix(r.URL.Path, bad) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"statusCode":403,"message":"Access denied"}`)
		return true
	})
	r := wantExit(t, s.Run("sandboxes", "gc"), 4)
	holds(t, "stderr", r.Stderr, names[2]+": delete sandbox ", "dayclaude: 1 of 4 sandboxes could not be cleaned up", "hint: the API key needs")
	if strings.Count(r.Stdout, "\n  orphan-") != 3 {
		t.Errorf("stdout: %s", r.Stdout)
	}
	r = wantExit(t, s.Run("sandboxes", "gc", "--json"), 4)
	if v := r.JSON()["sandboxes"].([]any); len(v) != 1 || !strings.Contains(fmt.Sprint(v[0].(e2e.Object)["error"]), "denied") {
		t.Errorf("gc --json: %v", v)
	}
	holds(t, "its error", r.Stderr, `"kind":"auth"`)
	mended.Store(true)
	wantExit(t, s.Run("sandboxes", "gc"), 0)
	gone(t, s)
}

// TestCleanup deletes what nobody needs, and only that.
func TestCleanup(t *testing.T) {
	s := aged(t)
	sb := ofRun(t, s, issue(s, "done"))
	made(t, s, "running", map[string]string{run.LabelStore: sb.Labels[run.LabelStore]})
	theirs := made(t, s, "theirs", map[string]string{run.LabelStore: "another-store"})
	with(t, s, func(c *daytona.Client) error { return c.Stop(t.Context(), theirs) })
	waits := issue(s, "waits")
	s.Doom(e2e.Doom{State: run.Working, Moment: engine.After})
	s.Run("run-issue", waits)
	s.Doom(e2e.Doom{})
	wantExit(t, s.Run("sandboxes", "stop", waits), 0)
	s.Eventually("the stop", func() bool { return s.Sandboxes()["theirs"].State == daytona.Stopped })

	for _, args := range []string{"--older-than 61m", "--older-than 1d", "--state error,archived"} {
		r := wantExit(t, s.Run(append([]string{"sandboxes", "cleanup"}, strings.Fields(args)...)...), 0)
		holds(t, args, r.Stderr, "nothing to clean up\n")
	}
	r := wantExit(t, s.Run("sandboxes", "cleanup", "--older-than", "59m"), 2)
	holds(t, "unasked", r.Stderr, sb.Name+"  stopped  1 h     demo/done#1  in pull request #2\n", "dayclaude: nobody is there to be asked whether to delete 1 sandbox\n", "hint: if you mean it, add --yes")
	r = wantExit(t, s.Run("sandboxes", "cleanup", "--json"), 2)
	holds(t, "unasked, with --json", r.Stderr, `"kind":"usage"`)
	if len(s.Sandboxes()) != 4 {
		t.Fatalf("sandboxes: %v", s.Sandboxes())
	}

	out := wantExit(t, s.Run("sandboxes", "cleanup", "--yes"), 0).Stdout
	if want := "deleted: no run needs it\n  " + sb.Name + "  demo/done#1\n"; out != want {
		t.Errorf("cleanup prints %q, want %q", out, want)
	}
	o := wantExit(t, s.Run("sandboxes", "cleanup", "--state", "started", "-y", "--json"), 0)
	if got := deeds(t, o); len(got) != 1 || got["running"] != "delete" {
		t.Errorf("cleanup of what runs: %v", got)
	}
	for _, args := range []string{"", "--confirm 2"} {
		r := wantExit(t, s.Run(append([]string{"sandboxes", "cleanup", "--all", "--yes"}, strings.Fields(args)...)...), 2)
		holds(t, args, r.Stderr, "theirs", "another dayclaude's")
	}
	wantExit(t, s.Run("sandboxes", "cleanup", "--all", "--confirm", "1"), 0)
	s.Eventually("all but one to be destroyed", func() bool { return len(s.Sandboxes()) == 1 })
	ofRun(t, s, waits)
}
