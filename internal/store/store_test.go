package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/google/uuid"
)

// clock is a hand-moved clock.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func setup(t *testing.T) (*Store, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)}
	s, err := Open(t.Context(), t.TempDir(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

func alive(string) bool { return false } // the dead predicate of owners that all live

func newThread(t *testing.T, s *Store, issue int) *run.Thread {
	t.Helper()
	th := &run.Thread{
		ID: run.NewID("t"), RepositoryID: 7, Generation: 1, SessionID: uuid.NewString(),
		Ref: run.Ref{Owner: "demo", Repo: "shop", Number: issue},
	}
	if err := s.CreateThread(t.Context(), th); err != nil {
		t.Fatal(err)
	}
	return th
}

// newRun takes the thread's lease and stores a run under it.
func newRun(t *testing.T, s *Store, th *run.Thread) (Lease, *run.Run) {
	t.Helper()
	l, err := s.Acquire(t.Context(), th.ID, "a", time.Minute, alive)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Run{ID: run.NewID("r"), ThreadID: th.ID}
	if err := s.CreateRun(t.Context(), l, r); err != nil {
		t.Fatal(err)
	}
	return l, r
}

func TestReopenKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	id, th := s.ID(), newThread(t, s, 42)
	l, err := s.Acquire(t.Context(), th.ID, "here/1", time.Minute, alive)
	if err != nil {
		t.Fatal(err)
	}
	th.Branch, th.PullRequest, th.CommentID, th.SandboxID = "dayclaude/issue-42", 43, 99, "sb"
	if err := s.SaveThread(t.Context(), l, th); err != nil {
		t.Fatal(err)
	}
	r := &run.Run{ID: run.NewID("r"), ThreadID: th.ID, Options: run.Options{Model: "m", Timeout: time.Hour}}
	if err := s.CreateRun(t.Context(), l, r); err != nil {
		t.Fatal(err)
	}
	r.StartedAt = time.Now().UTC().Truncate(time.Millisecond)
	r.Frozen = &run.Frozen{Base: "trunk", Issue: run.Issue{Title: "it's `$(odd)`\n"}}
	if err := s.Advance(t.Context(), l, r, run.Freezing); err != nil {
		t.Fatal(err)
	}
	r.Outcome = &run.Outcome{State: run.Failed, Problem: run.Problem{Kind: fault.Auth, Message: "no"}}
	for _, next := range []run.State{run.Reporting, run.Settling, run.Failed} {
		if err := s.Advance(t.Context(), l, r, next); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{".", "store.db"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v: others can read it", name, info.Mode(), err)
		}
	}
	s, err = Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.ID() != id {
		t.Errorf("the store's id changed from %s to %s", id, s.ID())
	}
	got, err := s.Thread(t.Context(), 7, 42)
	if err != nil || !reflect.DeepEqual(got, th) {
		t.Errorf("thread = %+v, %v; want %+v", got, err, th)
	}
	latest, err := s.Latest(t.Context(), th.ID)
	if err != nil || !reflect.DeepEqual(latest, r) {
		t.Errorf("run =\n%+v, %v; want\n%+v", latest, err, r)
	}
	steps, err := s.Steps(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, st := range steps {
		states = append(states, string(st.State))
	}
	if got := strings.Join(states, " "); got != "queued freezing reporting settling failed" {
		t.Errorf("steps = %s", got)
	}
}

func TestLeaseFencesTheOneBefore(t *testing.T) {
	s, c := setup(t)
	th := newThread(t, s, 1)
	first, err := s.Acquire(t.Context(), th.ID, "a/1", 20*time.Second, alive)
	if err != nil {
		t.Fatal(err)
	}
	r := &run.Run{ID: run.NewID("r"), ThreadID: th.ID}
	if err := s.CreateRun(t.Context(), first, r); err != nil {
		t.Fatal(err)
	}

	var held *Held
	if _, err := s.Acquire(t.Context(), th.ID, "b/2", time.Minute, alive); !errors.As(err, &held) || held.Owner != "a/1" {
		t.Fatalf("a second driver got %v, want Held by a/1", err)
	}
	c.add(15 * time.Second)
	if err := s.Renew(t.Context(), first, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	c.add(15 * time.Second)
	if _, err := s.Acquire(t.Context(), th.ID, "b/2", time.Minute, alive); !errors.As(err, &held) {
		t.Fatalf("a renewed lease was taken: %v", err)
	}
	c.add(6 * time.Second)
	second, err := s.Acquire(t.Context(), th.ID, "b/2", time.Minute, alive)
	if err != nil {
		t.Fatalf("a lease that ran out: %v", err)
	}

	for name, write := range map[string]func() error{
		"advance":    func() error { return s.Advance(t.Context(), first, r, run.Freezing) },
		"save run":   func() error { return s.SaveRun(t.Context(), first, r) },
		"save":       func() error { return s.SaveThread(t.Context(), first, th) },
		"append":     func() error { return s.Append(t.Context(), first, r, &run.Entry{Kind: run.Notice}) },
		"renew":      func() error { return s.Renew(t.Context(), first, time.Minute) },
		"release":    func() error { return s.Release(t.Context(), first) },
		"create run": func() error { return s.CreateRun(t.Context(), first, &run.Run{ID: run.NewID("r"), ThreadID: th.ID}) },
	} {
		if err := write(); !errors.Is(err, ErrFenced) {
			t.Errorf("%s by the old driver: %v, want ErrFenced", name, err)
		}
	}
	if r.State != run.Queued {
		t.Errorf("a refused advance left the run in %s", r.State)
	}
	if err := s.Release(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), th.ID, "c/3", time.Minute, alive); err != nil {
		t.Errorf("a released lease: %v", err)
	}
	if _, err := s.Acquire(t.Context(), th.ID, "d/4", time.Minute, func(o string) bool { return o == "c/3" }); err != nil {
		t.Errorf("a dead owner's lease: %v", err)
	}
}

func TestAdvanceFollowsTheTable(t *testing.T) {
	s, _ := setup(t)
	l, r := newRun(t, s, newThread(t, s, 1))
	if err := s.Advance(t.Context(), l, r, run.Publishing); err == nil || r.State != run.Queued {
		t.Errorf("queued → publishing: %v, state %s", err, r.State)
	}
}

func TestRunByPrefix(t *testing.T) {
	s, c := setup(t)
	th := newThread(t, s, 42)
	l, err := s.Acquire(t.Context(), th.ID, "a", time.Minute, alive)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"r_aaaa000000", "r_aabb000000", "r_zzzzzzzzzz"} {
		c.add(time.Second)
		if err := s.CreateRun(t.Context(), l, &run.Run{ID: id, ThreadID: th.ID}); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{
		"r_aaaa000000": "r_aaaa000000", "aaa": "r_aaaa000000", "AAB": "r_aabb000000", "z": "r_zzzzzzzzzz",
		"aa": "", "nope": "", "%": "", "r_a%": "",
	} {
		got, err := s.Run(t.Context(), in)
		switch {
		case want == "" && err == nil:
			t.Errorf("Run(%q) = %s, want an error", in, got.ID)
		case want != "" && (err != nil || got.ID != want || got.Ref.String() != "demo/shop#42"):
			t.Errorf("Run(%q) = %+v, %v; want %s", in, got, err, want)
		}
	}
	list, err := s.Runs(t.Context(), 2)
	if err != nil || len(list) != 2 || list[0].ID != "r_zzzzzzzzzz" || list[1].Number != 2 {
		t.Errorf("Runs(2) = %+v, %v", list, err)
	}
}

func TestEntriesAreNumberedAndPaged(t *testing.T) {
	s, _ := setup(t)
	l, r := newRun(t, s, newThread(t, s, 1))
	r.LastEvent = 9
	for range 3 {
		if err := s.Append(t.Context(), l, r, &run.Entry{Kind: run.Said, Text: "a"}, &run.Entry{Kind: run.Said, Text: "b"}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.Entries(t.Context(), r.ID, 3, 2)
	if err != nil || len(page) != 2 || page[0].Number != 4 || page[1].Number != 5 || page[0].Text != "b" {
		t.Errorf("entries after 3 = %+v, %v", page, err)
	}
	if got, _ := s.Latest(t.Context(), r.ThreadID); got.LastEvent != 9 {
		t.Errorf("LastEvent = %d, want the run stored with its entries", got.LastEvent)
	}
}

func TestConcurrentProcessesShareIt(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	ids := make(chan string, 8)
	for range 8 { // eight first starts at once: one schema, one id
		wg.Go(func() {
			s, err := Open(t.Context(), dir, time.Now)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			ids <- s.ID()
			th := &run.Thread{ID: run.NewID("t"), RepositoryID: 1, Generation: 1, Ref: run.Ref{Number: 5}}
			if err := s.CreateThread(t.Context(), th); err != nil && fault.KindOf(err) != fault.Conflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("two ids: %s and %s", first, id)
		}
	}
}

func TestRunOfAnIssue(t *testing.T) {
	s, c := setup(t)
	th := newThread(t, s, 42)
	l, old := newRun(t, s, th)
	for _, next := range []run.State{run.Freezing, run.NotAdmitted} {
		if err := s.Advance(t.Context(), l, old, next); err != nil {
			t.Fatal(err)
		}
	}
	again := &run.Thread{ID: run.NewID("t"), RepositoryID: 7, Generation: 2, Ref: th.Ref}
	if err := s.CreateThread(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	_, first := newRun(t, s, again)
	c.add(time.Second)
	_, second := newRun(t, s, again)
	c.add(time.Second)
	newRun(t, s, newThread(t, s, 43))

	got, err := s.RunOf(t.Context(), run.Ref{Owner: "Demo", Repo: "SHOP", Number: 42})
	if err != nil || got.ID != second.ID {
		t.Errorf("RunOf = %+v, %v; want %s", got, err, second.ID)
	}
	if _, err := s.RunOf(t.Context(), run.Ref{Owner: "demo", Repo: "shop", Number: 44}); !errors.Is(err, ErrNotFound) || fault.HintOf(err) == "" {
		t.Errorf("RunOf an issue without runs: %v", err)
	}
	list, err := s.Unfinished(t.Context(), 9)
	if err != nil || len(list) != 3 || list[2].ID != first.ID {
		t.Errorf("Unfinished = %+v, %v; want all but the one that ended", list, err)
	}
}
