package sandboxes

import (
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
)

// USD is what the thread of a sandbox cost so far: what its runs did, and the
// time for which the sandbox has been running since without one. False: the
// store doesn't know the thread.
func (s Sandbox) USD(now time.Time) (float64, bool) {
	if s.Owner == nil {
		return 0, false
	}
	usd := s.Owner.USD
	if s.State != daytona.Started {
		return usd, true // a run counts its sandbox's time itself
	}
	since := s.UpdatedAt.Time // when it was started, or changed otherwise
	if r := s.Owner.Run; r != nil {
		if !r.State.Final() && r.State != run.Parked {
			return usd, true
		}
		if r.EndedAt.After(since) {
			since = r.EndedAt
		}
	}
	if alone := now.Sub(since); alone > 0 && !since.IsZero() {
		usd += broker.SandboxUSD(int(s.CPU), int(s.Memory), int(s.Disk), alone)
	}
	return usd, true
}
