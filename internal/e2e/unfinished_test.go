package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// halfway is a Claude that never ends at the first prompt, and is done with the
// second.
const halfway = `
steps:
  - write: {path: progress.txt, content: "begun\n"}
  - bash: date +%s%N >> progress.txt; tail -1 progress.txt
    repeat: true
follow_ups:
  - - write: {path: done.txt, content: "done\n"}
    - say: |
        Do what was asked

        All of it is done now.
`

// TestUnfinished has a limit end the work: what there is becomes a draft, and
// the same command makes a finished pull request of it.
func TestUnfinished(t *testing.T) {
	onEngines(t, scripted(halfway), func(t *testing.T, s *e2e.Stack) {
		ref := s.Add(small("half", nil), github.Issue{Title: "Half"})
		o := wantExit(t, s.Run("run-issue", ref, "--max-turns", "3", "--json"), 5).JSON()
		pull := s.Pull("demo/half")
		if !pull.Draft || o["state"] != "limited" || o["patch_file"] != nil {
			t.Errorf("pull request %+v, result %v", pull, o)
		}
		if p, _ := o["pull_request"].(e2e.Object); p["number"] != float64(pull.Number) {
			t.Errorf("pull_request: %v", o["pull_request"])
		}
		if !strings.HasPrefix(pull.Body, "**This is unfinished**") {
			t.Errorf("the reason is not on top:\n%s", pull.Body)
		}
		holds(t, "the draft", pull.Body, "> Claude used all its 3 turns", "\nWorks on #1\n")
		holds(t, "the comment", s.Comment("demo/half", 1).Body, "**Stopped at a limit.**", "What there is stands in #2, on branch", "--max-turns", "run-issue demo/half#1")
		wantOneCommit(t, s, "demo/half", "main", pull.Head)
		holds(t, "its message", s.Git("demo/half", "log", "-1", "--format=%B", pull.Head), "Work on issue #1, unfinished: Half\n")

		wantExit(t, s.Run("run-issue", ref), 0)
		pull = s.Pull("demo/half")
		if pull.Draft || pull.Title != "Do what was asked" {
			t.Errorf("pull request: %+v", pull)
		}
		holds(t, "the pull request", pull.Body, "All of it is done now.", "\nFixes #1\n")
		holds(t, "its files", s.Git("demo/half", "ls-tree", "--name-only", pull.Head), "done.txt\n", "progress.txt\n")
		holds(t, "the comment", s.Comment("demo/half", 1).Body, "**Opened #2**")
	})
}

// TestNoDraft keeps unfinished work on this machine, as one may ask for, and
// off a pull request that people look at.
func TestNoDraft(t *testing.T) {
	t.Run("asked for", func(t *testing.T) {
		s := onProcess(t, scripted(halfway))
		ref := s.Add(small("half", nil), github.Issue{Title: "Half"})
		r := wantExit(t, s.Run("run-issue", ref, "--max-turns", "3", "--no-draft"), 5)
		_, file, _ := strings.Cut(r.Stderr, "the changes so far: ")
		file, _, _ = strings.Cut(file, "\n")
		git(t, clone(t, s, "demo/half", "main"), "apply", "--check", file)
		if dir := filepath.Dir(filepath.Dir(file)); dir != filepath.Join(s.StateDir(), "runs") {
			t.Errorf("the patch lies in %s", dir)
		}
		holds(t, "the comment", s.Comment("demo/half", 1).Body, "The patch is kept on the computer that ran this")
		s.NoPull("demo/half", "main")
	})
	t.Run("a finished pull request", func(t *testing.T) {
		s := onProcess(t, scripted(`
steps:
  - write: {path: done.txt, content: "done\n"}
  - say: Do what was asked
follow_ups:
  - - bash: date +%s%N >> half.txt; tail -1 half.txt
      repeat: true
`))
		ref := s.Add(small("half", nil), github.Issue{Title: "Half"})
		wantExit(t, s.Run("run-issue", ref), 0)
		before := s.Pull("demo/half")
		o := wantExit(t, s.Run("run-issue", ref, "--max-turns", "3", "--json"), 5).JSON()
		if after := s.Pull("demo/half"); after.HeadCommit != before.HeadCommit || after.Draft || after.Body != before.Body {
			t.Errorf("the pull request changed from %+v to %+v", before, after)
		}
		if file, _ := o["patch_file"].(string); !strings.Contains(read(t, file), "half.txt") {
			t.Errorf("result: %v", o)
		}
	})
}

// refusing lets the wrapped service refuse the requests that match, while it
// is switched on.
func refusing(on *atomic.Bool, status int, body string, match func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !on.Load() || !match(r) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
}

// TestTakenOver has GitHub refuse what was done. Once it does not, the same
// command publishes it, and Claude is not asked again.
func TestTakenOver(t *testing.T) {
	for name, match := range map[string]func(*http.Request) bool{
		"commit":       func(r *http.Request) bool { return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/git/commits") },
		"branch":       func(r *http.Request) bool { return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/git/refs") },
		"pull request": func(r *http.Request) bool { return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/half/pulls") },
	} {
		t.Run(name, func(t *testing.T) {
			var on atomic.Bool
			on.Store(true)
			o := scripted("steps:\n  - write: {path: done.txt, content: \"done\\n\"}\n  - say: Do what was asked\n")
			o.GitHub.Wrap = refusing(&on, 403, `{"message":"Resource not accessible by personal access token"}`, match)
			s := onProcess(t, o)
			model := s.WatchModel()
			ref := s.Add(small("half", nil), github.Issue{Title: "Half"})
			r := wantExit(t, s.Run("run-issue", ref, "--json"), 4)
			asked := len(model.Prompts())
			if file, _ := r.JSON()["patch_file"].(string); !strings.Contains(read(t, file), "done.txt") {
				t.Errorf("the work is not kept: %s", r)
			}
			holds(t, "the comment", s.Comment("demo/half", 1).Body, "Resource not accessible")

			on.Store(false)
			r = wantExit(t, s.Run("run-issue", ref), 0)
			holds(t, "the progress", r.Stderr, "it is taken over as it is")
			if n := len(model.Prompts()); n != asked {
				t.Errorf("the model was asked %d times more", n-asked)
			}
			pull := s.Pull("demo/half")
			wantOneCommit(t, s, "demo/half", "main", pull.Head)
			if pull.Title != "Do what was asked" || pull.Draft {
				t.Errorf("pull request: %+v", pull)
			}
		})
	}
}

// TestHarvestedMeanwhile deletes the sandbox while Claude works, and lets no
// other be made: what was brought to the host before becomes the draft.
func TestHarvestedMeanwhile(t *testing.T) {
	var on atomic.Bool
	s := onProcess(t, scripted(`
steps:
  - write: {path: done.txt, content: "some\n"}
  - bash: sleep 600
`))
	s.Env["DAYCLAUDE_HARVEST_EVERY"] = "1s"
	s.WrapDaytona(refusing(&on, 400, `{"statusCode":400,"error":"Bad Request","message":"Total CPU limit exceeded"}`,
		func(r *http.Request) bool { return r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/sandbox") }))
	ref := s.Add(small("half", nil), github.Issue{Title: "Half"})
	c := s.Start("run-issue", ref)
	s.Eventually("a harvest", func() bool {
		files, _ := filepath.Glob(filepath.Join(s.StateDir(), "runs", "r_*", "changeset.json"))
		if len(files) != 1 {
			return false
		}
		content, _ := os.ReadFile(files[0])
		return strings.Contains(string(content), "done.txt")
	})
	on.Store(true)
	s.DeleteSandboxes()
	r := wantExit(t, c.Wait(), 1)
	holds(t, "stderr", r.Stderr, "Total CPU limit exceeded")
	pull := s.Pull("demo/half")
	if !pull.Draft {
		t.Errorf("pull request: %+v", pull)
	}
	holds(t, "its files", s.Git("demo/half", "ls-tree", "--name-only", pull.Head), "done.txt\n")
}
