package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	const burst, interval = 500, 100 * time.Millisecond
	p, now := &Pace{Burst: burst, Interval: interval}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range burst {
		if wait := p.delay(now); wait != 0 {
			t.Fatalf("request %d of a burst waits %s", i+1, wait)
		}
	}
	for i, want := range []time.Duration{1, 2, 3} {
		if wait := p.delay(now); wait != want*interval {
			t.Errorf("request %d after a burst waits %s", i+1, wait)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(cancelled, now); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is cancelled waits: %v", err)
	}
	// All four have had their turn by now, and one more request fits.
	now = now.Add(5 * interval)
	if wait := p.delay(now); wait != 0 {
		t.Errorf("after a pause it waits %s", wait)
	}
	if wait := p.delay(now); wait != interval {
		t.Errorf("the next one waits %s", wait)
	}
	now = now.Add(time.Hour)
	for range burst {
		if wait := p.delay(now); wait != 0 {
			t.Errorf("after an hour it waits %s", wait)
		}
	}
	if wait := p.delay(now); wait != interval {
		t.Errorf("an hour is saved up for: %s", wait)
	}
}

// Who is let through at once goes, then the rate; whoever waits can be told to
// stop.
func TestPaceWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, began := &Pace{Burst: 60, Interval: time.Second}, time.Now()
		for n := range 90 {
			if err := p.Wait(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			if want := time.Duration(max(0, n-59)) * time.Second; time.Since(began) != want {
				t.Fatalf("the call %d went after %s, want %s", n, time.Since(began), want)
			}
		}
		time.Sleep(10 * time.Minute) // it saves no more than a minute's worth
		began = time.Now()
		for range 61 {
			_ = p.Wait(t.Context(), time.Now())
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("61 calls took %s", got)
		}
		why := errors.New("enough")
		ctx, stop := context.WithCancelCause(t.Context())
		stop(why)
		if err := p.Wait(ctx, time.Now()); !errors.Is(err, why) {
			t.Errorf("after its end: %v", err)
		}
	})
}
