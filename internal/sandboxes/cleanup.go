package sandboxes

import (
	"fmt"
	"slices"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/store"
)

// unused reports whether nothing runs in a sandbox of that state, nor will.
func unused(state daytona.State) bool {
	return state.AtRest() && state != daytona.Started && state != daytona.Destroyed
}

// Choice says which sandboxes a person wants to have deleted.
type Choice struct {
	States    []daytona.State // one of them; none: whatever does not run
	OlderThan time.Duration   // nothing happened for so long
}

// Rule is the choice as a Rule: it never chooses the sandbox of a run that can
// go on.
func (c Choice) Rule(s Sandbox, driver *store.Held, now time.Time) Verdict {
	switch {
	case driver != nil:
		return Verdict{Why: driver.Owner + " works on it"}
	case s.Owner != nil && s.unfinished():
		return Verdict{Why: fmt.Sprintf("run %s goes on with it", s.Owner.Run.ID)}
	case !slices.Contains(c.States, s.State) && (len(c.States) > 0 || !unused(s.State)):
		return Verdict{Why: "it is in another state"}
	case now.Sub(s.LastUse()) < c.OlderThan:
		return Verdict{Why: "it was used since"}
	}
	return Verdict{[]Action{Delete}, "no run needs it"}
}
