package store

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
)

// way prints steps and attempts, times as seconds after the start.
func way(t *testing.T, s *Store, id string, start time.Time) string {
	t.Helper()
	at := func(when time.Time) string {
		if when.IsZero() {
			return "…"
		}
		return fmt.Sprint(int(when.Sub(start).Seconds()))
	}
	var b strings.Builder
	steps, err := s.Steps(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range steps {
		fmt.Fprintf(&b, "%d %s %s-%s $%g\n", st.Attempt, st.State, at(st.EnteredAt), at(st.LeftAt), st.CostUSD)
	}
	attempts, err := s.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		fmt.Fprintf(&b, "%d by %s %s-%s %q\n", a.Number, a.Owner, at(a.BeganAt), at(a.SeenAt), a.Ended)
	}
	return b.String()
}

func TestAttempts(t *testing.T) {
	s, c := setup(t)
	start, th := c.now(), newThread(t, s, 1)
	l, r := newRun(t, s, th) // by "a"
	step := func(next run.State) {
		t.Helper()
		c.add(10 * time.Second)
		if err := s.Advance(t.Context(), l, r, next); err != nil {
			t.Fatal(err)
		}
	}
	takeUp := func(owner string, dead bool) {
		t.Helper()
		var err error
		if l, err = s.Acquire(t.Context(), th.ID, owner, time.Minute, func(string) bool { return dead }); err != nil {
			t.Fatal(err)
		}
		if err := s.Resume(t.Context(), l, r); err != nil {
			t.Fatal(err)
		}
	}
	step(run.Freezing)
	step(run.Provisioning)
	r.Cost.USD = 0.5
	c.add(5 * time.Second)
	takeUp("b", true)
	c.add(5 * time.Second)
	if err := s.Renew(t.Context(), l, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	takeUp("c", false)
	c.add(time.Second)
	if err := s.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	takeUp("d", false)
	want := `1 queued 0-10 $0
1 freezing 10-20 $0
1 provisioning 20-20 $0
2 provisioning 25-30 $0.5
3 provisioning 3630-3631 $0.5
4 provisioning 3631-… $0.5
1 by a 0-20 "killed"
2 by b 25-30 "silent"
3 by c 3630-3631 "let_go"
4 by d 3631-3631 ""
`
	if got := way(t, s, r.ID, start); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := s.Resume(t.Context(), Lease{Thread: th.ID, Owner: "a", Epoch: 1}, r); !errors.Is(err, ErrFenced) {
		t.Errorf("resumed under an old lease: %v", err)
	}
}

// A process that slept with its machine, and kept its lease, goes on in another
// attempt: what it slept counts for none.
func TestSlept(t *testing.T) {
	s, c := setup(t)
	start := c.now()
	l, r := newRun(t, s, newThread(t, s, 1))
	for range 20 {
		c.add(5 * time.Second)
		if err := s.Renew(t.Context(), l, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	c.add(8 * time.Hour)
	r.Cost.USD = 0.5
	for range 2 {
		c.add(5 * time.Second)
		if err := s.SaveRun(t.Context(), l, r); err != nil {
			t.Fatal(err)
		}
	}
	want := `1 queued 0-100 $0
2 queued 28905-… $0
1 by a 0-100 "silent"
2 by a 28905-28910 ""
`
	if got := way(t, s, r.ID, start); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestHolder(t *testing.T) {
	s, c := setup(t)
	th := newThread(t, s, 1)
	if h, err := s.Holder(t.Context(), th.ID); h != nil || err != nil {
		t.Errorf("a thread that nobody drives is held: %v, %v", h, err)
	}
	since := c.now()
	l, _ := newRun(t, s, th)
	c.add(59 * time.Second)
	if err := s.Renew(t.Context(), l, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	want := Held{Owner: "a", Since: since, Until: since.Add(119 * time.Second)}
	if h, err := s.Holder(t.Context(), th.ID); err != nil || h == nil || *h != want {
		t.Errorf("Holder = %+v, %v; want %+v", h, err, want)
	}
	if err := s.Release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if h, err := s.Holder(t.Context(), th.ID); h != nil || err != nil {
		t.Errorf("a lease that was given back is held: %v, %v", h, err)
	}
	if _, err := s.Holder(t.Context(), "t_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the holder of no thread: %v", err)
	}
}

func TestAskCancel(t *testing.T) {
	s, _ := setup(t)
	_, r := newRun(t, s, newThread(t, s, 1))
	for _, want := range []bool{false, true, true} {
		if asked, err := s.CancelAsked(t.Context(), r.ID); asked != want || err != nil {
			t.Fatalf("CancelAsked = %v, %v; want %v", asked, err, want)
		}
		if err := s.AskCancel(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AskCancel(t.Context(), "r_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("cancelling no run: %v", err)
	}
	if _, err := s.CancelAsked(t.Context(), "r_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("asking about no run: %v", err)
	}
}

// version1 unpacks a store that the release with schema version 1 wrote: one
// run that failed, and one that its process (whose lease stands) left while
// freezing. Both began at noon on 22 November.
func version1(t *testing.T) (dir string) {
	t.Helper()
	packed, err := os.Open("testdata/version1.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMigratesVersion1(t *testing.T) {
	c := &clock{t: time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)}
	s, err := Open(t.Context(), version1(t), c.now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if got, want := way(t, s, "r_done000000", noon), `1 queued 0-1 $0
1 freezing 1-2 $0
1 reporting 2-3 $0
1 settling 3-4 $0
1 failed 4-… $0
1 by  0-4 "let_go"
`; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}

	left, err := s.Run(t.Context(), "left")
	if err != nil || left.State != run.Freezing || left.Cost.USD != 0.25 {
		t.Fatalf("run = %+v, %v", left.Run, err)
	}
	if log, err := s.Entries(t.Context(), left.ID, 0, 9); err != nil || len(log) != 1 || log[0].Text != "hello" {
		t.Errorf("entries = %+v, %v", log, err)
	}
	l, err := s.Acquire(t.Context(), left.ThreadID, "me", time.Minute, alive)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(t.Context(), l, left.Run); err != nil {
		t.Fatal(err)
	}
	if got, want := way(t, s, left.ID, noon), `1 queued 4-5 $0
1 freezing 5-5 $0
2 freezing 3600-… $0.25
1 by process 7 on laptop 4-5 "silent"
2 by me 3600-3600 ""
`; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
