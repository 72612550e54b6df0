package sandboxes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// Cleaner does with sandboxes what a Rule says. Several at once, and one beside
// runs, are in nobody's way: a sandbox of a known thread is judged once more,
// and touched, under the thread's lease only. What one leaves that is killed,
// the next one does. All fields are required.
type Cleaner struct {
	*Keeper
	Process string                  // this one, as owner of leases
	Dead    func(owner string) bool // the process that took a lease under this name is gone
}

// Finding is a sandbox with which something is to be done, or was done.
type Finding struct {
	Sandbox
	Verdict
	Err error // why it could not be done
}

const (
	atOnce     = 8                // findings
	cleanLease = time.Minute      // it is not renewed
	cleanTime  = 45 * time.Second // for one finding, so that the lease outlasts it
)

// Find lists sandboxes, the store's or with all every one that the API key
// sees, and returns those with which the rule has something to be done.
// seen is how many there are.
func (c *Cleaner) Find(ctx context.Context, all bool, rule Rule) (found []*Finding, seen int, err error) {
	for s, err := range c.List(ctx, all) {
		if err != nil {
			return nil, seen, err
		}
		seen++
		if v := rule(s, c.driver(s), c.Now()); len(v.Do) > 0 {
			found = append(found, &Finding{Sandbox: s, Verdict: v})
		}
	}
	return found, seen, nil
}

// driver is the living process that works on the sandbox's thread.
func (c *Cleaner) driver(s Sandbox) *store.Held {
	if s.Owner == nil {
		return nil
	}
	held := s.Owner.Held
	if held == nil || held.Owner == c.owner() || !c.Now().Before(held.Until) || c.Dead(held.Owner) {
		return nil
	}
	return held
}

func (c *Cleaner) owner() string { return store.CleanUp + c.Process }

// Do does what was found, if the rule still says so, several at once and no
// more a minute than Daytona allows; the sandboxes of one thread one after the
// other. Each finding then says what was done or what went wrong, and is
// handed to told, one at a time. Once ctx ends, no other is begun.
func (c *Cleaner) Do(ctx context.Context, found []*Finding, rule Rule, told func(*Finding)) {
	if len(found) == 0 {
		return
	}
	most := c.perMinute(ctx)
	limit := &pause.Pace{Burst: most, Interval: time.Minute / time.Duration(most)}
	var telling sync.Mutex
	var work errgroup.Group
	work.SetLimit(atOnce)
	for _, group := range byThread(found) {
		work.Go(func() error {
			for _, f := range group {
				if f.Err = limit.Wait(ctx, c.Now()); f.Err == nil {
					f.Err = c.finish(ctx, f, rule)
				}
				telling.Lock()
				told(f)
				telling.Unlock()
			}
			return nil
		})
	}
	_ = work.Wait() // the errors are the findings'
}

// byThread puts the findings of each thread together: a lease that this
// process has, it can take again.
func byThread(found []*Finding) [][]*Finding {
	var groups [][]*Finding
	at := map[string]int{}
	for _, f := range found {
		key := f.ID
		if f.Owner != nil {
			key = f.Owner.Thread.ID
		}
		i, ok := at[key]
		if !ok {
			i, at[key] = len(groups), len(groups)
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], f)
	}
	return groups
}

// finish judges a finding under the lease of its thread, if it has one.
func (c *Cleaner) finish(ctx context.Context, f *Finding, rule Rule) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cleanTime,
		fault.New(fault.Unavailable, "it was not done within %s", cleanTime).WithHint("the next clean-up tries again"))
	defer cancel()
	if f.Owner == nil {
		return c.judge(ctx, f, rule)
	}
	err := c.Store.Hold(ctx, f.Owner.Thread.ID, c.owner(), cleanLease, c.Dead, func() error { return c.judge(ctx, f, rule) })
	if held := (*store.Held)(nil); errors.As(err, &held) {
		f.Verdict = Verdict{Why: held.Owner + " works on it"}
		return nil
	}
	return err
}

// judge looks again and does what there then is to do.
func (c *Cleaner) judge(ctx context.Context, f *Finding, rule Rule) error {
	now, same, err := c.again(ctx, f.Sandbox)
	switch {
	case err != nil:
		return err
	case !same:
		f.Verdict = Verdict{Why: "it changed meanwhile"}
		return nil
	}
	f.Sandbox, f.Verdict = now, rule(now, c.driver(now), c.Now())
	for _, do := range f.Do {
		if err := c.act(ctx, f.ID, do); err != nil {
			return err
		}
	}
	return nil
}

// again looks a sandbox up once more; false if it is gone, or belongs to
// another thread or store now.
func (c *Cleaner) again(ctx context.Context, before Sandbox) (Sandbox, bool, error) {
	s, err := c.Daytona.Get(ctx, before.ID)
	if fault.KindOf(err) == fault.NotFound {
		return before, false, nil
	} else if err != nil {
		return before, false, err
	}
	now, err := c.known(ctx, s)
	same := s.State != daytona.Destroyed && (now.Owner == nil) == (before.Owner == nil)
	for _, label := range []string{run.LabelStore, run.LabelThread} {
		same = same && s.Labels[label] == before.Labels[label]
	}
	return now, same, err
}

func (c *Cleaner) act(ctx context.Context, id string, do Action) error {
	switch do {
	case Delete:
		return c.Daytona.Delete(ctx, id)
	case Stop:
		return c.Daytona.Stop(ctx, id)
	case Bound:
		minutes := run.IdleMinutes
		return c.Daytona.SetIntervals(ctx, id, daytona.Intervals{AutoStop: &minutes})
	}
	return fmt.Errorf("nothing is known of the action %q", do)
}

// perMinute is how many findings a minute are dealt with: a quarter of what
// Daytona allows, which is for all machines of the organisation together. Each
// finding is two calls at least, one of which changes the sandbox.
func (c *Cleaner) perMinute(ctx context.Context) int {
	most := 10_000.0 / 2 // of Daytona's first tier
	if cfg, err := c.Daytona.Config(ctx); err == nil {
		for name, calls := range map[string]float64{"authenticated": 2, "sandboxLifecycle": 1} {
			if l := cfg.RateLimits[name]; l.Requests > 0 && l.Window > 0 {
				most = min(most, l.Requests/calls*60/l.Window)
			}
		}
	}
	return max(1, int(most/4))
}
