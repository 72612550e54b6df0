package e2e_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// resultKeys are the documented keys of --json; optional ones come only when
// there is something to say.
var (
	resultKeys = []string{
		"branch", "commit", "cost", "duration_seconds", "error", "files_changed", "issue", "pull_request", "repo", "run_id", "state",
	}
	costKeys  = []string{"input_tokens", "output_tokens", "sandbox_seconds", "usd"}
	errorKeys = []string{"hint", "kind", "message"}
)

func keysOf(v any) []string {
	o, _ := v.(e2e.Object)
	return slices.Sorted(maps.Keys(o))
}

// wantKeys holds the object of --json against the documented keys and those
// that are optional in this case.
func wantKeys(t *testing.T, o e2e.Object, optional ...string) {
	t.Helper()
	if want := slices.Sorted(slices.Values(append(optional, resultKeys...))); !slices.Equal(keysOf(o), want) {
		t.Errorf("keys %q, want %q", keysOf(o), want)
	}
	if !slices.Equal(keysOf(o["cost"]), costKeys) {
		t.Errorf("keys of cost: %q", keysOf(o["cost"]))
	}
	if o["error"] != nil && !slices.Equal(keysOf(o["error"]), errorKeys) {
		t.Errorf("keys of error: %q", keysOf(o["error"]))
	}
}

func TestJSON(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	ref := s.Shop(github.Issue{})
	r := wantExit(t, s.Run("run-issue", ref, "--json"), 0)
	o := r.JSON()
	wantKeys(t, o, "answer")
	pull := s.Pull("demo/shop")
	for key, want := range map[string]any{
		"state": "done", "repo": "demo/shop", "issue": 42.0, "branch": pull.Head, "commit": pull.HeadCommit, "files_changed": 1.0, "error": nil,
	} {
		if o[key] != want {
			t.Errorf("%s is %v, want %v", key, o[key], want)
		}
	}
	if p, _ := o["pull_request"].(e2e.Object); p["number"] != float64(pull.Number) || !strings.HasSuffix(p["url"].(string), "/demo/shop/pull/43") || len(p) != 2 {
		t.Errorf("pull_request: %v", p)
	}
	c := o["cost"].(e2e.Object)
	for _, key := range costKeys {
		if n, _ := c[key].(float64); n <= 0 {
			t.Errorf("cost.%s is %v", key, c[key])
		}
	}
	if n, _ := o["duration_seconds"].(float64); n <= 0 || r.Stderr != "" {
		t.Errorf("duration %v, stderr %q", o["duration_seconds"], r.Stderr)
	}

	for name, args := range map[string][]string{
		"before a run":  {"run-issue", "demo/shop#43", "--json"},
		"no such issue": {"run-issue", "demo/shop#99", "--json"},
		"usage":         {"run-issue", "--json"},
		"unknown run":   {"runs", "show", "r_0000000000", "--json"},
	} {
		want := map[string]struct {
			exit int
			kind string
		}{"before a run": {7, "not_admitted"}, "no such issue": {1, "not_found"}, "usage": {2, "usage"}, "unknown run": {1, "not_found"}}[name]
		r := wantExit(t, s.Run(args...), want.exit)
		var problem e2e.Object
		if err := json.Unmarshal([]byte(r.Stderr), &problem); err != nil || r.Stdout != "" {
			t.Errorf("%s: %v, stdout %q, stderr %q", name, err, r.Stdout, r.Stderr)
			continue
		}
		if !slices.Equal(keysOf(problem), []string{"error", "hint", "kind"}) || problem["kind"] != want.kind || problem["error"] == "" || problem["hint"] == "" {
			t.Errorf("%s: %v", name, problem)
		}
	}
}

// TestRefused has the gate refuse a result. The user is told on the issue, and
// keeps the patch.
func TestRefused(t *testing.T) {
	for scenario, want := range map[string]struct{ path, reason, secret string }{
		"workflow": {".github/workflows/hello.yml", "workflow", ""},
		"secret":   {"credentials.ini", "", "wJ4lrXUtnFEMI/K7MDENG+bPxRfiCYzQ9vT5hLp2"},
	} {
		t.Run(scenario, func(t *testing.T) {
			onEngines(t, e2e.Options{Scenario: scenario}, func(t *testing.T, s *e2e.Stack) {
				ref := s.Add(small("gated", nil), github.Issue{Title: "Gate"})
				r := wantExit(t, s.Run("run-issue", ref, "--json"), 6)
				o := r.JSON()
				wantKeys(t, o, "answer", "findings", "patch_file")
				if o["state"] != "refused" || o["pull_request"] != nil || o["branch"] != "" {
					t.Errorf("result: %v", o)
				}
				comment := s.Comment("demo/gated", 1).Body
				holds(t, "the comment", comment, "**Not published.**", want.path, want.reason)
				patch := o["patch_file"].(string)
				text := read(t, patch)
				if want.secret != "" {
					// The patch is the user's own; all else must not repeat the secret.
					holds(t, "the patch", text, want.secret)
					for name, text := range map[string]string{"comment": comment, "stdout": r.Stdout, "stderr": r.Stderr} {
						if strings.Contains(text, want.secret) {
							t.Errorf("%s tells the secret:\n%s", name, text)
						}
					}
				}
				s.NoPull("demo/gated", "main")
				dir := clone(t, s, "demo/gated", "main")
				git(t, dir, "apply", "--index", patch)
				if status := git(t, dir, "status", "--porcelain"); status != "A  "+want.path+"\n" {
					t.Errorf("after git apply: %q", status)
				}
			})
		})
	}
}

func TestPathsOfRepositorySettings(t *testing.T) {
	s := onProcess(t, e2e.Options{})
	repo := github.Repository{Name: "shop", Files: shopWith(t, ".github/dayclaude.yml", "paths: {deny: [\"*.sh\"]}\n")}
	ref := s.Add(repo, github.Issue{Title: "No bulk discount for exactly ten pieces"})
	r := wantExit(t, s.Run("run-issue", ref), 6)
	holds(t, "stderr", r.Stderr, "refused: cart.sh: ", "the changes so far: ", "changes.patch\n")
	holds(t, "the comment", s.Comment("demo/shop", 1).Body, "cart.sh", "runs show r_")
	s.NoPull("demo/shop", "main")
}

// TestTrouble has each kind of trouble end with its own exit code, sentence
// and comment.
func TestTrouble(t *testing.T) {
	costly := scripted("steps:\n  - {bash: date +%s%N >> work.txt; tail -1 work.txt, repeat: true, output_tokens: 2000}\n")
	for name, c := range map[string]struct {
		options e2e.Options
		args    []string
		exit    int
		kind    string
		state   string
		says    string // in message and comment
		hint    string
		draft   bool // what there was of the work is published
	}{
		"401":        {options: e2e.Options{Scenario: "api-401"}, exit: 4, kind: "auth", state: "failed", says: "Anthropic refused the credential", hint: "ANTHROPIC_API_KEY"},
		"max turns":  {options: e2e.Options{Scenario: "max-turns"}, args: []string{"--max-turns", "3"}, exit: 5, kind: "limit", state: "limited", says: "all its 3 turns", hint: "--max-turns", draft: true},
		"cost limit": {options: costly, args: []string{"--max-cost", "0.25"}, exit: 5, kind: "limit", state: "limited", says: "$0.25", hint: "--max-cost", draft: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := onProcess(t, c.options)
			ref := s.Add(small("trouble", nil), github.Issue{Title: "Trouble"})
			o := wantExit(t, s.Run(append([]string{"run-issue", ref, "--json"}, c.args...)...), c.exit).JSON()
			problem, _ := o["error"].(e2e.Object)
			if problem["kind"] != c.kind || o["state"] != c.state {
				t.Errorf("result: %v", o)
			}
			message, _ := problem["message"].(string)
			hint, _ := problem["hint"].(string)
			holds(t, "the message", message, c.says)
			holds(t, "the hint", hint, c.hint)
			comment := s.Comment("demo/trouble", 1).Body
			holds(t, "the comment", comment, c.says, "run-issue demo/trouble#1")
			if usd := o["cost"].(e2e.Object)["usd"].(float64); name == "cost limit" && (usd < 0.1 || usd > 0.26) {
				t.Errorf("it cost %v", usd)
			}
			if !c.draft {
				s.NoPull("demo/trouble", "main")
			} else if pull := s.Pull("demo/trouble"); !pull.Draft || !strings.Contains(pull.Body, c.says) {
				t.Errorf("the draft: %+v", pull)
			}
		})
	}
}
