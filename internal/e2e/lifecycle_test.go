package e2e_test

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/run"
)

// shifted is a clock that can be put forward.
type shifted struct {
	mu    sync.Mutex
	by    time.Duration
	looks int
}

func (c *shifted) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	return time.Now().Add(c.by)
}

func (c *shifted) forward(d time.Duration) (looks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
	return c.looks
}

// thinking is a stack whose Daytona has the clock, with a run whose model call
// lasts until release is called.
func thinking(t *testing.T, clock *shifted, o e2e.Options) (s *e2e.Stack, c *e2e.Command, release func()) {
	t.Helper()
	o.Engine, o.Light, o.Scenario = e2e.Process, true, "adds"
	o.Anthropic = anthropic.Options{Scenarios: adds}
	o.Daytona.Now = clock.now
	s = e2e.New(t, o)
	s.TouchEvery(20 * time.Millisecond)
	waiting, release := holdAfter(s, 1)
	t.Cleanup(release)
	c = s.Start("run-issue", issue(s, "thinks"))
	s.Eventually("the long call", waiting)
	return s, c, release
}

// TestThinkingModel has a model think for an hour of Daytona's time. Its run
// shows activity every minute, so the sandbox goes on; one beside it that
// nobody works in stops.
func TestThinkingModel(t *testing.T) {
	t.Parallel()
	clock := &shifted{by: -2 * time.Hour}
	began := clock.now()
	var o e2e.Options
	o.Daytona.Wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if strings.HasSuffix(r.URL.Path, "/last-activity") {
				clock.forward(time.Minute)
			}
		})
	}
	s, c, release := thinking(t, clock, o)
	made(t, s, "beside", map[string]string{"team": "web"})
	s.Eventually("an hour to pass", func() bool { return clock.now().Sub(began) > time.Hour })
	s.Eventually("the idle one to stop", func() bool { return s.Sandboxes()["beside"].State == daytona.Stopped })
	for name, sb := range s.Sandboxes() {
		if name != "beside" && sb.State != daytona.Started {
			t.Errorf("the run's sandbox is %s", sb.State)
		}
	}
	release()
	r := wantExit(t, c.Wait(), 0)
	for _, trouble := range []string{"was stopped", "note:", "going back"} {
		if strings.Contains(r.Stderr, trouble) {
			t.Errorf("the run met trouble: %s", r)
		}
	}
}

// TestForgottenRun kills a run's process amid Claude's work, and nobody comes
// back: the sandbox stops after fifteen minutes, is archived and deleted.
func TestForgottenRun(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	clock := &shifted{by: -9 * day} // when it ends, Daytona's clock is still behind gc's
	s, c, _ := thinking(t, clock, e2e.Options{})
	c.Signal(syscall.SIGKILL)
	c.Wait()
	var sb *daytona.Sandbox
	look := func() daytona.State {
		for _, sb = range s.Sandboxes() {
			return sb.State
		}
		return daytona.Destroyed
	}
	// passes lets time pass until something happens, and not before.
	passes := func(d time.Duration, from, to daytona.State) {
		t.Helper()
		const margin = time.Minute
		looks := clock.forward(d - margin)
		s.Eventually("Daytona to look twice", func() bool { return clock.forward(0) > looks+1 })
		if got := look(); got != from {
			t.Fatalf("after %s it is %s, not %s", d-margin, got, from)
		}
		clock.forward(margin)
		s.Eventually("it to be "+string(to), func() bool { return look() == to })
	}
	look()
	began := sb.CreatedAt.Time
	passes(run.IdleMinutes*time.Minute, daytona.Started, daytona.Stopped)
	ran := sb.UpdatedAt.Sub(began)
	passes(day, daytona.Stopped, daytona.Archived)
	// As of v0.190 Daytona itself deletes no sandbox that it archived.
	clock.forward(7*day - time.Hour)
	s.Eventually("its end", func() bool {
		wantExit(t, s.Run("sandboxes", "gc"), 0)
		return look() == daytona.Destroyed
	})
	running := broker.SandboxUSD(2, 4, 10, ran)
	stored := broker.SandboxUSD(0, 0, 10, 8*day)
	if t.Logf("%s of running cost $%.4f, eight days of storage at most $%.4f", ran.Round(time.Second), running, stored); ran > 16*time.Minute || running+stored > 0.15 {
		t.Errorf("a forgotten run costs $%.4f", running+stored)
	}
}
