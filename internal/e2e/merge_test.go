package e2e_test

import (
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// list is the repository that scenario merge works on.
var list = fstest.MapFS{
	"list.txt":               {Data: []byte("one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")},
	"other.txt":              {Data: []byte("other\n")},
	".github/dayclaude.yml":  {Data: []byte("check: grep mine list.txt\n")},
	"deep/inside/README.txt": {Data: []byte("deep\n")},
}

// listWith is list with lines of list.txt replaced, and with a file changed.
func listWith(replace ...string) fstest.MapFS {
	files := fstest.MapFS{"theirs.txt": {Data: []byte("theirs\n")}}
	for name, f := range list {
		files[name] = &fstest.MapFile{Data: []byte(strings.NewReplacer(replace...).Replace(string(f.Data)))}
	}
	return files
}

// whileWorking runs the command, and does something while Claude is at work.
func whileAtWork(t *testing.T, s *e2e.Stack, do func(), args ...string) *e2e.Result {
	t.Helper()
	model := s.WatchModel()
	release := model.Hold()
	defer release()
	c := s.Start(append([]string{"run-issue"}, args...)...)
	s.Eventually("Claude to be at work", func() bool { return model.Waiting() || c.Ended() })
	do()
	release()
	return c.Wait()
}

func push(t *testing.T, s *e2e.Stack, branch string, files fstest.MapFS) (commit string) {
	t.Helper()
	commit, err := s.GitHub.Commit(t.Context(), "demo/list", branch, "Somebody else's", files)
	if err != nil {
		t.Fatal(err)
	}
	return commit
}

// wantParents fails the test unless the pull request's commit stands on these.
func wantParents(t *testing.T, s *e2e.Stack, want ...string) github.Pull {
	t.Helper()
	pull := s.Pull("demo/list")
	if got := strings.Fields(s.Git("demo/list", "rev-list", "-1", "--parents", pull.Head))[1:]; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the commit stands on %v, want %v", got, want)
	}
	return pull
}

// show is a file of a branch's.
func show(s *e2e.Stack, branch, file string) string {
	return s.Git("demo/list", "show", branch+":"+file)
}

// TestBaseMoved pushes to the base branch while Claude is at work.
func TestBaseMoved(t *testing.T) {
	t.Parallel()
	const first, both = "Note mine in the list", "Note mine beside theirs"
	for name, test := range map[string]struct {
		options  e2e.Options
		theirs   fstest.MapFS
		args     []string
		onTop    bool // the commit stands on what was pushed
		title    string
		says     []string // in the pull request and the comment
		progress string
		line     string // of list.txt
	}{
		"elsewhere": {
			e2e.Options{Light: true, Scenario: "merge"}, listWith("other", "another"), nil,
			false, first, nil, "", "two, mine\n",
		},
		"in the same file": {
			e2e.Options{Light: true, Scenario: "merge"}, listWith("eight", "nine"), nil,
			false, first, nil, "merging with main at ", "two, mine\n",
		},
		"in the same line": {
			e2e.Options{Scenario: "merge"}, listWith("two", "two, theirs"), nil,
			true, both, []string{"Claude merged this with `main` at `", "changed meanwhile in `list.txt`."}, "merging with main at ", "two, theirs\ntwo, mine\n",
		},
		"left": {
			e2e.Options{Scenario: "merge-left"}, listWith("two", "two, theirs"), nil,
			false, first, []string{"**This conflicts with `main`**, which changed meanwhile in `list.txt`:\n\n> Claude left conflicts in list.txt\n"}, "merging with main at ", "two, mine\n",
		},
		"no turn left": {
			e2e.Options{Light: true, Scenario: "merge"}, listWith("two", "two, theirs"), []string{"--max-turns", "2"},
			false, first, []string{"**This conflicts with `main`**", "> the run's limits left Claude no turn to merge"}, "merging with main at ", "two, mine\n",
		},
		"turned around": {
			e2e.Options{Light: true, Scenario: "merge"}, fstest.MapFS{"list.txt": {Data: []byte("a\n")}, "new.txt/x": {Data: []byte("a directory\n")}}, nil,
			false, first, []string{"**This conflicts with `main`**"}, "merging with main at ", "two, mine\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.options.Engine = e2e.Process
			s := e2e.New(t, test.options)
			ref := s.Add(github.Repository{Name: "list", Files: list}, github.Issue{Title: "Mine is missing"})
			base := strings.TrimSpace(s.Git("demo/list", "rev-parse", "main"))
			var pushed string
			r := wantExit(t, whileAtWork(t, s, func() { pushed = push(t, s, "main", test.theirs) }, append([]string{ref}, test.args...)...), 0)

			want := base
			if test.onTop {
				want = pushed
			}
			pull := wantParents(t, s, want)
			if pull.Title != test.title {
				t.Errorf("title %q, want %q", pull.Title, test.title)
			}
			comment := s.Comment("demo/list", 1).Body
			holds(t, "the pull request", pull.Body, append(test.says, "**Check passed**")...)
			holds(t, "the comment", comment, test.says...)
			if test.says == nil && strings.Contains(pull.Body+comment, "meanwhile") {
				t.Errorf("the pull request tells of a merge:\n%s", pull.Body)
			}
			if merged := strings.Contains(r.Stderr, "merging with"); merged != (test.progress != "") {
				t.Errorf("merged: %t\n%s", merged, r.Stderr)
			}
			if got := show(s, pull.Head, "list.txt"); !strings.Contains(got, test.line) || strings.Contains(got, "<<<") {
				t.Errorf("list.txt:\n%s", got)
			}
			if test.options.Scenario == "merge" && show(s, pull.Head, "new.txt") != "new\n" {
				t.Error("new.txt is not what Claude wrote")
			}
			if broken := s.Anthropic.Broken(); broken != nil && name != "turned around" {
				t.Errorf("Claude met what the script does not expect: %q", broken)
			}
		})
	}
}

// TestBaseMovedDocker is the conflict that Claude solves, in a container.
func TestBaseMovedDocker(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Docker, Scenario: "merge"})
	ref := s.Add(github.Repository{Name: "list", Files: list}, github.Issue{Title: "Mine is missing"})
	var pushed string
	wantExit(t, whileAtWork(t, s, func() { pushed = push(t, s, "main", listWith("two", "two, theirs")) }, ref), 0)
	pull := wantParents(t, s, pushed)
	holds(t, "list.txt", show(s, pull.Head, "list.txt"), "one\ntwo, theirs\ntwo, mine\nthree\n")
}

// TestMergeKilled kills the command line in the middle of the merge's turn.
func TestMergeKilled(t *testing.T) {
	s := onProcess(t, e2e.Options{Light: true, Scenario: "merge"})
	ref := s.Add(github.Repository{Name: "list", Files: list}, github.Issue{Title: "Mine is missing"})
	model := s.WatchModel()
	release := model.Hold()
	c := s.Start("run-issue", ref)
	s.Eventually("Claude to be at work", model.Waiting)
	pushed := push(t, s, "main", listWith("two", "two, theirs"))
	release()
	c.WaitFor("merging with main at ")
	release = model.Hold()
	s.Eventually("Claude to merge", model.Waiting)
	c.Signal(syscall.SIGKILL)
	wantExit(t, c.Wait(), 128+int(syscall.SIGKILL))
	release()
	r := wantExit(t, s.Run("run-issue", ref), 0)
	holds(t, "the progress", r.Stderr, "going on with run r_")
	pull := wantParents(t, s, pushed)
	holds(t, "list.txt", show(s, pull.Head, "list.txt"), "one\ntwo, theirs\ntwo, mine\nthree\n")
	if n := len(s.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
}

// TestMergeInterrupted presses Ctrl-C in the middle of the merge's turn: what
// there was before it is published.
func TestMergeInterrupted(t *testing.T) {
	s := onProcess(t, e2e.Options{Light: true, Scenario: "merge"})
	ref := s.Add(github.Repository{Name: "list", Files: list}, github.Issue{Title: "Mine is missing"})
	base := strings.TrimSpace(s.Git("demo/list", "rev-parse", "main"))
	model := s.WatchModel()
	release := model.Hold()
	c := s.Start("run-issue", ref)
	s.Eventually("Claude to be at work", model.Waiting)
	push(t, s, "main", listWith("two", "two, theirs"))
	release()
	c.WaitFor("merging with main at ")
	release = model.Hold()
	defer release()
	s.Eventually("Claude to merge", model.Waiting)
	c.Signal(syscall.SIGINT)
	wantExit(t, c.Wait(), 130)
	pull := wantParents(t, s, base)
	if !pull.Draft || show(s, pull.Head, "new.txt") != "new\n" {
		t.Errorf("pull request: %+v", pull)
	}
	holds(t, "the pull request", pull.Body, "**This is unfinished**", "stopped by hand", "**This may conflict with `main`**")
}

// TestBranchMoved pushes to the thread's branch, or to the base branch, while
// Claude is at work on a follow-up.
func TestBranchMoved(t *testing.T) {
	t.Parallel()
	mine := func(replace ...string) fstest.MapFS {
		files := listWith(append(replace, "two", "two, mine")...)
		files["new.txt"] = &fstest.MapFile{Data: []byte("new\n")}
		return files
	}
	const followUp = `
about: Claude makes a change, another one in the follow-up, and keeps both sides of a conflict.
steps:
  - bash: sed -i 's/^two$/two, mine/' list.txt && printf 'new\n' > new.txt && echo done
  - say: Note mine in the list
follow_ups:
  - - bash: sed -i 's/^five$/five, mine/' list.txt && echo done
    - say: Note it on line five, too
  - - bash: sed -i -e '/^<<<<<<< /d' -e '/^=======$/d' -e '/^>>>>>>> /d' list.txt && cat list.txt
    - say: Note it beside theirs
`
	const left = `
about: Claude makes a change, another one in the follow-up, and leaves conflicts.
steps:
  - bash: sed -i 's/^two$/two, mine/' list.txt && printf 'new\n' > new.txt && echo done
  - say: Note mine in the list
follow_ups:
  - - bash: sed -i 's/^five$/five, mine/' list.txt && echo done
    - say: Note it on line five, too
  - - say: I can't.
`
	for name, test := range map[string]struct {
		script string
		base   bool // main moves, not the branch
		theirs fstest.MapFS
		exit   int
		parent func(before, pushed string) []string
		lines  string
		says   string
	}{
		"elsewhere":         {followUp, false, mine("other", "another"), 0, second, "two, mine\nthree\nfour\nfive, mine\n", "This stands on `"},
		"in the same file":  {followUp, false, mine("eight", "nine"), 0, second, "five, mine\nsix\nseven\nnine\n", "This stands on `"},
		"in the same line":  {followUp, false, mine("five", "five, theirs"), 0, second, "five, theirs\nfive, mine\n", "Claude merged this with `dayclaude/issue-1-mine-is-missing` at `"},
		"left":              {left, false, mine("five", "five, theirs"), 1, nil, "five, theirs\n", ""},
		"base, elsewhere":   {followUp, true, listWith("other", "another"), 0, only, "five, mine\n", ""},
		"base, same line":   {followUp, true, listWith("two", "two, theirs"), 0, bothParents, "two, theirs\ntwo, mine\nthree\nfour\nfive, mine\n", "Claude merged this with `main` at `"},
		"base, left":        {left, true, listWith("two", "two, theirs"), 0, only, "two, mine\nthree\nfour\nfive, mine\n", "**This conflicts with `main`**"},
		"base, other lines": {followUp, true, listWith("eight", "nine"), 0, only, "five, mine\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := e2e.New(t, e2e.Options{Engine: e2e.Process, Light: true, Scenario: "s", Anthropic: anthropic.Options{Scenarios: fstest.MapFS{"s.yaml": {Data: []byte(test.script)}}}})
			ref := s.Add(github.Repository{Name: "list", Files: list}, github.Issue{Title: "Mine is missing"})
			wantExit(t, s.Run("run-issue", ref), 0)
			pull := s.Pull("demo/list")
			branch, before := pull.Head, pull.HeadCommit
			moved := branch
			if test.base {
				moved = "main"
			}
			var pushed string
			r := wantExit(t, whileAtWork(t, s, func() { pushed = push(t, s, moved, test.theirs) }, ref), test.exit)
			holds(t, "list.txt", show(s, branch, "list.txt"), test.lines)
			if test.exit != 0 {
				holds(t, "stderr", r.Stderr, "was pushed to meanwhile, and the changes conflict with that in list.txt: Claude left conflicts in list.txt",
					"hint: run the command again", "the changes so far: ")
				if head := strings.TrimSpace(s.Git("demo/list", "rev-parse", branch)); head != pushed {
					t.Errorf("the branch stands at %s, want %s", head, pushed)
				}
				return
			}
			pull = wantParents(t, s, test.parent(before, pushed)...)
			holds(t, "the pull request", pull.Body, test.says)
			if got := show(s, branch, "new.txt"); got != "new\n" {
				t.Errorf("new.txt: %q", got)
			}
			if test.says == "" && strings.Contains(pull.Body, "meanwhile") {
				t.Errorf("the pull request tells of a merge:\n%s", pull.Body)
			}
			if broken := s.Anthropic.Broken(); broken != nil {
				t.Errorf("Claude met what the script does not expect: %q", broken)
			}
		})
	}
}

// The parents that a follow-up's commit may have.
func second(_, pushed string) []string           { return []string{pushed} }
func only(before, _ string) []string             { return []string{before} }
func bothParents(before, pushed string) []string { return []string{before, pushed} }
