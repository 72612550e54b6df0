package e2e_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// wantOneOfEach ends the test unless the thread owns one sandbox, one branch, one
// pull request and one comment.
func wantOneOfEach(t *testing.T, s *e2e.Stack) (github.Pull, github.Comment) {
	t.Helper()
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}
	if branches := s.Branches("demo/shop"); len(branches) != 2 {
		t.Errorf("branches: %v", branches)
	}
	return s.Pull("demo/shop"), s.Comment("demo/shop", 42)
}

func sandboxID(t *testing.T, s *e2e.Stack) string {
	t.Helper()
	for _, sandbox := range s.Sandboxes() {
		return sandbox.ID
	}
	t.Fatal("there is no sandbox")
	return ""
}

// TestFollowUp runs twice on one issue: the second turn goes on in the same
// sandbox and session, on the same branch.
func TestFollowUp(t *testing.T) {
	onEngines(t, e2e.Options{}, func(t *testing.T, s *e2e.Stack) {
		model := s.WatchModel()
		ref := s.Shop(github.Issue{})
		wantExit(t, s.Run("run-issue", ref), 0)
		pull, comment := wantOneOfEach(t, s)
		box := sandboxID(t, s)
		if _, err := s.GitHub.AddComment("demo/shop", 42, "ann", "Please test the other side of the limit, too."); err != nil {
			t.Fatal(err)
		}

		before := len(model.Prompts())
		r := wantExit(t, s.Run("run-issue", ref), 0)
		holds(t, "the progress", r.Stderr, "starting sandbox dayclaude-")
		if now := s.Pull("demo/shop"); now.Number != pull.Number || now.Head != pull.Head || now.Title != "Test the bulk discount just above its limit, too" {
			t.Errorf("pull request: %+v, was %+v", now, pull)
		}
		if log := strings.Fields(s.Git("demo/shop", "rev-list", "main.."+pull.Head)); len(log) != 2 || log[1] != pull.HeadCommit {
			t.Errorf("commits of the branch: %q, the first was %s", log, pull.HeadCommit)
		}
		if changed := s.Git("demo/shop", "diff", "--name-status", "main", pull.Head); changed != "M\tcart.sh\nM\ttests/run.sh\n" {
			t.Errorf("changed: %q", changed)
		}
		comments, err := s.GitHub.Comments("demo/shop", 42)
		if err != nil || len(comments) != 2 || comments[0].ID != comment.ID {
			t.Errorf("comments: %+v, %v; want the one from before and the user's", comments, err)
		}
		if now := sandboxID(t, s); now != box || len(s.Sandboxes()) != 1 {
			t.Errorf("sandbox %s, was %s", now, box)
		}
		// The same session: the conversation still begins with the first prompt.
		prompts := model.Prompts()
		if len(prompts) == before || !strings.Contains(prompts[len(prompts)-1], "Solve issue #42 of demo/shop") {
			t.Errorf("the last conversation of %d calls does not begin with the first task", len(prompts))
		}
		if broken := s.Anthropic.Broken(); broken != nil {
			t.Errorf("Claude met what the script does not expect: %q", broken)
		}
	})
}

// TestNew begins an issue's second generation beside the first.
func TestNew(t *testing.T) {
	s := onProcess(t, e2e.Options{Scenario: "leftovers"})
	ref := s.Shop(github.Issue{})
	wantExit(t, s.Run("run-issue", ref), 0)
	wantExit(t, s.Run("run-issue", ref, "--new"), 0)
	pulls, err := s.GitHub.Pulls("demo/shop")
	if err != nil || len(pulls) != 2 || pulls[1].Head != pulls[0].Head+"-2" {
		t.Fatalf("pull requests: %+v, %v", pulls, err)
	}
	for _, pull := range pulls {
		wantOneCommit(t, s, "demo/shop", "main", pull.Head)
	}
	names := make([]string, 0, 2)
	for name := range s.Sandboxes() {
		names = append(names, name[len(name)-5:])
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"-42-1", "-42-2"}) {
		t.Errorf("sandboxes end with %q", names)
	}
	if comments, err := s.GitHub.Comments("demo/shop", 42); err != nil || len(comments) != 2 {
		t.Errorf("comments: %+v, %v; want one of each generation", comments, err)
	}
	// Without --new the newest generation goes on.
	wantExit(t, s.Run("run-issue", ref, "--dry-run"), 3)
	if made := s.Sandboxes(); len(made) != 2 {
		t.Errorf("sandboxes: %v", made)
	}
}

// TestTwoAtOnce starts two commands on one issue at the same moment.
func TestTwoAtOnce(t *testing.T) {
	onEngines(t, e2e.Options{}, func(t *testing.T, s *e2e.Stack) {
		model := s.WatchModel()
		release := model.Hold()
		defer release()
		ref := s.Shop(github.Issue{})
		first, second := s.Start("run-issue", ref), s.Start("run-issue", ref)
		s.Eventually("one of the two to end", func() bool { return first.Ended() || second.Ended() })
		if first.Ended() {
			first, second = second, first
		}
		loser := wantExit(t, second.Wait(), 1)
		said := regexp.MustCompile(`(?m)^dayclaude: demo/shop#42: process (\d+) on \S+ has worked on it since \d\d:\d\d:\d\d on \d+ \w+$`).FindStringSubmatch(loser.Stderr)
		if said == nil || said[1] != fmt.Sprint(first.PID()) {
			t.Errorf("the second should name process %d: %s", first.PID(), loser)
		}
		holds(t, "stderr", loser.Stderr, "hint: ")
		s.Eventually("the first call of the model", model.Waiting)
		release()
		wantExit(t, first.Wait(), 0)
		pull, _ := wantOneOfEach(t, s)
		wantOneCommit(t, s, "demo/shop", "main", pull.Head)
	})
}

// TestInterrupted presses Ctrl-C once while Claude is at work: what there is
// becomes a draft.
func TestInterrupted(t *testing.T) {
	script := "steps:\n  - write: {path: begun.txt, content: \"begun\\n\"}\n  - bash: sleep 600 & setsid sleep 600 & sleep 600\n"
	onEngines(t, scripted(script), func(t *testing.T, s *e2e.Stack) {
		ref := s.Add(small("slow", nil), github.Issue{Title: "Slow"})
		c := s.Start("run-issue", ref, "--verbose")
		c.WaitFor("→ Bash ")
		c.Signal(syscall.SIGINT)
		r := wantExit(t, c.Wait(), 130)
		holds(t, "stderr", r.Stderr, "Ctrl-C again", "dayclaude: ")
		holds(t, "the comment", s.Comment("demo/slow", 1).Body, "**Cancelled.**")
		pull := s.Pull("demo/slow")
		if !pull.Draft {
			t.Errorf("pull request: %+v", pull)
		}
		holds(t, "the draft", pull.Body, "**This is unfinished**", "> stopped by hand")
		holds(t, "stderr", r.Stderr, "/demo/slow/pull/2", "dayclaude run-issue demo/slow#1` goes on")
		s.Eventually("the sandbox to stop", func() bool { return allAre(s, daytona.Stopped) })
	})
}

// TestInterruptedTwice presses Ctrl-C again before the way out is done: the
// command leaves at once, and the next one finds everything.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var reached atomic.Bool
	hold := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/git/trees") && r.Method == http.MethodPost {
				reached.Store(true)
				select {
				case <-release:
				case <-r.Context().Done():
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
	o := scripted(`steps:
  - bash: echo half > a.txt
  - bash: "[ -e b.txt ] || { echo begun > b.txt; sleep 600; }"
  - bash: echo whole > a.txt
  - say: Add a
`)
	o.Engine, o.Light, o.GitHub.Wrap = e2e.Process, true, hold
	s := e2e.New(t, o)
	ref := s.Add(small("slow", nil), github.Issue{Title: "Slow"})
	c := s.Start("run-issue", ref, "--verbose")
	c.WaitFor("→ Bash [ -e b.txt ]")
	c.Signal(syscall.SIGINT)
	s.Eventually("the way out to reach GitHub", func() bool { return reached.Load() || c.Ended() })
	c.Signal(syscall.SIGINT)
	wantExit(t, c.Wait(), 130)
	close(release)
	if list := wantExit(t, s.Run("runs", "list"), 0).Stdout; strings.Count(list, "demo/slow#1") != 1 {
		t.Errorf("runs:\n%s", list)
	}
	r := wantExit(t, s.Run("run-issue", ref), 130) // the way out is gone to its end
	holds(t, "the progress", r.Stderr, "going on with run r_")
	if pull := s.Pull("demo/slow"); !pull.Draft {
		t.Errorf("pull request: %+v", pull)
	}
	wantExit(t, s.Run("run-issue", ref), 0)
	if pull := s.Pull("demo/slow"); pull.Draft || len(s.Sandboxes()) != 1 || len(s.Branches("demo/slow")) != 2 {
		t.Errorf("pull request %+v, sandboxes %v, branches %v", pull, s.Sandboxes(), s.Branches("demo/slow"))
	}
	s.Comment("demo/slow", 1)
}
