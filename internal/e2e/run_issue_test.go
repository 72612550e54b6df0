package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// onEngines runs a test on either engine, each with services of its own.
func onEngines(t *testing.T, o e2e.Options, test func(t *testing.T, s *e2e.Stack)) {
	t.Helper()
	t.Parallel()
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			mine := o
			mine.Engine = engine
			test(t, e2e.New(t, mine))
		})
	}
}

// onProcess runs a test on the process engine alone: for what lies outside
// the sandbox.
func onProcess(t *testing.T, o e2e.Options) *e2e.Stack {
	t.Helper()
	t.Parallel()
	o.Engine = e2e.Process
	return e2e.New(t, o)
}

// wantExit ends the test unless the command ended with the code.
func wantExit(t *testing.T, r *e2e.Result, want int) *e2e.Result {
	t.Helper()
	if r.Exit != want {
		t.Fatalf("%s: want exit code %d, got %s", strings.Join(r.Args, " "), want, r)
	}
	return r
}

// holds fails the test for each part that is not in the text.
func holds(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

// allAre reports whether there are sandboxes and all of them are in the state.
func allAre(s *e2e.Stack, state daytona.State) bool {
	all := s.Sandboxes()
	for _, sandbox := range all {
		if sandbox.State != state {
			return false
		}
	}
	return len(all) > 0
}

// small is a repository of one file, with what is given on top.
func small(name string, files fstest.MapFS) github.Repository {
	all := fstest.MapFS{"README.md": {Data: []byte("# " + name + "\n")}}
	for path, file := range files {
		all[path] = file
	}
	return github.Repository{Name: name, Files: all}
}

// wantOneCommit ends the test unless the branch is one commit ahead of base, and
// nothing of ours came with it. It returns the commit's changes, as git's raw
// diff with whole hashes left out: "M cart.sh".
func wantOneCommit(t *testing.T, s *e2e.Stack, repo, base, branch string) []string {
	t.Helper()
	if ahead := s.Git(repo, "rev-list", base+".."+branch); strings.Count(ahead, "\n") != 1 {
		t.Fatalf("%s is ahead of %s by:\n%s", branch, base, ahead)
	}
	for path := range strings.Lines(s.Git(repo, "ls-tree", "-r", "--name-only", branch)) {
		if p := strings.ToLower(path); strings.Contains(p, "claude") && !strings.HasPrefix(p, ".github/dayclaude.yml") || strings.Contains(p, "sandboxd") {
			t.Errorf("in the tree of %s: %s", branch, path)
		}
	}
	return strings.Split(strings.TrimRight(s.Git(repo, "diff", "--name-status", "--no-renames", base, branch), "\n"), "\n")
}

func TestBugFixed(t *testing.T) {
	onEngines(t, e2e.Options{}, func(t *testing.T, s *e2e.Stack) {
		ref := s.Shop(github.Issue{})
		r := wantExit(t, s.Run("run-issue", ref), 0)

		const branch = "dayclaude/issue-42-no-bulk-discount-for-exactly-ten-pieces"
		pull := s.Pull("demo/shop")
		if pull.Title != "Give the bulk discount from exactly ten pieces on" || pull.Head != branch || pull.Base != "main" || pull.Draft {
			t.Errorf("pull request: %+v", pull)
		}
		holds(t, "the pull request", pull.Body, "**What was wrong.**", "**How it was checked.**", "\nFixes #42\n",
			"**Check passed**: `bash tests/run.sh`, exit code 0", "13 passed, 0 failed", "<sub>dayclaude · $0.0", "To ask for changes")
		if r.Stdout != fmt.Sprintf("%s/demo/shop/pull/%d\n", s.GitHub.URL(), pull.Number) {
			t.Errorf("stdout: %q", r.Stdout)
		}

		if changed := wantOneCommit(t, s, "demo/shop", "main", branch); !slices.Equal(changed, []string{"M\tcart.sh"}) {
			t.Errorf("changed: %q", changed)
		}
		diff := s.Git("demo/shop", "diff", "-U0", "main", branch)
		if want := "-  if [ \"$2\" -gt \"$BULK_QUANTITY\" ]; then\n+  if [ \"$2\" -ge \"$BULK_QUANTITY\" ]; then\n"; !strings.HasSuffix(diff, want) {
			t.Errorf("diff:\n%s", diff)
		}
		message := s.Git("demo/shop", "log", "-1", "--format=%B", branch)
		holds(t, "the commit's message", message, "Fix issue #42: No bulk discount for exactly ten pieces\n", "\nDayclaude-Run: r_")

		comment := s.Comment("demo/shop", 42)
		holds(t, "the comment", comment.Body, fmt.Sprintf("**Opened #%d**: Give the bulk discount", pull.Number))
		posted, edited := 0, 0
		for _, q := range s.GitHub.Requests() {
			switch {
			case q.Method == "POST" && strings.HasSuffix(q.Path, "/comments"):
				posted++
			case q.Method == "PATCH" && strings.HasSuffix(q.Path, fmt.Sprintf("/comments/%d", comment.ID)):
				edited++
			}
		}
		if posted != 1 || edited == 0 {
			t.Errorf("comments: %d posted, %d edited", posted, edited)
		}
		if broken := s.Anthropic.Broken(); broken != nil {
			t.Errorf("Claude met what the script does not expect: %q", broken)
		}
		s.Eventually("the sandbox to stop", func() bool { return allAre(s, daytona.Stopped) })
		plainProgress(t, r.Stderr)
		runsCommands(t, s, pull)
	})
}

// plainProgress holds that each step has one line, in order.
func plainProgress(t *testing.T, stderr string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d  (.*)$`)
	var steps []string
	for _, m := range line.FindAllStringSubmatch(stderr, -1) {
		steps = append(steps, m[1])
	}
	want := []string{
		"reading demo/shop#42", "making sandbox dayclaude-", "connecting to the sandbox", "cloning demo/shop at ",
		"Claude is at work (claude-sonnet-5-5)", "checking: bash tests/run.sh", "collecting the changes",
		"holding 1 changed file against the policy", "committing to dayclaude/issue-42-", "opening the pull request", "done",
	}
	if len(steps) != len(want) {
		t.Fatalf("steps:\n%s\nwant %d", stderr, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(steps[i], want[i]) {
			t.Errorf("step %d is %q, want %q", i, steps[i], want[i])
		}
	}
	if rest := line.ReplaceAllString(stderr, ""); strings.Contains(rest, "\x1b") || strings.Count(strings.TrimSpace(rest), "\n") != 1 {
		t.Errorf("beside the steps: %q, want the pull request and the numbers", rest)
	}
}

// runsCommands holds that the store's commands show the one run.
func runsCommands(t *testing.T, s *e2e.Stack, pull github.Pull) {
	t.Helper()
	list := wantExit(t, s.Run("runs", "list"), 0).Stdout
	id := regexp.MustCompile(`r_[0-9a-z]{10}`).FindString(list)
	holds(t, "runs list", list, "RUN", "demo/shop#42", "done", fmt.Sprintf("/pull/%d\n", pull.Number))
	show := wantExit(t, s.Run("runs", "show", id), 0).Stdout
	holds(t, "runs show", show, pull.Head, pull.HeadCommit, "claude-sonnet-5-5", "harvesting", "settling")
	logs := wantExit(t, s.Run("runs", "logs", id[:6]), 0).Stdout
	holds(t, "runs logs", logs, "reading demo/shop#42", "→ Bash bash tests/run.sh", "→ Edit ", "13 passed, 0 failed", "tokens in")
	o := wantExit(t, s.Run("runs", "show", id, "--json"), 0).JSON()
	if o["run_id"] != id || o["state"] != "done" || o["commit"] != pull.HeadCommit {
		t.Errorf("runs show --json: %v", o)
	}
}

func TestNoChange(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "no-change"}, func(t *testing.T, s *e2e.Stack) {
		r := wantExit(t, s.Run("run-issue", s.Shop(github.Issue{})), 3)
		holds(t, "stdout", r.Stdout, "Nothing has to change\n", "so I left\nthe code as it is.")
		holds(t, "the comment", s.Comment("demo/shop", 42).Body, "Nothing has to change", "the documented one", "Nothing was changed.")
		s.NoPull("demo/shop", "main")
	})
}

// oddBody is as much as GitHub takes, and hostile to whoever quotes it.
func oddBody() string {
	line := "`rm -rf $HOME`; $(reboot) \"double\" 'single' \\ %s %d {{cwd}} <b>&amp;</b> größe ✓ \t end\r\n"
	return strings.Repeat(line, 60_000/len(line)) + "the very last words"
}

func TestOddIssue(t *testing.T) {
	const title = "Quotes \"double\" 'single', $(reboot) and `rm -rf .`\nand a second line"
	for name, body := range map[string]string{"60 KB": oddBody(), "empty": ""} {
		t.Run(name, func(t *testing.T) {
			onEngines(t, e2e.Options{Scenario: "leftovers"}, func(t *testing.T, s *e2e.Stack) {
				model := s.WatchModel()
				repo := small("odd", nil)
				repo.DefaultBranch = "trunk/main"
				wantExit(t, s.Run("run-issue", s.Add(repo, github.Issue{Title: title, Body: body})), 0)

				pull := s.Pull("demo/odd")
				if pull.Base != "trunk/main" || pull.Title != "Add a note" {
					t.Errorf("pull request: %+v", pull)
				}
				if want := "dayclaude/issue-1-quotes-double-single-reboot-and-rm-rf-an"; pull.Head != want && !strings.HasPrefix(want, pull.Head) {
					t.Errorf("branch %q", pull.Head)
				}
				wantOneCommit(t, s, "demo/odd", "trunk/main", pull.Head)
				message := s.Git("demo/odd", "log", "-1", "--format=%s", pull.Head)
				holds(t, "the commit's subject", message, "$(reboot)")

				prompt := model.Prompts()[0]
				holds(t, "the prompt", prompt, "Title: Quotes \"double\" 'single', $(reboot) and `rm -rf .` and a second line\n")
				if want := strings.ReplaceAll(body, "\r\n", "\n"); body != "" && !strings.Contains(prompt, want) {
					t.Errorf("the prompt of %d bytes lacks the body of %d bytes", len(prompt), len(want))
				}
				if body == "" {
					holds(t, "the prompt", prompt, "(The issue has no text besides its title.)")
				}
			})
		})
	}
}

// kindsBase is what the scenario kinds works on.
var kindsBase = fstest.MapFS{
	"kinds/crlf.txt": {Data: []byte("one\r\ntwo\r\nthree\r\n")},
	"kinds/tool.sh":  {Data: []byte("#!/bin/bash\necho tool\n")},
	"kinds/gone.txt": {Data: []byte("soon\n")},
	"kinds/kept.bin": {Data: []byte("\x00\xff\r\n\x00")},
	"kinds/run.sh":   {Data: []byte("#!/bin/bash\n"), Mode: 0o755},
}

func TestEveryKindOfFile(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "kinds"}, func(t *testing.T, s *e2e.Stack) {
		wantExit(t, s.Run("run-issue", s.Add(small("kinds", kindsBase), github.Issue{Title: "Every kind"})), 0)
		branch := s.Pull("demo/kinds").Head
		want := []string{
			"M\tkinds/crlf.txt", "A\tkinds/data.bin", "D\tkinds/gone.txt", "A\tkinds/größe ✓.txt", "A\tkinds/link.txt", "M\tkinds/tool.sh",
		}
		got := wantOneCommit(t, s, "demo/kinds", "main", branch)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("changed %q, want %q", got, want)
		}
		for path, file := range map[string]struct{ mode, content string }{
			"kinds/crlf.txt":    {"100644", "one\r\nzwei\r\nthree\r\n"},
			"kinds/tool.sh":     {"100755", "#!/bin/bash\necho tool\n"},
			"kinds/data.bin":    {"100644", "\x00\x01\x02\xff\xfe\x00binary"},
			"kinds/größe ✓.txt": {"100644", "grün\n"},
			"kinds/link.txt":    {"120000", "crlf.txt"},
			"kinds/kept.bin":    {"100644", "\x00\xff\r\n\x00"},
			"kinds/run.sh":      {"100755", "#!/bin/bash\n"},
		} {
			content, mode, err := s.GitHub.File("demo/kinds", branch, path)
			if err != nil || mode != file.mode || string(content) != file.content {
				t.Errorf("%s: mode %s, content %q, %v; want %+v", path, mode, content, err, file)
			}
		}
	})
}

func TestClaudeCommitsByItself(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "commit-itself"}, func(t *testing.T, s *e2e.Stack) {
		wantExit(t, s.Run("run-issue", s.Add(small("self", nil), github.Issue{Title: "Commit"})), 0)
		pull := s.Pull("demo/self")
		if changed := wantOneCommit(t, s, "demo/self", "main", pull.Head); !slices.Equal(changed, []string{"A\tCOMMITTED.md"}) {
			t.Errorf("changed: %q", changed)
		}
		holds(t, "the commit", s.Git("demo/self", "log", "-1", "--format=%an %s%n%b", pull.Head), "demo Fix issue #1: Commit\n", "Dayclaude-Run: ")
	})
}

func TestUntrackedAndIgnored(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "leftovers"}, func(t *testing.T, s *e2e.Stack) {
		wantExit(t, s.Run("run-issue", s.Add(small("left", nil), github.Issue{Title: "Leave"})), 0)
		changed := wantOneCommit(t, s, "demo/left", "main", s.Pull("demo/left").Head)
		if want := []string{"A\t.gitignore", "A\tnotes/leftover.txt"}; !slices.Equal(changed, want) {
			t.Errorf("changed %q, want %q", changed, want)
		}
	})
}

func TestCheckFails(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "check-fails"}, func(t *testing.T, s *e2e.Stack) {
		wantExit(t, s.Run("run-issue", s.Shop(github.Issue{})), 0)
		pull := s.Pull("demo/shop")
		holds(t, "the pull request", pull.Body, "**Check failed**: `bash tests/run.sh`, exit code 1", "not ok  broken on purpose")
		holds(t, "the comment", s.Comment("demo/shop", 42).Body, "**Check failed**")
	})
}

// TestPrivateRepository has a sandbox without a token, and with the network of
// private repositories, fetch the source through the broker.
func TestPrivateRepository(t *testing.T) {
	onEngines(t, e2e.Options{Scenario: "leftovers"}, func(t *testing.T, s *e2e.Stack) {
		repo := small("hidden", nil)
		repo.Private = true
		wantExit(t, s.Run("run-issue", s.Add(repo, github.Issue{Title: "Hidden"})), 0)
		wantOneCommit(t, s, "demo/hidden", "main", s.Pull("demo/hidden").Head)
		fetched := false
		for _, q := range s.GitHub.Requests() {
			if !strings.HasSuffix(q.Path, "/git-upload-pack") {
				continue
			}
			if fetched = true; q.Login != e2e.User || q.Status != 200 {
				t.Errorf("fetched by %q with status %d", q.Login, q.Status)
			}
		}
		if !fetched {
			t.Error("nobody fetched over git")
		}
		for name, sandbox := range s.Sandboxes() {
			if !sandbox.NetworkBlockAll && len(sandbox.Domains) == 0 {
				t.Errorf("sandbox %s has the whole network", name)
			}
		}
	})
}

// clone fetches a repository's branch for the test to work on.
func clone(t *testing.T, s *e2e.Stack, repo, branch string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")
	git(t, "", "clone", "--quiet", "--branch", branch, s.GitHub.URL()+"/"+repo+".git", dir)
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// read is a file's content, or the test fails.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// shopWith is the demo's repository with a file added or replaced.
func shopWith(t *testing.T, path, content string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(demo.Shop(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(demo.Shop(), name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		files[name] = &fstest.MapFile{Data: data, Mode: info.Mode()}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files[path] = &fstest.MapFile{Data: []byte(content)}
	return files
}
