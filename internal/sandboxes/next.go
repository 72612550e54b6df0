package sandboxes

import (
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
)

// Step is what Daytona does with a sandbox by itself.
type Step string

// The steps.
const (
	Stops    Step = "stops"    // the processes end, the files stay
	Archives Step = "archives" // the files move to cheaper storage
	Deletes  Step = "deletes"
	Changes  Step = "changes" // it is on its way to another state now
	Stays    Step = "stays"   // until somebody does something
)

// Next is the next step, if nobody does anything.
type Next struct {
	Step Step
	At   time.Time // of Stops, Archives and Deletes: not before; zero if not known
	Idle bool      // only if nothing happens in the sandbox until then
}

// Daytona's intervals where it says nothing, or 0, of an archive interval.
const (
	usualArchive   = 7 * 24 * 60
	longestArchive = 30 * 24 * 60
)

// NextOf is what becomes of a sandbox. Daytona counts all its intervals from
// the last activity, which a change of state is, too. It looks at stopped
// sandboxes only when it deletes, as of v0.190: what is archived stays.
func NextOf(s *daytona.Sandbox) Next {
	switch {
	case !s.State.AtRest():
		return Next{Step: Changes}
	case s.State == daytona.Started:
		return afterIdling(s)
	case s.State == daytona.Stopped:
		return afterStop(s)
	}
	return Next{Step: Stays}
}

func afterIdling(s *daytona.Sandbox) Next {
	n := Next{Step: Stops, Idle: true}
	switch {
	case s.AutoStop == nil || *s.AutoStop <= 0:
		return Next{Step: Stays}
	case Ephemeral(s):
		n.Step = Deletes
	}
	n.At = after(s, *s.AutoStop)
	return n
}

func afterStop(s *daytona.Sandbox) Next {
	archive := usualArchive
	if s.AutoArchive != nil {
		archive = *s.AutoArchive
	}
	if archive <= 0 {
		archive = longestArchive
	}
	if s.AutoDelete != nil && *s.AutoDelete >= 0 && *s.AutoDelete <= archive {
		return Next{Step: Deletes, At: after(s, *s.AutoDelete)}
	}
	return Next{Step: Archives, At: after(s, archive)}
}

// Ephemeral reports whether stopping the sandbox deletes it.
func Ephemeral(s *daytona.Sandbox) bool { return s.AutoDelete != nil && *s.AutoDelete == 0 }

// after is so many minutes after the last activity.
func after(s *daytona.Sandbox, minutes int) time.Time {
	if s.LastActivityAt.IsZero() {
		return time.Time{}
	}
	return s.LastActivityAt.Add(time.Duration(minutes) * time.Minute)
}
