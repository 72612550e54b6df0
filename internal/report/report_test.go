package report

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

var (
	start  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	thread = run.Thread{
		ID: "t_00112233445566778899aabbccddeeff", Generation: 2, Branch: "dayclaude/issue-42-totals-2",
		Ref: run.Ref{Owner: "demo", Repo: "shop", Number: 42},
	}
)

// usual is a run that went well up to its outcome.
func usual() run.Run {
	return run.Run{
		ID:        "r_ffeeddccbbaa99887766554433221100",
		Options:   run.Options{Model: "claude-sonnet-4-5", MaxTurns: 40, MaxCostUSD: 5, Timeout: 30 * time.Minute},
		StartedAt: start,
		Cost:      run.Cost{USD: 0.4239},
		Frozen:    &run.Frozen{Actor: "mona", Issue: run.Issue{Number: 42, Title: "Totals are off by a cent"}},
		Result: &run.Result{
			Answer: "Round line totals half up\n\nThe total was summed from floats, so 3 × 0.10 gave 0.29.\n\nIt is now summed in cents. `go test ./...` passes.",
			Check:  &run.Check{Command: "make test", Tail: "ok  shop\t0.01s\n", Duration: 12340 * time.Millisecond},
		},
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	at := start.Add(3*time.Minute + 12*time.Second)
	with := func(o run.Outcome) run.Run {
		r := usual()
		r.Outcome = &o
		return r
	}
	bare := func(o run.Outcome) run.Run {
		return run.Run{ID: usual().ID, Options: usual().Options, Outcome: &o}
	}
	broken := run.Problem{Kind: fault.Sandbox, Message: "clone demo/shop: the network is down\nfatal: @mona <b>", Hint: "run `dayclaude doctor`"}
	published := with(run.Outcome{State: run.Limited, PullRequest: 43, Problem: run.Problem{Message: "the cost limit of $5.00 was reached"}})
	published.Commit = strings.Repeat("a", 40)
	pushed := with(run.Outcome{State: run.Failed, Problem: run.Problem{Kind: fault.Auth, Message: "GitHub refused the pull request"}})
	pushed.Commit = published.Commit
	question := with(run.Outcome{State: run.Unchanged})
	question.Result.Answer = "Should 0.005 round up or to even?\n\nBoth are in use: see `money.go`."
	silent := with(run.Outcome{State: run.Unchanged})
	silent.Result = nil
	failing := with(run.Outcome{State: run.Done, PullRequest: 43})
	failing.Result.Check.ExitCode = 2

	for name, got := range map[string]string{
		"working":        Working(thread, usual()),
		"working-early":  Working(thread, run.Run{Options: run.Options{Model: "m"}}),
		"done":           Outcome(thread, failing, at),
		"unchanged":      Outcome(thread, question, at),
		"unchanged-mute": Outcome(thread, silent, at),
		"failed":         Outcome(thread, bare(run.Outcome{State: run.Failed, Problem: broken}), at),
		"failed-pushed":  Outcome(thread, pushed, at),
		"limited":        Outcome(thread, published, at),
		"refused": Outcome(thread, with(run.Outcome{
			State: run.Refused, PatchFile: "/home/mona/x.patch", Problem: run.Problem{Kind: fault.Refused, Message: "the gate refused 2 of 7 changes"},
			Findings: []string{".github/workflows/ci.yml is run by GitHub Actions", "a.txt holds what looks like a secret in line 3 (gitleaks rule github-pat)"},
		}), at),
		"cancelled":    Outcome(thread, with(run.Outcome{State: run.Cancelled}), at),
		"parked":       Outcome(thread, with(run.Outcome{State: run.Parked, Problem: run.Problem{Message: "the usage limit resets at 15:00 UTC"}}), at),
		"not-admitted": Outcome(thread, bare(run.Outcome{State: run.NotAdmitted, Problem: run.Problem{Message: "mona may not write to demo/shop"}}), at),
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Golden(t, "testdata/"+name+".md", got)
			if id, generation, ok := ParseMarker(got); !ok || id != thread.ID || generation != 2 {
				t.Errorf("marker: %q, %d, %t", id, generation, ok)
			}
			if strings.Contains(got, "/home/mona") {
				t.Error("a path of the host is told")
			}
		})
	}
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	at := start.Add(time.Hour)
	hostile := usual()
	hostile.Result.Answer = "# Summary\n\n**Title:** Fixes #7 for @mona\n\nCloses #8, fixes o/r#9. <!-- dayclaude thread=t_1 generation=1 -->\n<details><img src=x>\n\n![x](https://evil.example/?q=1) [y](javascript:alert) ping @o/team\n\n```sh\n<!-- dayclaude thread=t_1 generation=1 -->"
	hostile.Result.Check = &run.Check{Command: "make `x`\n@mona", ExitCode: 1, Tail: "```\n</details>\n@mona fixes #1\x1b[31m\n````\n"}
	none := usual()
	none.Result = nil
	partial := usual()
	partial.Outcome = &run.Outcome{State: run.Limited, Problem: run.Problem{Message: "the limit of 40 turns was reached"}}
	beside := func(m run.Merge) run.Run {
		r := usual()
		m.Branch, m.Onto, m.Ended = "release/`2`", "0123456789abcdef0123456789abcdef01234567", true
		r.Outcome = &run.Outcome{State: run.Done, Merge: &m}
		return r
	}
	slow := beside(run.Merge{Merged: true})
	slow.Result.Check.ExitCode, slow.Result.Check.TimedOut = -1, true
	slow.Result.Notes = []string{"the submodule lib is missing: this run may not read the repository \"o/lib\"", "@mona <b>"}
	for name, r := range map[string]run.Run{
		"pr": usual(), "pr-hostile": hostile, "pr-empty": none, "pr-partial": partial, "pr-notes": slow,
		"pr-merged":   beside(run.Merge{Merged: true, Conflicts: []string{"money.go", "a `b`.go"}}),
		"pr-conflict": beside(run.Merge{Conflicts: strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12"), Problem: run.Problem{Message: "Claude left conflicts in 1"}}),
		"pr-unknown":  beside(run.Merge{Problem: run.Problem{Message: "the sandbox is gone"}}),
	} {
		t.Run(name, func(t *testing.T) {
			title, body := PullRequest(thread, r, at)
			testenv.Golden(t, "testdata/"+name+".md", title+"\n\n"+body)
			if id, _, ok := ParseMarker(body); !ok || id != thread.ID {
				t.Errorf("marker: %q, %t", id, ok)
			}
		})
	}
}

func TestLengths(t *testing.T) {
	t.Parallel()
	r := usual()
	r.Outcome = &run.Outcome{State: run.Unchanged, Problem: run.Problem{Message: strings.Repeat("&", 1<<16), Hint: strings.Repeat("<", 1<<16)}}
	r.Frozen.Issue.Title = strings.Repeat("<", 1<<16)
	for range 1000 {
		r.Outcome.Findings = append(r.Outcome.Findings, strings.Repeat("&", 1000))
	}
	for _, line := range []string{strings.Repeat("&", 1<<20), strings.Repeat("&", 2999) + "\n", "```\n" + strings.Repeat("`\n", 1<<16), "<\n"} {
		r.Result.Answer = strings.Repeat(line, 1<<18/len(line)+1)
		r.Result.Check.Tail = r.Result.Answer
		for _, state := range []run.State{run.Unchanged, run.Failed, run.Done, run.Refused, run.Parked} {
			r.Outcome.State = state
			title, body := PullRequest(thread, r, start)
			for _, text := range []string{body, Outcome(thread, r, start)} {
				if len(text) > 65_536 || len(title) > 256 {
					t.Errorf("%s, %.5q: %d bytes, title %d", state, line, len(text), len(title))
				}
				if _, _, ok := ParseMarker(text); !ok {
					t.Errorf("%s, %.5q: no marker", state, line)
				}
			}
		}
	}
}

func TestParseMarker(t *testing.T) {
	t.Parallel()
	m := Marker(thread)
	for body, want := range map[string]bool{
		m: true, "x\n" + m: true, "x\r\n" + m + "\r\n": true,
		"": false, m + "\nx": false, "x" + m: false, "    " + m: false,
		"<!-- dayclaude thread=a generation=0 -->": false, "<!-- dayclaude thread=a b generation=1 -->": false,
	} {
		if _, _, ok := ParseMarker(body); ok != want {
			t.Errorf("ParseMarker(%q) = %t", body, ok)
		}
	}
}

func TestCommitMessage(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"Totals are off":              "Fix issue #42: Totals are off",
		"":                            "Fix issue #42",
		"a\n\nDayclaude-Run: r_2\x1b": "Fix issue #42: a Dayclaude-Run: r_2",
		"Closes #7 by @mona":          "Fix issue #42: Closes no. 7 by mona",
		"`$(id)` \"q\"":               "Fix issue #42: `$(id)` \"q\"",
	} {
		if got := CommitMessage(42, title, "r_1", true); got != want+"\n\nDayclaude-Run: r_1\n" {
			t.Errorf("%q: %q", title, got)
		}
	}
	if got := CommitMessage(1<<31-1, strings.Repeat("é", 1000), "r_1", true); len(got) > 160 {
		t.Errorf("%d bytes", len(got))
	}
}
