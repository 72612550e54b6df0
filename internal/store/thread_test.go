package store

import (
	"errors"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
)

// TestOwned follows a thread from its making to its second generation.
func TestOwned(t *testing.T) {
	t.Parallel()
	s, clock := setup(t)
	if _, err := s.Owned(t.Context(), "t_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown thread: %v", err)
	}
	th := newThread(t, s, 42)
	owned := func() *Owned {
		t.Helper()
		o, err := s.Owned(t.Context(), th.ID)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := owned(); o.Thread.ID != th.ID || o.Run != nil || o.USD != 0 || !o.Newest || o.Held != nil {
		t.Errorf("a thread without a run: %+v", o)
	}

	lease, first := newRun(t, s, th)
	first.Cost.USD = 0.25
	if err := s.SaveRun(t.Context(), lease, first); err != nil {
		t.Fatal(err)
	}
	_, second := newRun(t, s, th)
	second.Cost.USD = 0.5
	lease.Epoch++ // newRun took it once more
	if err := s.SaveRun(t.Context(), lease, second); err != nil {
		t.Fatal(err)
	}
	newRun(t, s, newThread(t, s, 43)) // is another's
	if o := owned(); o.Run.ID != second.ID || o.USD != 0.75 || o.Held == nil || o.Held.Owner != "a" {
		t.Errorf("a thread at work: %+v", o)
	}
	runs, err := s.RunsOn(t.Context(), th.ID)
	if err != nil || len(runs) != 2 || runs[0].ID != second.ID || runs[1].ID != first.ID {
		t.Errorf("its runs: %v, %v", runs, err)
	}

	clock.add(time.Hour)
	if o := owned(); o.Held == nil || !o.Held.Until.Before(clock.now()) {
		t.Errorf("a lease that ran out: %+v", o.Held)
	}
	if err := s.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	later := &run.Thread{ID: run.NewID("t"), RepositoryID: th.RepositoryID, Generation: 2, Ref: th.Ref, SessionID: "s"}
	if err := s.CreateThread(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if o := owned(); o.Held != nil || o.Newest {
		t.Errorf("a thread with a later generation: %+v", o)
	}
}
