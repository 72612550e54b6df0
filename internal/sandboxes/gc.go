package sandboxes

import (
	"cmp"
	"fmt"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// Action is what is done with a sandbox.
type Action string

// The actions.
const (
	Delete Action = "delete"
	Stop   Action = "stop"
	Bound  Action = "set_auto_stop" // to run.IdleMinutes
)

// Verdict is what is to be done with a sandbox, and why.
type Verdict struct {
	Do  []Action // in this order; none: it stays as it is
	Why string
}

// Rule judges a sandbox. driver is the living process that works on its
// thread, or nil.
type Rule func(s Sandbox, driver *store.Held, now time.Time) Verdict

// grace is for how long nothing must have happened in a sandbox before GC
// touches it: whoever makes one, or looks into one, is left in peace. It is as
// long as Daytona itself waits.
const grace = run.IdleMinutes * time.Minute

// GC is the Rule that reconciles Daytona with the store, which must be asked
// after Daytona: a thread is stored before its sandbox is made. s must be the
// store's own.
func GC(s Sandbox, driver *store.Held, now time.Time) Verdict {
	switch quiet := now.Sub(s.LastUse()); {
	case driver != nil:
		return Verdict{Why: driver.Owner + " works on it"}
	case !s.State.AtRest() || s.State == daytona.Destroyed:
		return Verdict{Why: "it is on its way to another state"}
	case quiet < grace:
		return Verdict{Why: fmt.Sprintf("something happened in it less than %d minutes ago", run.IdleMinutes)}
	case s.Owner == nil:
		return Verdict{[]Action{Delete}, "this machine's store knows no run that it belongs to"}
	case s.overdue(quiet):
		return Verdict{[]Action{Delete}, "its time is over, and Daytona does not delete what it archived"}
	case s.needed():
		return s.mind()
	case !s.Owner.Newest:
		return Verdict{[]Action{Delete}, "its issue was begun anew with --new"}
	case !s.current():
		return Verdict{[]Action{Delete}, "its issue has another sandbox now"}
	case s.State.Failed():
		return Verdict{[]Action{Delete}, "it broke, and no run needs it"}
	}
	return s.mind()
}

// mind is the verdict on a sandbox that is not deleted: it must not run for
// nobody.
func (s Sandbox) mind() Verdict {
	v := Verdict{Why: "it is kept for the next run"}
	if s.unfinished() {
		v.Why = fmt.Sprintf("run %s goes on with it", s.Owner.Run.ID)
	}
	kept := s.Owner.Run != nil && s.Owner.Run.Options.Keep
	if s.AutoStop != nil && *s.AutoStop == 0 && !s.State.Failed() {
		v.Do, v.Why = append(v.Do, Bound), "it would never stop by itself"
	}
	if s.State == daytona.Started && !kept {
		v.Do, v.Why = append(v.Do, Stop), "it runs, and nobody works on it"
	}
	return v
}

// unfinished reports whether the thread's newest run can go on.
func (s Sandbox) unfinished() bool {
	return s.Owner.Run != nil && !s.Owner.Run.State.Final()
}

// named reports whether the thread's next run finds the sandbox: by its name,
// whether or not the one that made it came to store its id.
func (s Sandbox) named() bool {
	t := s.Owner.Thread
	return s.Name == run.SandboxName(t.RepositoryID, t.Ref.Number, t.Generation)
}

// needed reports whether an unfinished run has its work there, or looks for it
// there. If it is broken, the run mends it, or replaces it.
func (s Sandbox) needed() bool {
	return s.unfinished() && (s.named() || s.ID == s.Owner.Thread.SandboxID)
}

// current reports whether it is the thread's sandbox. The one that a thread
// with a --local run remembers is not at Daytona.
func (s Sandbox) current() bool {
	t, r := s.Owner.Thread, s.Owner.Run
	return s.ID == t.SandboxID || s.named() && (t.SandboxID == "" || r != nil && r.Options.Local != "")
}

// overdue reports whether the sandbox should be deleted by now, by its own
// interval. As of v0.190 Daytona looks at stopped ones only, so what it
// archived before is left to us. A run that waits has its work there.
func (s Sandbox) overdue(quiet time.Duration) bool {
	if s.AutoDelete == nil || *s.AutoDelete <= 0 || s.State == daytona.Started || s.State.Failed() {
		return false
	}
	waits := s.Owner.Run != nil && s.Owner.Run.State == run.Parked
	return !waits && quiet > grace+time.Duration(*s.AutoDelete)*time.Minute
}

// LastUse is when something last happened in the sandbox, or to it.
func (s Sandbox) LastUse() time.Time {
	return cmp.Or(s.LastActivityAt.Time, s.UpdatedAt.Time, s.CreatedAt.Time)
}
