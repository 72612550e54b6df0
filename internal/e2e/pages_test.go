package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// TestSandboxesPage runs what docs/sandboxes.md shows, in its order, and holds
// the page to what is printed. UPDATE_GOLDEN=1 writes that into the page.
func TestSandboxesPage(t *testing.T) {
	clock := &shifted{}
	var o e2e.Options
	o.Light, o.Daytona.Now = true, clock.now
	s := onProcess(t, o)
	s.Shop(github.Issue{})
	create(t, s, daytona.CreateSandbox{
		Name: "dayclaude-2040-7-1", Labels: map[string]string{run.LabelStore: "another", run.LabelMadeBy: "process 3120 on build-2"},
	})
	playPage(t, s, "../../docs/sandboxes.md", map[string]func(){
		"dayclaude sandboxes list": func() {
			s.Eventually("the run's sandbox to be stopped", func() bool { return s.Sandboxes()["dayclaude-1002-42-1"].State == daytona.Stopped })
		},
		"# two sandboxes are left that no run knows": func() { leftovers(t, s, clock) },
	})
}

// leftovers makes two sandboxes that no run knows, one of three days ago and
// one of an hour ago.
func leftovers(t *testing.T, s *e2e.Stack, clock *shifted) {
	t.Helper()
	db, err := store.Open(t.Context(), s.StateDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	never := 0
	for name, ago := range map[string]time.Duration{"dayclaude-1002-17-1": 72 * time.Hour, "dayclaude-1002-23-1": time.Hour} {
		clock.forward(-ago)
		id := create(t, s, daytona.CreateSandbox{Name: name, Labels: map[string]string{run.LabelStore: db.ID()}, AutoStop: &never})
		if ago > time.Hour {
			with(t, s, func(c *daytona.Client) error {
				if err := c.Stop(t.Context(), id); err != nil {
					return err
				}
				_, err := c.Wait(t.Context(), id, daytona.Stopped)
				return err
			})
		}
		clock.forward(ago)
	}
}

// consoleBlock is a block of a page that shows a terminal.
var consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// playPage runs the lines of a page's console blocks that begin with "$ ", each
// in a shell in which dayclaude is the command line, and compares what they
// print with the lines below. Before a line that is in before, that is called.
func playPage(t *testing.T, s *e2e.Stack, path string, before map[string]func()) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sh := newPageShell(t, s)
	same := true
	played := consoleBlock.ReplaceAllStringFunc(string(page), func(block string) string {
		var now strings.Builder
		for said := range strings.SplitSeq(consoleBlock.FindStringSubmatch(block)[1], "\n$ ") {
			line, want, _ := strings.Cut(strings.TrimPrefix(said, "$ "), "\n")
			if happen := before[line]; happen != nil {
				happen()
			}
			got := sh.run(line)
			if normal(strings.TrimSuffix(want, "\n")) != normal(got) {
				same = false
				t.Logf("%s shows other than what is printed now (UPDATE_GOLDEN=1 mends it):\n$ %s\n%s", path, line, got)
			}
			fmt.Fprintf(&now, "$ %s\n", line)
			if got != "" {
				fmt.Fprintln(&now, got)
			}
		}
		return "```console\n" + now.String() + "```"
	})
	switch {
	case same:
	case os.Getenv("UPDATE_GOLDEN") == "":
		t.Fail()
	default:
		if err := os.WriteFile(path, []byte(played), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// pageShell runs one line after the other, as on a terminal of its own, as
// somebody would who takes a breath before each.
type pageShell struct {
	t    *testing.T
	s    *e2e.Stack
	env  []string
	home string
	last int // exit code
}

// newPageShell makes a shell that finds the command line as dayclaude.
func newPageShell(t *testing.T, s *e2e.Stack) *pageShell {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(s.Dir, ".bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "dayclaude")); err != nil {
		t.Fatal(err)
	}
	s.Env["PATH"] = bin + ":" + s.Env["PATH"]
	return &pageShell{t: t, s: s, home: s.Dir, env: s.Environ()}
}

// run returns what a line prints on both streams.
func (sh *pageShell) run(line string) string {
	sh.t.Helper()
	sh.s.Eventually("all sandboxes to be at rest", func() bool {
		for _, sandbox := range sh.s.Sandboxes() {
			if !sandbox.State.AtRest() {
				return false
			}
		}
		return true
	})
	c := exec.CommandContext(sh.t.Context(), "sh", "-c", fmt.Sprintf("(exit %d)\n%s", sh.last, line))
	c.Env, c.Dir = sh.env, sh.home
	out, err := c.CombinedOutput()
	sh.last = 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		sh.last = exit.ExitCode()
	} else if err != nil {
		sh.t.Fatal(err)
	}
	return strings.TrimRight(strings.ReplaceAll(string(out), sh.home, "/home/ann"), "\n")
}

// varying are the parts of an output that differ each time.
var varying = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\b([rt])_[0-9a-z]{10}\b`), "<$1_id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?`), "<time>"},
	{regexp.MustCompile(`\d\d:\d\d( on \d+ [A-Z][a-z]+|:\d\d)`), "<time>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`-p \d+ [0-9A-Za-z]+@`), "-p <port> <token>@"},
	{regexp.MustCompile(`version=\S+`), "version=<version>"},
	{regexp.MustCompile(`process \d+ on \S+`), "<process>"},
	{regexp.MustCompile(`\b[0-9a-f]{10,64}\b`), "<hash>"},
	{regexp.MustCompile(`\$\d+\.\d+`), "<usd>"},
	{regexp.MustCompile(`("cost_usd":)[0-9.e-]+`), "${1}<usd>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?s\b`), "<took>"},
	{regexp.MustCompile(`\b\d+ s\b`), "<span>"},
	{regexp.MustCompile(`\b[\d.]+k? (tokens in|out)`), "<count> $1"},
	{regexp.MustCompile(` {2,}`), "  "}, // columns are as wide as what is in them
}

// normal is an output without what differs each time.
func normal(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.as)
	}
	return text
}
