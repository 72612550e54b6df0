// Package report writes what dayclaude says on GitHub: the pull request, the
// one comment on the issue, the commit's message. It is pure text; everything
// that is not ours goes through Markdown or Title first.
package report

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	maxTail    = 4000 // bytes of a check's output
	maxMessage = 4000 // bytes of what went wrong
)

// PullRequest is the title and body of a thread's pull request, after its run
// r ended at the time at. The words are Claude's, from r.Result.
func PullRequest(t run.Thread, r run.Run, at time.Time) (title, body string) {
	answer := ""
	if r.Result != nil {
		answer = r.Result.Answer
	}
	title, words := ParseAnswer(answer)
	if title == "" {
		title = fallback(t, r)
	}
	verb, reason := "Fixes", "" // closes the issue on merging
	if r.Outcome != nil && !r.Outcome.Problem.IsZero() {
		verb = "Works on"
		reason = "**This is unfinished**: the work broke off, and this is what there was.\n\n" + problem(r)
		words = cmp.Or(words, "Claude did not come to describe this change.")
	}
	words = cmp.Or(words, "Claude left no description of this change.")
	return title, page(reason, words, "---", merge(r), notes(r), check(r),
		fmt.Sprintf("%s #%d", verb, t.Ref.Number), meta(r, at),
		fmt.Sprintf("To ask for changes, comment on #%d and run `dayclaude run-issue %s` again.", t.Ref.Number, t.Ref),
		Marker(t))
}

// Working is the comment on the issue while the run is under way.
func Working(t run.Thread, r run.Run) string {
	by := ""
	if r.Frozen != nil && r.Frozen.Actor != "" {
		by = ", asked by " + code(r.Frozen.Actor)
	}
	limits := []string{code(r.Options.Model)}
	if r.Options.MaxTurns > 0 {
		limits = append(limits, fmt.Sprintf("at most %d turns", r.Options.MaxTurns))
	}
	if r.Options.MaxCostUSD > 0 {
		limits = append(limits, fmt.Sprintf("at most $%.2f", r.Options.MaxCostUSD))
	}
	if r.Options.Timeout > 0 {
		limits = append(limits, "at most "+r.Options.Timeout.String())
	}
	return page(
		fmt.Sprintf("**dayclaude is working on this**%s. This comment will say how it ended.", by),
		"<sub>"+strings.Join(limits, " · ")+"</sub>",
		Marker(t))
}

// Outcome is the comment on the issue when the run ended, at the time at. The
// problem's words are posted as they stand: redact them before.
func Outcome(t run.Thread, r run.Run, at time.Time) string {
	o := r.Outcome
	if o == nil {
		return Working(t, r)
	}
	again := fmt.Sprintf("To try again: `dayclaude run-issue %s`", t.Ref)
	switch o.State {
	case run.Done:
		title, _ := PullRequest(t, r, at)
		return page(fmt.Sprintf("**Opened #%d**: %s", o.PullRequest, Markdown(title, 4*maxTitle)),
			merge(r), notes(r), check(r), meta(r, at), Marker(t))
	case run.Unchanged:
		words := "Claude ended without a change, and without a word on why."
		if r.Result != nil && strings.TrimSpace(r.Result.Answer) != "" {
			words = Markdown(prosaic(r.Result.Answer), maxBody)
		}
		return page(words, "---", "Nothing was changed.", notes(r), check(r), meta(r, at), Marker(t))
	case run.NotAdmitted:
		return page("**dayclaude did not start.**", problem(r), hint(r), Marker(t))
	case run.Parked:
		return page("**dayclaude waits.** The work so far is kept.", problem(r), hint(r), meta(r, at), Marker(t))
	}
	opening, ok := map[run.State]string{
		run.Limited:   "**Stopped at a limit.** dayclaude worked on this issue and did not finish.",
		run.Refused:   "**Not published.** dayclaude changed the code, but the changes may not be published as they are.",
		run.Cancelled: "**Cancelled.** dayclaude worked on this issue until it was stopped.",
	}[o.State]
	if !ok {
		opening = "**This did not work.** dayclaude tried to solve this issue and failed."
	}
	return page(opening, problem(r), findings(o.Findings), notes(r), check(r), work(t, r), hint(r), again, meta(r, at), Marker(t))
}

// CommitMessage is the message of a run's one commit. Its last line is how
// the run finds its commit again.
func CommitMessage(issue int, title, runID string, finished bool) string {
	subject := fmt.Sprintf("Fix issue #%d", issue)
	if !finished {
		subject = fmt.Sprintf("Work on issue #%d, unfinished", issue)
	}
	if title = Title(title, maxTitle); title != "" {
		subject += ": " + title
	}
	return fmt.Sprintf("%s\n\nDayclaude-Run: %s\n", subject, untrusted.Line(runID, maxTitle))
}

// Marker is the last line of all that dayclaude posts, which tells the thread
// it is about. It shows nothing on GitHub.
func Marker(t run.Thread) string {
	return fmt.Sprintf("<!-- dayclaude thread=%s generation=%d -->", t.ID, t.Generation)
}

var marker = regexp.MustCompile(`(?:^|\n)<!-- dayclaude thread=([A-Za-z0-9_-]{1,64}) generation=([1-9][0-9]{0,8}) -->\s*$`)

// ParseMarker reads the marker at the end of a comment or pull request. Anyone
// can write one: it counts only in what we are the author of.
func ParseMarker(body string) (thread string, generation int, ok bool) {
	m := marker.FindStringSubmatch(body)
	if m == nil {
		return "", 0, false
	}
	generation, err := strconv.Atoi(m[2])
	return m[1], generation, err == nil
}

// page puts the parts that are not empty under each other.
func page(parts ...string) string {
	kept := parts[:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "\n\n") + "\n"
}

// fallback is a title made from the issue's own.
func fallback(t run.Thread, r run.Run) string {
	title := fmt.Sprintf("Fix issue %d", t.Ref.Number)
	if r.Frozen != nil && r.Frozen.Issue.Title != "" {
		title += ": " + r.Frozen.Issue.Title
	}
	return Title(title, maxTitle)
}

// check tells the result of the repository's own check.
func check(r run.Run) string {
	if r.Result == nil || r.Result.Check == nil {
		return ""
	}
	c := r.Result.Check
	verdict := fmt.Sprintf("**Check passed**: %s, exit code 0", code(c.Command))
	switch {
	case c.TimedOut:
		verdict = fmt.Sprintf("**Check did not end**: %s was stopped", code(c.Command))
	case c.ExitCode != 0:
		verdict = fmt.Sprintf("**Check failed**: %s, exit code %d", code(c.Command), c.ExitCode)
	}
	verdict += fmt.Sprintf(", after %s.", c.Duration.Round(100*time.Millisecond))
	tail := c.Tail
	if n := len(tail) - maxTail; n > 0 {
		tail = "…" + strings.ToValidUTF8(tail[n:], "")
	}
	if tail = strings.Trim(untrusted.Text(tail), "\n"); tail == "" {
		return verdict
	}
	var b strings.Builder
	b.WriteString(verdict + "\n\n<details><summary>The end of its output</summary>\n\n")
	fence(&b, strings.Split(tail, "\n"), "", 2*maxTail)
	b.WriteString("\n</details>")
	return b.String()
}

// problem tells what went wrong, as a quotation.
func problem(r run.Run) string {
	if r.Outcome == nil || r.Outcome.Problem.Message == "" {
		return ""
	}
	return quote(r.Outcome.Problem.Message)
}

func quote(text string) string {
	return "> " + strings.ReplaceAll(Markdown(strings.TrimSpace(text), maxMessage), "\n", "\n> ")
}

func hint(r run.Run) string {
	if r.Outcome == nil || r.Outcome.Problem.Hint == "" {
		return ""
	}
	return "What to do: " + Markdown(untrusted.Line(r.Outcome.Problem.Hint, 500), 1000)
}

// findings lists what the gate refused.
func findings(all []string) string {
	const most = 20
	var b strings.Builder
	for i, f := range all {
		if i == most {
			fmt.Fprintf(&b, "- and %d more\n", len(all)-most)
			break
		}
		fmt.Fprintf(&b, "- %s\n", Markdown(untrusted.Line(f, 300), 2000))
	}
	return strings.TrimRight(b.String(), "\n")
}

// work tells where the work is.
func work(t run.Thread, r run.Run) string {
	o := r.Outcome
	switch {
	case o.PullRequest > 0:
		return fmt.Sprintf("What there is stands in #%d, on branch %s.", o.PullRequest, code(t.Branch))
	case r.Commit != "" && t.Branch != "":
		return fmt.Sprintf("What there is stands on branch %s.", code(t.Branch))
	case o.PatchFile != "":
		return fmt.Sprintf("The patch is kept on the computer that ran this: %s says where.", code("dayclaude runs show "+r.ID))
	}
	return "Nothing was published."
}

// meta is what the run took, in one line. A run that was never started has
// taken nothing.
func meta(r run.Run, at time.Time) string {
	if r.StartedAt.IsZero() {
		return ""
	}
	took := max(at.Sub(r.StartedAt), 0).Round(time.Second)
	return fmt.Sprintf("<sub>dayclaude · $%.2f · %s · %s</sub>", r.Cost.USD, took, code(r.Options.Model))
}

// code writes a word or a command as a code span that nothing in it can end.
func code(s string) string {
	s = untrusted.Line(s, 200)
	if s == "" {
		return "?"
	}
	ticks := "`"
	for strings.Contains(s, ticks) {
		ticks += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}
