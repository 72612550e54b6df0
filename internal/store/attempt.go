package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
)

// Attempt is one process's time with a run: the one that created it, and each
// that took it up.
type Attempt struct {
	Number  int        `json:"number"` // 1, 2, … within the run
	Owner   string     `json:"owner"`  // as of its lease; "" if a dayclaude did it that kept no attempts
	BeganAt time.Time  `json:"began_at"`
	SeenAt  time.Time  `json:"seen_at"` // last sign of life
	Ended   AttemptEnd `json:"ended"`
}

// AttemptEnd is why an attempt ended.
type AttemptEnd string

// The ends of an attempt. What is known of a process that vanished is known
// once the next one takes its place.
const (
	Going  AttemptEnd = ""       // it goes on, or nobody has taken its place yet
	LetGo  AttemptEnd = "let_go" // the process gave the run back
	Killed AttemptEnd = "killed" // the process was gone
	Silent AttemptEnd = "silent" // the process gave no sign of life: it slept, or its machine is off
)

// Attempts returns the run's attempts, oldest first.
func (s *Store) Attempts(ctx context.Context, runID string) ([]Attempt, error) {
	return all(ctx, s, func(row scanner) (a Attempt, err error) {
		err = row.Scan(&a.Number, &a.Owner, &a.BeganAt, &a.SeenAt, &a.Ended)
		a.BeganAt, a.SeenAt = a.BeganAt.UTC(), a.SeenAt.UTC()
		return a, err
	}, `SELECT number, owner, began_at, seen_at, ended FROM attempts WHERE run_id = $1 ORDER BY number`, runID)
}

// Step is one time that a run entered a state.
type Step struct {
	State     run.State `json:"state"`
	Attempt   int       `json:"attempt"`
	EnteredAt time.Time `json:"entered_at"`
	LeftAt    time.Time `json:"left_at,omitzero"` // zero while it is the present one; of an attempt that vanished, its last sign of life
	CostUSD   float64   `json:"cost_usd"`         // of the run, when it entered
}

// Steps returns the run's way through its states. One that was taken up
// enters the state that it was left in once more.
func (s *Store) Steps(ctx context.Context, runID string) ([]Step, error) {
	var seen []time.Time // by the step's attempt
	steps, err := all(ctx, s, func(row scanner) (st Step, err error) {
		var at time.Time
		err = row.Scan(&st.State, &st.Attempt, &st.EnteredAt, &st.CostUSD, &at)
		st.EnteredAt, seen = st.EnteredAt.UTC(), append(seen, at.UTC())
		return st, err
	}, `SELECT state, attempt, entered_at, cost_usd, seen_at FROM steps
		JOIN attempts ON attempts.run_id = steps.run_id AND attempts.number = attempt
		WHERE steps.run_id = $1 ORDER BY steps.number`, runID)
	for i := range max(len(steps)-1, 0) {
		steps[i].LeftAt = steps[i+1].EnteredAt
		if steps[i].Attempt != steps[i+1].Attempt {
			steps[i].LeftAt = seen[i]
		}
	}
	return steps, err
}

// Resume stores that the lease's owner takes up a run that an earlier process
// left unfinished.
func (s *Store) Resume(ctx context.Context, l Lease, r *run.Run) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		if err := s.attempt(ctx, tx, l, r.ID); err != nil {
			return err
		}
		return s.enter(ctx, tx, r)
	})
}

// attempt begins the run's next attempt.
func (s *Store) attempt(ctx context.Context, tx *sql.Tx, l Lease, runID string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO attempts (run_id, number, owner, began_at, seen_at)
		SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $3 FROM attempts WHERE run_id = $1`, runID, l.Owner, s.now().UTC())
	return err
}

// enter notes that the run entered its state.
func (s *Store) enter(ctx context.Context, tx *sql.Tx, r *run.Run) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO steps (run_id, number, state, attempt, entered_at, cost_usd)
		SELECT $1, (SELECT COALESCE(MAX(number), 0) + 1 FROM steps WHERE run_id = $1), $2, MAX(number), $3, $4
		FROM attempts WHERE run_id = $1`, r.ID, r.State, s.now().UTC(), r.Cost.USD)
	return err
}

// silence is what a process can't keep that is awake: it renews its lease far
// more often.
const silence = time.Minute

// woke parts the attempt of an owner that slept, with its machine, in two: what
// lay between counts for neither.
func (s *Store) woke(ctx context.Context, tx *sql.Tx, l Lease) error {
	var id string
	var seen time.Time
	err := tx.QueryRowContext(ctx, `SELECT run_id, seen_at FROM attempts
		WHERE ended = '' AND run_id IN (SELECT id FROM runs WHERE thread_id = $1)`, l.Thread).Scan(&id, &seen)
	if errors.Is(err, sql.ErrNoRows) || err == nil && s.now().Sub(seen) <= silence {
		return nil
	} else if err != nil {
		return err
	}
	r, err := scanRun(tx.QueryRowContext(ctx, `SELECT `+runColumns+` FROM runs WHERE id = $1`, id))
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE attempts SET ended = $1 WHERE ended = '' AND run_id = $2`, Silent, id); err != nil {
		return err
	}
	if err := s.attempt(ctx, tx, l, id); err != nil {
		return err
	}
	return s.enter(ctx, tx, r)
}

// seen notes a sign of life of the thread's open attempt, and its end.
func (s *Store) seen(ctx context.Context, tx *sql.Tx, thread string, end AttemptEnd) error {
	_, err := tx.ExecContext(ctx, `UPDATE attempts SET seen_at = $1, ended = $2
		WHERE ended = '' AND run_id IN (SELECT id FROM runs WHERE thread_id = $3)`, s.now().UTC(), end, thread)
	return err
}
