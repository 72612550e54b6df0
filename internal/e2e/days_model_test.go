package e2e_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// goodDay is a model that does its work whenever it is asked.
const goodDay = "steps: [{write: {path: done.txt, content: done}}, {say: Add done}]\n" +
	"follow_ups: [[{write: {path: done.txt, content: done}}, {say: Add done}]]"

// lightModel is a stack of a light Claude and a scripted model.
func lightModel(script string) e2e.Options {
	o := scripted(script)
	o.Light = true
	return o
}

// model is another scripted model than the stack's.
func model(t *testing.T, s *e2e.Stack, script string) http.Handler {
	t.Helper()
	m, err := anthropic.New(anthropic.Options{
		Key: secret.New(s.Canaries["ANTHROPIC_API_KEY"]), Scenario: "script",
		Scenarios: fstest.MapFS{"script.yaml": {Data: []byte(script)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// badModel has the model follow a script until it is mended.
func badModel(script string, d day) day {
	var mended atomic.Bool
	d.options, d.repository = lightModel(goodDay), small("bad", nil)
	d.issue = github.Issue{Title: "Add done"}
	d.breaks = func(t *testing.T, s *e2e.Stack, _ string) {
		bad := model(t, s, script)
		s.WrapModel(func(good http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if mended.Load() {
					good.ServeHTTP(w, r)
				} else {
					bad.ServeHTTP(w, r)
				}
			})
		})
	}
	if d.heals == nil {
		d.heals = func(*testing.T, *e2e.Stack, string) {}
	}
	heal := d.heals
	d.heals = func(t *testing.T, s *e2e.Stack, ref string) { mended.Store(true); heal(t, s, ref) }
	return d
}

// TestModelDays are the days on which the model, or the way to it, fails.
func TestModelDays(t *testing.T) {
	const failed = "**This did not work.**"
	again := []string{failed, "dayclaude run-issue demo/bad#1"}
	half := "steps: [{write: {path: half.txt, content: half}}, "
	days(t, map[string]day{
		"401": badModel("steps: [{fail: 401, say: invalid x-api-key}]", day{
			exit: 4, kind: fault.Auth, says: []string{"Anthropic refused the credential", "401 invalid x-api-key, request req_"},
			hint: []string{"ANTHROPIC_API_KEY"}, comment: again,
		}),
		"no credit": badModel("steps: [{fail: 400, say: Your credit balance is too low}]", day{
			exit: 4, kind: fault.Auth, says: []string{"Anthropic refused for want of credit", "credit balance"},
			hint: []string{"add credit"}, comment: again,
		}),
		"403": badModel("steps: [{fail: 403, say: not in your workspace}]", day{
			exit: 4, kind: fault.Auth, says: []string{"Anthropic does not let the credential do this", "403 not in your workspace"},
			hint: []string{"workspace"}, comment: again,
		}),
		"404": badModel("steps: [{fail: 404, say: 'model: x'}]", day{
			exit: 1, kind: fault.Claude, says: []string{"Anthropic does not offer the model to this credential", "404 model: x"},
			hint: []string{"--model"}, comment: again,
		}),
		"too large": badModel("steps: [{fail: 413, say: Request too large}]", day{
			exit: 1, kind: fault.Claude, says: []string{"the conversation grew too large for Anthropic's API"},
			hint: []string{"--new"}, comment: again,
		}),
		"a rate limit for hours": badModel("steps: [{fail: 429, retry_after: 7200, say: Slow down}]", day{
			exit: 1, kind: fault.Quota, says: []string{"Anthropic's rate limit is reached", "429 Slow down"},
			hint: []string{"wait 2h0m0s, then run the command again"}, comment: again,
		}),
		"overloaded for long, in the middle": badModel(half+"{fail: 529, say: Overloaded}]", day{
			exit: 1, kind: fault.Claude, says: []string{"Anthropic's API is in trouble", "529 Overloaded"},
			hint: []string{"status.claude.com"}, comment: again, draft: true,
		}),
		"nobody there": func() day {
			d := badModel(goodDay, day{
				exit: 1, kind: fault.Unavailable, says: []string{"no answer came from Anthropic", "connection refused"},
				hint: []string{"check the network", "status.claude.com"}, comment: again,
				heals: func(_ *testing.T, s *e2e.Stack, _ string) { s.Env["ANTHROPIC_BASE_URL"] = s.Anthropic.URL() },
			})
			d.breaks = func(_ *testing.T, s *e2e.Stack, _ string) { s.Env["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:9" }
			return d
		}(),
		"max turns": badModel(half+"{bash: date >> half.txt, repeat: true}]", day{
			args: []string{"--max-turns", "3"},
			exit: 5, kind: fault.Limit, says: []string{"Claude used all its 3 turns"}, page: "Claude used all its … turns",
			hint: []string{"--max-turns"}, comment: []string{"**Stopped at a limit.**"}, draft: true, again: []string{},
		}),
		"cost limit": badModel(half+"{bash: date >> half.txt, repeat: true, output_tokens: 2000}]", day{
			args: []string{"--max-cost", "0.25"},
			exit: 5, kind: fault.Limit, says: []string{"the run's cost limit of", "$0.25 is reached"},
			hint: []string{"--max-cost"}, comment: []string{"**Stopped at a limit.**"}, draft: true, again: []string{},
		}),
		"time-out": badModel(half+"{bash: sleep 600}]", day{
			args: []string{"--timeout", "1m"},
			exit: 5, kind: fault.Limit, says: []string{"the run's time limit of 1m0s is over"}, page: "the run's time limit of … is over",
			hint: []string{"--timeout"}, comment: []string{"**Stopped at a limit.**"}, draft: true, again: []string{},
		}),
		"nothing done, nothing said": badModel("steps: [{bash: ls}, {say: ' '}]", day{
			exit: 3, kind: fault.Unchanged, says: []string{"Claude changed nothing"},
			comment: []string{"Claude ended without a change, and without a word on why."},
		}),
		"a question": badModel("steps: [{bash: ls}, {say: 'Which of the two roundings do you want?'}]", day{
			exit: 3, kind: fault.Unchanged, says: []string{"Claude changed nothing"},
			comment: []string{"Which of the two roundings do you want?", "Nothing was changed."},
			heals: func(t *testing.T, s *e2e.Stack, _ string) {
				if _, err := s.GitHub.AddComment("demo/bad", 1, "ann", "Round the sum."); err != nil {
					t.Fatal(err)
				}
			},
		}),
	})
}

// TestShortRateLimit: a limit that resets soon is waited for, and told.
func TestShortRateLimit(t *testing.T) {
	s := onProcess(t, lightModel("steps: [{write: {path: a.txt, content: a}}, {fail: 429, retry_after: 1, times: 2, say: Add a}]"))
	ref := s.Add(small("limited", nil), github.Issue{Title: "Add a"})
	o := wantExit(t, s.Run("run-issue", ref, "--json"), 0).JSON()
	log := wantExit(t, s.Run("runs", "logs", o["run_id"].(string)), 0).Stdout
	holds(t, "the log", log, "a call of the model failed (rate_limit); retry 1 follows in 1s", "retry 2 follows")
}

// TestKilledAmidACall: a call whose process is killed counts as spent, so that
// a run that is killed again and again comes to its limit of cost.
func TestKilledAmidACall(t *testing.T) {
	s := onProcess(t, lightModel(goodDay))
	var calls atomic.Int64
	s.WrapModel(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/messages" { // a count
				next.ServeHTTP(w, r)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body) // to hear that the caller is gone
			calls.Add(1)
			<-r.Context().Done()
		})
	})
	ref := s.Add(small("killed", nil), github.Issue{Title: "Add done"})
	for kills := int64(0); ; kills++ {
		c := s.Start("run-issue", ref, "--max-cost", "0.55")
		s.Eventually("a model call, or the end", func() bool { return calls.Load() > kills || c.Ended() })
		if !c.Ended() {
			c.Signal(syscall.SIGKILL)
			c.Wait()
			continue
		}
		r := wantExit(t, c.Wait(), 5)
		holds(t, "stderr", r.Stderr, "the process before ended amid a model call; the $", "may have cost count as spent",
			"the run's cost limit of $0.55 is reached")
		if kills < 2 || kills > 9 { // of about eight cents each
			t.Errorf("killed %d times", kills)
		}
		return
	}
}
