package engine

import (
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// TestSandboxTime: a sandbox that was left alone stopped after its idle time.
func TestSandboxTime(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	for name, test := range map[string]struct {
		steps []store.Step
		now   time.Time
		want  time.Duration
	}{
		"nothing yet":   {nil, at(9), 0},
		"before it":     {[]store.Step{{State: run.Queued, EnteredAt: at(0), LeftAt: at(1)}, {State: run.Freezing, EnteredAt: at(1)}}, at(9), 0},
		"until now":     {[]store.Step{{State: run.Freezing, EnteredAt: at(0), LeftAt: at(1)}, {State: run.Provisioning, EnteredAt: at(1)}}, at(9), 8 * time.Minute},
		"host restarts": {[]store.Step{{State: run.Working, EnteredAt: at(0), LeftAt: at(10)}, {State: run.Working, EnteredAt: at(12)}}, at(20), 20 * time.Minute},
		"host gone for the night": {
			[]store.Step{{State: run.Working, EnteredAt: at(0), LeftAt: at(10)}, {State: run.Working, EnteredAt: at(600)}}, at(620), (10 + 15 + 20) * time.Minute,
		},
		"parked": {
			[]store.Step{{State: run.Working, EnteredAt: at(0), LeftAt: at(10)}, {State: run.Parked, EnteredAt: at(10), LeftAt: at(200)}, {State: run.Provisioning, EnteredAt: at(200)}},
			at(203), 13 * time.Minute,
		},
	} {
		if got := sandboxTime(test.steps, test.now); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
