package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// scriptedDay are options whose model follows the script, with the light Claude.
func scriptedDay(script string) e2e.Options {
	return e2e.Options{
		Engine: e2e.Process, Light: true, Scenario: "s",
		Anthropic: anthropic.Options{Scenarios: fstest.MapFS{"s.yaml": {Data: []byte("about: A day.\nsteps:\n" + script)}}},
	}
}

const addsMine = `
  - bash: echo mine > mine.txt && echo done
    expect: done
  - say: Add mine.txt
`

// TestSandboxDays are the bad days of what is inside a sandbox.
func TestSandboxDays(t *testing.T) {
	files := func(settings string) fstest.MapFS {
		return fstest.MapFS{".github/dayclaude.yml": {Data: []byte(settings)}}
	}
	onDisk := func(size, script string) e2e.Options {
		o := scriptedDay(script)
		o.Disk = size
		return o
	}
	grows := func(_ *testing.T, s *e2e.Stack, _ string) { s.ResizeDisk("1g") }
	settings := func(content string) func(*testing.T, *e2e.Stack, string) {
		return func(t *testing.T, s *e2e.Stack, ref string) {
			if _, err := s.GitHub.Commit(t.Context(), repoOf(ref), "main", "mend", small("x", files(content)).Files); err != nil {
				t.Fatal(err)
			}
		}
	}
	large := make([]byte, 40<<20)
	rand.NewChaCha8([32]byte{}).Read(large)
	var unreadable atomic.Bool
	unreadable.Store(true)
	closed := scriptedDay(addsMine)
	closed.GitHub.Wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if unreadable.Load() && strings.HasSuffix(r.URL.Path, ".git/info/refs") {
				http.Error(w, "Repository not found.", http.StatusNotFound)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	failed := "**This did not work.**"
	days(t, map[string]day{
		"the clone fails": {
			options: closed, repository: small("closed", nil),
			exit: 1, kind: fault.Sandbox,
			says:    []string{"the repository could not be cloned", "demo/closed does not exist, or dayclaude's GitHub token may not read it (404)"},
			hint:    []string{"dayclaude runs logs"},
			comment: []string{failed, "could not be cloned"},
			heals:   func(*testing.T, *e2e.Stack, string) { unreadable.Store(false) },
		},
		"the repository is too large": {
			options: onDisk("48m", addsMine), repository: small("large", fstest.MapFS{"large.bin": {Data: large}}),
			exit: 1, kind: fault.Sandbox,
			says:    []string{"the repository does not fit on the sandbox's disk", "No space left on device"},
			hint:    []string{"--snapshot"},
			comment: []string{failed, "does not fit"},
			heals:   grows,
		},
		"set-up fails": {
			options: scriptedDay(addsMine), repository: small("setup", files("setup:\n  - echo the registry is down >&2; exit 7\n")),
			exit: 1, kind: fault.Sandbox,
			says:    []string{"the repository's set-up failed", "ended with exit code 7: the registry is down"},
			hint:    []string{"`setup:` in .github/dayclaude.yml"},
			comment: []string{failed, "the registry is down"},
			heals:   settings("setup:\n  - 'true'\n"),
		},
		"set-up fills the disk": {
			options: onDisk("64m", addsMine), repository: small("full", files("setup:\n  - head -c 200M /dev/zero >$HOME/cache\n")),
			exit: 1, kind: fault.Sandbox,
			says:    []string{"the sandbox's disk is full (setup)", "No space left on device"},
			page:    "the sandbox's disk is full",
			hint:    []string{"--snapshot"},
			comment: []string{failed, "disk is full"},
			heals:   grows,
		},
		"Claude fills the disk": {
			options: onDisk("64m", `
  - bash: echo mine > mine.txt; head -c 200M /dev/zero >$HOME/cache; kill -9 $PPID
  - say: Add mine.txt
`), repository: small("full", nil),
			exit: 1, kind: fault.Sandbox,
			says:    []string{"the sandbox's disk is full (claude)"},
			page:    "the sandbox's disk is full",
			hint:    []string{"--snapshot"},
			comment: []string{failed, "disk is full"},
			draft:   true,
		},
		"Claude is killed for ever": {
			options: scriptedDay(`
  - bash: echo mine > mine.txt; kill -9 $PPID
  - say: Add mine.txt
`), repository: small("killed", nil),
			exit: 1, kind: fault.Claude,
			says:    []string{"Claude Code was killed in the sandbox", "exit code 137"},
			hint:    []string{"memory"},
			comment: []string{failed, "was killed"},
			draft:   true,
		},
	})
}

// TestMissingParts has a repository whose parts may not be read: the run goes
// on, and says which.
func TestMissingParts(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, scriptedDay(addsMine))
	ref := s.Add(small("parts", fstest.MapFS{
		".gitattributes": {Data: []byte("*.psd filter=lfs diff=lfs merge=lfs -text\n")},
	}), github.Issue{Title: "Parts"})
	r := wantExit(t, s.Run("run-issue", ref), 0)
	page, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, "docs/troubleshooting.md", string(page), "the submodule … is missing", "files in Git LFS (…) are pointers only")
	holds(t, "the pull request", s.Pull("demo/parts").Body, "What to know of Claude's sandbox:\n\n- files in Git LFS (*.psd) are pointers only: dayclaude does not fetch what they point to\n")
	holds(t, "the comment", s.Comment("demo/parts", 1).Body, "What to know of Claude's sandbox:")
	holds(t, "the progress", r.Stderr, "note: files in Git LFS (*.psd) are pointers only")
}

// TestKilledInside kills sandboxd, or Claude, in the middle: the run goes on,
// in the same session.
func TestKilledInside(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sandboxd", "claude"} {
		for _, engine := range e2e.Engines {
			t.Run(program+"/"+engine, func(t *testing.T) {
				t.Parallel()
				o := scriptedDay(addsMine)
				o.Engine, o.Light = engine, false
				s := e2e.New(t, o)
				m := s.WatchModel()
				release := m.Hold()
				defer release()
				c := s.Start("run-issue", s.Add(small("killed", nil), github.Issue{Title: "Add mine"}))
				s.Eventually("Claude to be at work", m.Waiting)
				killInside(t, s, program)
				release()
				r := wantExit(t, c.Wait(), 0)
				if changed := wantOneCommit(t, s, "demo/killed", "main", s.Pull("demo/killed").Head); !slices.Equal(changed, []string{"A\tmine.txt"}) {
					t.Errorf("changed: %q", changed)
				}
				if n := strings.Count(r.Stderr, "Claude is at work"); program == "claude" && n != 1 {
					t.Errorf("Claude's work began %d times", n)
				}
				if n := len(s.Sandboxes()); n != 1 {
					t.Errorf("%d sandboxes", n)
				}
				// The same session: it knows that it was interrupted.
				if prompts := m.Prompts(); !strings.Contains(prompts[len(prompts)-1], "Solve issue #1 of demo/killed") {
					t.Error("the last conversation does not begin with the task")
				}
				if broken := s.Anthropic.Broken(); broken != nil {
					t.Errorf("Claude met what the script does not expect: %q", broken)
				}
			})
		}
	}
}

// killInside kills the processes of a name in the only sandbox.
func killInside(t *testing.T, s *e2e.Stack, name string) {
	t.Helper()
	d, sandbox := someone(t, s), (*client.Sandbox)(nil)
	for _, sandbox = range s.Sandboxes() {
	}
	line := fmt.Sprintf(`for p in /proc/[0-9]*; do
		if [ -O $p ] && [ "$(cat $p/comm)" = %s ]; then kill -9 ${p#/proc/} && echo killed; fi
	done 2>/dev/null`, name)
	said, err := d.Toolbox(sandbox).Execute(t.Context(), client.Command{Line: line})
	if err != nil || !strings.Contains(said.Output, "killed") {
		t.Fatalf("no %s was killed: %+v, %v", name, said, err)
	}
}
