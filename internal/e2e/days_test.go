package e2e_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// troubleshooting is the page on which every bad day's sentence stands.
const troubleshooting = "../../docs/troubleshooting.md"

// day is a bad one: what breaks, what the user is then told, and that the same
// command finishes the job once it is mended.
type day struct {
	options    e2e.Options
	repository github.Repository // the zero one is the demo's shop
	issue      github.Issue
	args       []string // of run-issue, after REF
	ref        string   // "": the issue's own

	breaks func(t *testing.T, s *e2e.Stack, ref string)
	start  func(t *testing.T, s *e2e.Stack, c *e2e.Command) // while it runs; may be nil

	exit    int
	kind    fault.Kind
	says    []string // in the error's sentence
	hint    []string // in its hint
	comment []string // in the issue's comment; nil: there is none
	page    string   // what docs/troubleshooting.md tells of the sentence; "": says[0]
	draft   bool     // what there was of the work is a draft pull request

	// heals mends it; then the same command, with again in place of args if
	// that is set, is to succeed. nil: nothing can, short of another command.
	heals func(t *testing.T, s *e2e.Stack, ref string)
	again []string
}

// run lives through the day.
func (d day) run(t *testing.T) {
	t.Helper()
	if d.options.Engine == "" {
		d.options.Engine = e2e.Process
	}
	s := e2e.New(t, d.options)
	var ref string
	if d.repository.Name == "" {
		ref = s.Shop(d.issue)
	} else {
		ref = s.Add(d.repository, d.issue)
	}
	if d.breaks != nil {
		d.breaks(t, s, ref)
	}
	asked := ref
	if d.ref != "" {
		asked = d.ref
	}
	c := s.Start(append([]string{"run-issue", asked, "--json"}, d.args...)...)
	if d.start != nil {
		d.start(t, s, c)
	}
	d.told(t, s, ref, wantExit(t, c.Wait(), d.exit))

	if d.heals == nil {
		return
	}
	d.heals(t, s, ref)
	args := d.args
	if d.again != nil {
		args = d.again
	}
	wantExit(t, s.Run(append([]string{"run-issue", ref}, args...)...), 0)
	repo := ref[:strings.IndexByte(ref, '#')]
	pull := s.Pull(repo) // the only one
	if pull.Draft {
		t.Error("what was finished is still a draft")
	}
	if n := len(s.Sandboxes()); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
}

// told checks what the user is told.
func (d day) told(t *testing.T, s *e2e.Stack, ref string, r *e2e.Result) {
	t.Helper()
	p := problemOf(t, r)
	if p.Kind != d.kind {
		t.Errorf("kind is %q, want %q", p.Kind, d.kind)
	}
	holds(t, "the sentence", p.Message, d.says...)
	holds(t, "the hint", p.Hint, d.hint...)
	page := d.page
	if page == "" && len(d.says) > 0 {
		page = d.says[0]
	}
	text, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, "docs/troubleshooting.md", string(text), page)

	repo, number := ref[:strings.IndexByte(ref, '#')], d.issue.Number
	said := r.Stdout + r.Stderr
	for _, c := range commentsOf(t, s, ref) {
		said += c.Body
	}
	if strings.Contains(said, "CANARY") || strings.Contains(said, "goroutine ") || strings.Contains(said, "panic: ") {
		t.Errorf("what is said must not hold secrets or stack traces:\n%s", said)
	}
	switch comments := commentsOf(t, s, ref); {
	case d.comment == nil && len(comments) > 0:
		t.Errorf("#%d of %s has %d comments, want none:\n%s", number, repo, len(comments), comments[0].Body)
	case d.comment != nil && len(comments) != 1:
		t.Errorf("#%d of %s has %d comments, want one", number, repo, len(comments))
	case d.comment != nil:
		holds(t, "the comment", comments[0].Body, d.comment...)
	}
	if d.draft {
		pull := s.Pull(repo)
		holds(t, "the draft", pull.Body, "**This is unfinished**", d.says[0])
		if !pull.Draft {
			t.Error("the pull request is no draft")
		}
	}
}

// commentsOf are the issue's comments.
func commentsOf(t *testing.T, s *e2e.Stack, ref string) []github.Comment {
	t.Helper()
	repo, n, _ := strings.Cut(ref, "#")
	var number int
	if err := json.Unmarshal([]byte(n), &number); err != nil {
		t.Fatal(err)
	}
	comments, err := s.GitHub.Comments(repo, number)
	if err != nil {
		t.Fatal(err)
	}
	return comments
}

// problem is one as --json shows it.
type problem struct {
	Kind    fault.Kind
	Message string
	Hint    string
}

// problemOf reads it: of a run on stdout, of a run that was never begun on
// stderr.
func problemOf(t *testing.T, r *e2e.Result) problem {
	t.Helper()
	var ran struct{ Error problem }
	var before struct {
		Error, Hint string
		Kind        fault.Kind
	}
	if r.Stdout != "" {
		if err := json.Unmarshal([]byte(r.Stdout), &ran); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		return ran.Error
	}
	last := r.Stderr[strings.LastIndexByte(strings.TrimSuffix(r.Stderr, "\n"), '\n')+1:]
	if err := json.Unmarshal([]byte(last), &before); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return problem{before.Kind, before.Error, before.Hint}
}

// days runs bad days side by side.
func days(t *testing.T, all map[string]day) {
	t.Helper()
	t.Parallel()
	for name, d := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.run(t)
		})
	}
}
