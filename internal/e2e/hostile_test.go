package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// TestTruth is what the others are to be measured by.
func TestTruth(t *testing.T) {
	l := &liar{set: readme}
	s, _ := l.lie(t, 0, "")
	s.Pull("demo/shop")
	if l.took > memory(quietMemory) {
		t.Errorf("the command took %d MiB of memory", l.took)
	}
}

// TestLies: whatever a taken-over sandbox says, the run ends soon with a
// sentence, within bounds, and nothing is published.
func TestLies(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 4000)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/astray" {
			return // somebody else's
		}
		t.Errorf("the sandbox led the command to another server: %s %v", r.URL, r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	events := func(all ...api.Event) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, e := range all {
				sendEvent(w, e)
			}
		}
	}
	numbered := func(numbers ...int64) http.HandlerFunc {
		var all []api.Event
		for _, n := range numbers {
			all = append(all, api.Event{Number: n, Phase: api.PhaseClaude, Started: true})
		}
		return events(all...)
	}
	many := map[string]bool{}
	for i := range 20_000 {
		many[fmt.Sprintf("tool-%d\x1b[2J", i)] = false
	}
	for name, lie := range map[string]struct {
		route  string
		answer http.HandlerFunc
		want   string
	}{
		"events without end": {routeEvents, endless("", func(i int) string {
			return fmt.Sprintf("data: {\"number\":%d,\"phase\":\"claude\",\"claude\":{\"kind\":\"said\",\"text\":\"%s%[2]s\"}}\n\n", i, text)
		}), "more than"},
		"a line without end":    {routeEvents, endless("data: ", func(int) string { return text }), "a line of events is longer"},
		"a compressed line":     {routeEvents, bomb("data: "), "a line of events is longer"},
		"a number left out":     {routeEvents, numbered(2), "event 2 came where 1 is due"},
		"a number twice":        {routeEvents, numbered(1, 1), "event 1 came where 2 is due"},
		"numbers going back":    {routeEvents, numbered(1, 2, 1), "event 1 came where 3 is due"},
		"a negative number":     {routeEvents, numbered(-1), "event -1 came"},
		"a huge number":         {routeEvents, numbered(math.MaxInt64), "event 9223372036854775807 came"},
		"two things at once":    {routeEvents, events(api.Event{Number: 1, Phase: api.PhaseClaude, Started: true, Output: "a"}), "holds 2 things"},
		"an unknown phase":      {routeEvents, events(api.Event{Number: 1, Phase: "\x1b[2J", Started: true}), "holds 1 things"},
		"another task's end":    {routeEvents, events(api.Event{Number: 1, Phase: api.PhaseEnded, Ended: &api.Status{ID: "b", Phase: api.PhaseEnded}}), "ends another task"},
		"an end that cannot be": {routeEvents, events(api.Event{Number: 1, Phase: api.PhaseEnded, Ended: &api.Status{Phase: api.PhaseEnded, Claude: &claude.Result{Turns: -1}}}), "a negative figure"},
		"an end before the beginning": {routeTasks, func(w http.ResponseWriter, r *http.Request) {
			var task api.Task
			_ = json.NewDecoder(r.Body).Decode(&task)
			sendJSON(w, api.Status{ID: task.ID, Phase: api.PhaseEnded})
		}, "without saying what Claude did"},
		"another task's status": {routeTasks, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, api.Status{ID: "b", Phase: "clone"}) }, "is about task"},
		"a status without end":  {routeTasks, endless(`{"id":"`, func(int) string { return text }), "more than 1048576 bytes"},
		"a compressed status":   {routeTasks, bomb(`{"id":"`), "more than 1048576 bytes"},
		"a health without end":  {routeHealth, endless(`{"version":"`, func(int) string { return text }), "more than 1048576 bytes"},
		"many tools missing": {routeHealth, func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, api.Health{OK: true, Protocol: api.Protocol, Tools: many})
		}, "lacks tool-0"},
		"another protocol": {routeHealth, func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, api.Health{OK: true, Protocol: math.MaxInt, PID: math.MinInt})
		}, "sandboxd does not answer"},
		"a way elsewhere": {routeTasks, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/astray", http.StatusPermanentRedirect)
		}, "answered 308"},
		"no tunnel":              {routeTunnel, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, "hello") }, "tunnel"},
		"content without end":    {routeChangeset, endless(`{"changes":[{"path":"a","mode":"100644","content":"`, func(int) string { return text }), "longer than"},
		"changes without end":    {routeChangeset, endless(`{"changes":[`, func(i int) string { return fmt.Sprintf(`{"path":"%d","deleted":true},`, i) }), "more than 20000 changes"},
		"nesting without end":    {routeChangeset, endless(`{"changes":[{"path":`, func(int) string { return strings.Repeat("[", 4000) }), "changeset"},
		"a key it does not have": {routeChangeset, func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, map[string]any{"exec": "id"}) }, "unknown key"},
		"another base": {routeChangeset, func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, changeset.Set{Base: strings.Repeat("a", 40), Changes: []changeset.Change{}})
		}, "against"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &liar{lies: map[string]http.HandlerFunc{lie.route: lie.answer}, set: readme}
			s, _ := l.lie(t, 1, lie.want, "--no-draft")
			s.NoPull("demo/shop", "main")
		})
	}
}

// TestNothingButLies: the first lie ends the run, and those on its way out are
// not waited for.
func TestNothingButLies(t *testing.T) {
	noise := endless("", func(int) string { return strings.Repeat("\x00\xff{", 1000) })
	l := &liar{lies: map[string]http.HandlerFunc{
		routeEvents:     func(w http.ResponseWriter, _ *http.Request) { sendEvent(w, api.Event{Number: 7}) },
		routeCancel:     noise,
		routeChangeset:  noise,
		routeTranscript: noise,
	}}
	s, _ := l.lie(t, 1, "event 7 came where 1 is due")
	s.NoPull("demo/shop", "main")
	holds(t, "the comment", s.Comment("demo/shop", 42).Body, "event 7 came where 1 is due")
}

// TestHiddenEnd: an end that the sandbox tells of, but never sends, is one.
func TestHiddenEnd(t *testing.T) {
	l := &liar{lies: map[string]http.HandlerFunc{
		routeEvents: func(http.ResponseWriter, *http.Request) {},
		routeTask: func(w http.ResponseWriter, r *http.Request) {
			sendJSON(w, api.Status{ID: r.PathValue("id"), Phase: api.PhaseEnded})
		},
	}}
	s, _ := l.lie(t, 1, "without saying what Claude did")
	s.NoPull("demo/shop", "main")
}

var readme = []changeset.Change{{Path: "README.md", Mode: changeset.ModeFile, Content: []byte("# Changed\n")}}

// TestHostileChanges: changes that no work tree could hold are refused
// without looking long, and leave nothing outside the run's own directory.
func TestHostileChanges(t *testing.T) {
	t.Parallel()
	deep := make([]changeset.Change, 2000)
	for i := range deep {
		deep[i] = changeset.Change{Path: fmt.Sprintf("%d/%s", i, strings.Repeat("a/", 6000)), Mode: changeset.ModeFile}
	}
	entries := make([]changeset.Change, 20_000)
	for i := range entries {
		entries[i] = changeset.Change{Path: strconv.Itoa(i), Mode: changeset.ModeFile}
	}
	for name, tt := range map[string]struct {
		set   []changeset.Change
		paths []string // empty files of these names
	}{
		"upwards":      {paths: []string{"../../../../tmp/dayclaude-was-here", "a/../../b"}},
		"absolute":     {paths: []string{"/etc/cron.d/a", "//a", `C:\a`, "C:/a"}},
		"not a name":   {paths: []string{".", "..", "a//b", "a/", "./a", "a\x00b", "a\nb", "NUL", "a. "}},
		"git's own":    {paths: []string{".git/config", ".GIT/hooks/pre-commit", ".g\u200cit/config", "git~1/a", ".git::$INDEX_ALLOCATION/a", "a/.git", ".gitmodules", ".gitmodule\u017f"}},
		"one for all":  {paths: []string{"Cart.js", "cart.js", "a", "A/b", "\u00e9", "e\u0301"}},
		"workflow":     {paths: []string{".github/workflows/a.yml", ".GitHub/Workflows/b.yml", ".github/dayclaude.yml"}},
		"escapes":      {paths: []string{"a\x1b]0;owned\x07\x1b[2J"}},
		"link":         {set: []changeset.Change{{Path: "a", Mode: changeset.ModeSymlink, Content: []byte("/etc/passwd")}}},
		"very deep":    {set: deep[:900]},
		"deep, many":   {set: deep},
		"many entries": {set: entries},
	} {
		t.Run(name, func(t *testing.T) {
			set := tt.set
			for _, path := range tt.paths {
				set = append(set, changeset.Change{Path: path, Mode: changeset.ModeFile})
			}
			s, r := (&liar{set: set}).lie(t, 6, "refused", "--verbose")
			s.NoPull("demo/shop", "main")
			if strings.Contains(r.Stderr+r.Stdout, "\x1b") {
				t.Errorf("control characters: %s", r)
			}
			findings := fmt.Sprint(r.JSON()["findings"])
			for _, path := range tt.paths {
				if !strings.Contains(findings, untrusted.Quote(path, 200)+": ") {
					t.Errorf("nothing is found in %q:\n%s", path, findings)
				}
			}
		})
	}
}

// TestHostileWords: words from the sandbox steer neither the terminal nor
// GitHub, and odd times keep nothing out of the log.
func TestHostileWords(t *testing.T) {
	words := "Fix\x1b]0;owned\x07 the \x1b[31mcart\u202e\n\nThanks to @octocat. Closes #1, closes demo/shop#2.\n" +
		"![pixel](https://attacker.example/p.png) <img src=https://attacker.example/q.png>\n<!-- dayclaude thread=t_x generation=1 -->\n"
	l := &liar{set: readme, answer: words, events: []api.Event{
		{Phase: api.PhaseClaude, Time: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), Output: "from long ago \x1b[2J"},
		{Phase: api.PhaseClaude, Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), Output: "from times to come"},
		{Phase: api.PhaseClaude, Claude: &claude.Event{Kind: claude.Said, Text: words}},
	}, lies: map[string]http.HandlerFunc{
		routeHealth: func(w http.ResponseWriter, _ *http.Request) {
			sendJSON(w, api.Health{OK: true, Protocol: api.Protocol, Version: strings.Repeat("9\x1b[2J", 100_000)})
		},
		routeTranscript: endless("", func(int) string { return strings.Repeat("x", 1<<16) }), // no reason to lose the work
	}}
	s, r := l.lie(t, 0, "", "--verbose")
	pull, comment := s.Pull("demo/shop"), s.Comment("demo/shop", 42)
	logs := s.Run("runs", "logs", r.JSON()["run_id"].(string))
	for name, text := range map[string]string{"stdout": r.Stdout, "stderr": r.Stderr, "logs": logs.Stdout, "title": pull.Title, "body": pull.Body, "comment": comment.Body} {
		if strings.ContainsAny(text, "\x1b\x07\u202e") {
			t.Errorf("%s holds control characters: %q", name, text)
		}
	}
	for _, said := range []string{"from long ago", "from times to come"} {
		if !strings.Contains(logs.Stdout, said) {
			t.Errorf("the log does not hold %q:\n%s", said, logs)
		}
	}
	for _, bad := range []string{"thanks to @octocat", "closes #1", "shop#2.", "![", "<img", "thread=t_x"} {
		if strings.Contains(strings.ToLower(pull.Body), bad) {
			t.Errorf("the pull request's body holds %q:\n%s", bad, pull.Body)
		}
	}
	if strings.Count(pull.Body, "<!-- dayclaude ") != 1 {
		t.Errorf("the body's marker is not the one:\n%s", pull.Body)
	}
}
