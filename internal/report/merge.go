package report

import (
	"fmt"
	"strings"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// merge tells what became of a conflict with what others pushed meanwhile.
func merge(r run.Run) string {
	if r.Outcome == nil || r.Outcome.Merge == nil || !r.Outcome.Merge.Ended {
		return ""
	}
	m := r.Outcome.Merge
	switch {
	case m.Merged && m.Conflicts != nil:
		return fmt.Sprintf("Claude merged this with %s at %s, which had changed meanwhile%s.", code(m.Branch), code(fmt.Sprintf("%.10s", m.Onto)), in(m.Conflicts))
	case m.Merged:
		return fmt.Sprintf("This stands on %s, to which %s had moved meanwhile.", code(fmt.Sprintf("%.10s", m.Onto)), code(m.Branch))
	case m.Conflicts != nil:
		return fmt.Sprintf("**This conflicts with %s**, which changed meanwhile%s:\n\n%s", code(m.Branch), in(m.Conflicts), quote(m.Problem.Message))
	case !m.Problem.IsZero():
		return fmt.Sprintf("**This may conflict with %s**, which changed the same files meanwhile. It could not be merged:\n\n%s", code(m.Branch), quote(m.Problem.Message))
	}
	return ""
}

// in names the first few paths.
func in(paths []string) string {
	const most = 10
	var named []string
	for _, p := range paths[:min(len(paths), most)] {
		named = append(named, code(p))
	}
	if n := len(paths) - most; n > 0 {
		named = append(named, fmt.Sprintf("%d more", n))
	}
	return " in " + strings.Join(named, ", ")
}

// notes tell what Claude had to do without.
func notes(r run.Run) string {
	if r.Result == nil || r.Result.Notes == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("What to know of Claude's sandbox:\n")
	for _, note := range r.Result.Notes {
		fmt.Fprintf(&b, "\n- %s", Markdown(untrusted.Line(note, 1000), 2000))
	}
	return b.String()
}
