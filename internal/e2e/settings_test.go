package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// scripted makes the Messages API follow one script.
func scripted(script string) e2e.Options {
	return e2e.Options{
		Scenario:  "script",
		Anthropic: anthropic.Options{Scenarios: fstest.MapFS{"script.yaml": {Data: []byte(script)}}},
	}
}

func TestRepositorySettings(t *testing.T) {
	o := scripted(`
steps:
  - bash: |
      url=$(git remote get-url origin)
      git clone -q "${url%/demo/settled*}/demo/library.git" "$HOME/library"
      git clone -q "${url%/demo/settled*}/demo/other.git" "$HOME/other" || echo other is closed
      printf '%s %s %s\n' "$GREETING" "$(cat "$HOME/made-by-setup")" "$(cat "$HOME/library/README.md")" > src/out.txt
      cat src/out.txt
    expect: other is closed
  - say: Greet the library
`)
	onEngines(t, o, func(t *testing.T, s *e2e.Stack) {
		model := s.WatchModel()
		for _, name := range []string{"library", "other"} {
			private := small(name, nil)
			private.Private = true
			s.Add(private, github.Issue{Title: "none"})
		}
		ref := s.Add(small("settled", fstest.MapFS{
			"src/in.txt": {Data: []byte("in\n")},
			".github/dayclaude.yml": {Data: []byte(`
setup:
  - echo "$GREETING from setup" > "$HOME/made-by-setup"
  - test -s "$HOME/made-by-setup"
check: grep -c library src/out.txt && echo "$GREETING from check"
env: {GREETING: servus}
instructions: Always greet in Bavarian.
network: none
limits: {max_turns: 7, max_cost: 0.75, timeout: 11m}
read: [demo/library]
paths: {allow: ["src/**"]}
`)},
		}), github.Issue{Title: "Greet"})
		release := model.Hold()
		defer release()
		c := s.Start("run-issue", ref, "--instructions", "And be brief.")
		s.Eventually("the first call of the model", model.Waiting)
		holds(t, "the working comment", s.Comment("demo/settled", 1).Body,
			"dayclaude is working on this", "at most 7 turns", "at most $0.75", "at most 11m0s")
		for name, sandbox := range s.Sandboxes() {
			if !sandbox.NetworkBlockAll {
				t.Errorf("sandbox %s has a network", name)
			}
		}
		release()
		r := wantExit(t, c.Wait(), 0)
		holds(t, "the progress", r.Stderr, "setting up: ", "checking: grep -c library")

		holds(t, "the prompt", model.Prompts()[0], "Always greet in Bavarian.", "And be brief.", "grep -c library src/out.txt")
		pull := s.Pull("demo/settled")
		holds(t, "the pull request", pull.Body, "**Check passed**", "1\nservus from check")
		if changed := wantOneCommit(t, s, "demo/settled", "main", pull.Head); !slices.Equal(changed, []string{"A\tsrc/out.txt"}) {
			t.Errorf("changed: %q", changed)
		}
		content, _, err := s.GitHub.File("demo/settled", pull.Head, "src/out.txt")
		if err != nil || string(content) != "servus servus from setup # library\n" {
			t.Errorf("src/out.txt: %q, %v", content, err)
		}
	})
}

func TestUnknownKeyInRepositorySettings(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	repo := github.Repository{Name: "shop", Files: shopWith(t, ".github/dayclaude.yml", "check: bash tests/run.sh\n\nchek: x\n")}
	ref := s.Add(repo, github.Issue{Title: "No bulk discount for exactly ten pieces"})
	r := wantExit(t, s.Run("run-issue", ref), 2)
	sentence := `.github/dayclaude.yml on the default branch: line 3: unknown key chek`
	holds(t, "stderr", r.Stderr, "dayclaude: "+sentence+"\n", "hint: mend the file; docs/repository-settings.md lists its keys\n")
	first := s.Comment("demo/shop", 1)
	holds(t, "the comment", first.Body, "This did not work", "line 3: unknown key", "docs/repository-settings.md")
	if made := s.Sandboxes(); len(made) != 0 {
		t.Errorf("sandboxes were made: %v", made)
	}

	// Mended, the same command works, and the same comment tells it.
	if _, err := s.GitHub.Commit(t.Context(), "demo/shop", "main", "Mend", shopWith(t, ".github/dayclaude.yml", "check: bash tests/run.sh\n")); err != nil {
		t.Fatal(err)
	}
	wantExit(t, s.Run("run-issue", ref), 0)
	if now := s.Comment("demo/shop", 1); now.ID != first.ID || !strings.Contains(now.Body, "**Opened #") {
		t.Errorf("the comment: %+v", now)
	}
}

func TestDryRun(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "kinds"}, func(t *testing.T, s *e2e.Stack) {
		ref := s.Add(small("kinds", kindsBase), github.Issue{Title: "Every kind"})
		r := wantExit(t, s.Run("run-issue", ref, "--dry-run"), 0)
		for _, q := range s.GitHub.Requests() {
			if q.Login == e2e.User && q.Method != "GET" && !strings.HasSuffix(q.Path, "/git-upload-pack") {
				t.Errorf("wrote to GitHub: %s %s", q.Method, q.Path)
			}
		}
		s.NoPull("demo/kinds", "main")

		dir := clone(t, s, "demo/kinds", "main")
		patch := filepath.Join(t.TempDir(), "patch")
		if err := os.WriteFile(patch, []byte(r.Stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, dir, "apply", "--whitespace=nowarn", "--index", patch)
		status := git(t, dir, "-c", "core.quotePath=false", "status", "--porcelain")
		if want := "M  kinds/crlf.txt\nA  kinds/data.bin\nD  kinds/gone.txt\nA  \"kinds/größe ✓.txt\"\nA  kinds/link.txt\nM  kinds/tool.sh\n"; status != want {
			t.Errorf("after git apply:\n%swant:\n%s", status, want)
		}
		if got := read(t, filepath.Join(dir, "kinds/crlf.txt")); got != "one\r\nzwei\r\nthree\r\n" {
			t.Errorf("kinds/crlf.txt: %q", got)
		}
		if got := read(t, filepath.Join(dir, "kinds/data.bin")); got != "\x00\x01\x02\xff\xfe\x00binary" {
			t.Errorf("kinds/data.bin: %q", got)
		}
	})
}

func TestDraftBaseAndKeep(t *testing.T) {
	s := onProcess(t, e2e.Options{Scenario: "leftovers"})
	ref := s.Add(small("flags", nil), github.Issue{Title: "Flags"})
	head, err := s.GitHub.Commit(t.Context(), "demo/flags", "release/1", "Release", fstest.MapFS{"RELEASE": {Data: []byte("1\n")}})
	if err != nil {
		t.Fatal(err)
	}
	wantExit(t, s.Run("run-issue", ref, "--draft", "--base", "release/1", "--keep"), 0)
	pull := s.Pull("demo/flags")
	if !pull.Draft || pull.Base != "release/1" {
		t.Errorf("pull request: %+v", pull)
	}
	if parent := strings.TrimSpace(s.Git("demo/flags", "rev-parse", pull.Head+"^")); parent != head {
		t.Errorf("the commit stands on %s, want %s", parent, head)
	}
	for name, sandbox := range s.Sandboxes() {
		if sandbox.State != "started" {
			t.Errorf("sandbox %s is %s, not kept running", name, sandbox.State)
		}
	}
}

// TestSettingsInOrder has each source overrule the one below it.
func TestSettingsInOrder(t *testing.T) {
	s := onProcess(t, e2e.Options{Scenario: "no-change"})
	model := s.WatchModel()
	ref := s.Shop(github.Issue{})
	config := filepath.Join(s.Env["XDG_CONFIG_HOME"], "dayclaude")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(config, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Env["DAYCLAUDE_INSTRUCTIONS"] = "from the environment"
	write("instructions: from the file\nmodel: claude-haiku-5-5\nmax_turns: 9\n")
	r := wantExit(t, s.Run("run-issue", ref, "--dry-run"), 3)
	holds(t, "the progress", r.Stderr, "Claude is at work (claude-haiku-5-5)")
	holds(t, "the prompt", model.Prompts()[0], "from the environment")
	if last := s.Anthropic.Requests(); last[len(last)-1].Model != "claude-haiku-5-5" {
		t.Errorf("the model was asked as %s", last[len(last)-1].Model)
	}

	write("modle: x\n")
	r = wantExit(t, s.Run("run-issue", ref), 2)
	holds(t, "stderr", r.Stderr, fmt.Sprintf("dayclaude: %s/config.yaml: line 1: unknown key", config), "hint: docs/settings.md")
}
