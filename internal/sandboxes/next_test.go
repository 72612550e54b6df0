package sandboxes

import (
	"math"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

var active = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestNextOf(t *testing.T) {
	t.Parallel()
	const day = 24 * 60
	minutes := func(n int) *int { return &n }
	at := func(minutes int) time.Time { return active.Add(time.Duration(minutes) * time.Minute) }
	for _, tt := range []struct {
		name                  string
		state                 daytona.State
		stop, archive, delete *int
		want                  Next
	}{
		{"runs", daytona.Started, minutes(15), minutes(day), minutes(7 * day), Next{Stops, at(15), true}},
		{"runs for ever", daytona.Started, minutes(0), minutes(day), minutes(7 * day), Next{Step: Stays}},
		{"runs, the server says nothing", daytona.Started, nil, nil, nil, Next{Step: Stays}},
		{"runs, ephemeral", daytona.Started, minutes(15), minutes(day), minutes(0), Next{Deletes, at(15), true}},
		{"ephemeral, but runs for ever", daytona.Started, minutes(0), minutes(day), minutes(0), Next{Step: Stays}},
		{"stopped, archive first", daytona.Stopped, minutes(15), minutes(day), minutes(7 * day), Next{Archives, at(day), false}},
		{"stopped, delete first", daytona.Stopped, minutes(15), minutes(7 * day), minutes(day), Next{Deletes, at(day), false}},
		{"stopped, both at once", daytona.Stopped, minutes(15), minutes(day), minutes(day), Next{Deletes, at(day), false}},
		{"stopped, never deleted", daytona.Stopped, minutes(15), minutes(day), minutes(-1), Next{Archives, at(day), false}},
		{"stopped, the longest archive interval", daytona.Stopped, minutes(15), minutes(0), minutes(-1), Next{Archives, at(30 * day), false}},
		{"stopped, deleted before the longest", daytona.Stopped, minutes(15), minutes(0), minutes(29 * day), Next{Deletes, at(29 * day), false}},
		{"stopped, the server says nothing", daytona.Stopped, nil, nil, nil, Next{Archives, at(7 * day), false}},
		{"stopped, ephemeral", daytona.Stopped, nil, nil, minutes(0), Next{Deletes, at(0), false}},
		{"archived", daytona.Archived, minutes(15), minutes(day), minutes(7 * day), Next{Step: Stays}},
		{"broken", daytona.Errored, minutes(15), minutes(day), minutes(7 * day), Next{Step: Stays}},
		{"starting", daytona.Starting, minutes(15), nil, nil, Next{Step: Changes}},
		{"being deleted", daytona.Destroying, minutes(15), nil, nil, Next{Step: Changes}},
		{"a state of tomorrow", "hibernating", minutes(15), nil, nil, Next{Step: Changes}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &daytona.Sandbox{State: tt.state, AutoStop: tt.stop, AutoArchive: tt.archive, AutoDelete: tt.delete, LastActivityAt: daytona.Time{Time: active}}
			if got := NextOf(s); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			s.LastActivityAt = daytona.Time{}
			if got := NextOf(s); got.Step != tt.want.Step || !got.At.IsZero() {
				t.Errorf("without a last activity: %+v", got)
			}
		})
	}
}

func TestUSD(t *testing.T) {
	t.Parallel()
	now := active.Add(time.Hour)
	hour := broker.SandboxUSD(2, 4, 10, time.Hour)
	for _, tt := range []struct {
		name  string
		state daytona.State
		owner *store.Owned
		want  float64 // negative: not known
	}{
		{"another's", daytona.Started, nil, -1},
		{"stopped", daytona.Stopped, &store.Owned{USD: 3, Run: &run.Run{State: run.Done, EndedAt: active}}, 3},
		{"kept running", daytona.Started, &store.Owned{USD: 3, Run: &run.Run{State: run.Done, EndedAt: active}}, 3 + hour},
		{"started again later", daytona.Started, &store.Owned{USD: 3, Run: &run.Run{State: run.Done, EndedAt: active.Add(-9 * time.Hour)}}, 3 + 2*hour},
		{"at work, which counts itself", daytona.Started, &store.Owned{USD: 3, Run: &run.Run{State: run.Working}}, 3},
		{"parked, and started by hand", daytona.Started, &store.Owned{USD: 3, Run: &run.Run{State: run.Parked}}, 3 + 2*hour},
		{"without a run", daytona.Started, &store.Owned{}, 2 * hour},
		{"a clock that is behind", daytona.Started, &store.Owned{USD: 3, Run: &run.Run{State: run.Done, EndedAt: now.Add(time.Minute)}}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Sandbox{Owner: tt.owner, Sandbox: &daytona.Sandbox{
				State: tt.state, CPU: 2, Memory: 4, Disk: 10, UpdatedAt: daytona.Time{Time: active.Add(-time.Hour)},
			}}
			got, known := s.USD(now)
			if known != (tt.want >= 0) || known && math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, %v, want %v", got, known, tt.want)
			}
		})
	}
}
