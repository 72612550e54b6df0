package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

const runColumns = `runs.id, thread_id, number, state, task, last_event, commit_sha, options, frozen, result, outcome, cost, runs.created_at, started_at, ended_at`

func scanRun(row scanner, more ...any) (*run.Run, error) {
	r := &run.Run{}
	var started, ended sql.NullTime
	into := []any{&r.ID, &r.ThreadID, &r.Number, &r.State, &r.Task, &r.LastEvent, &r.Commit,
		asJSON{&r.Options}, asJSON{&r.Frozen}, asJSON{&r.Result}, asJSON{&r.Outcome}, asJSON{&r.Cost},
		&r.CreatedAt, &started, &ended}
	err := row.Scan(append(into, more...)...)
	r.CreatedAt = r.CreatedAt.UTC()
	r.StartedAt, r.EndedAt = started.Time.UTC(), ended.Time.UTC()
	if err == nil && !r.State.Known() {
		err = fault.New(fault.Failed, "run %s is %q, which this dayclaude does not know", r.ID, r.State).WithHint("%s", newerHint)
	}
	return r, err
}

// asJSON scans a column of JSON into what it points to; NULL leaves it alone.
type asJSON struct{ into any }

func (j asJSON) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		return nil
	case string:
		src = []byte(v)
	}
	b, ok := src.([]byte)
	if !ok {
		return fmt.Errorf("%w: a column of JSON holds a %T", errDamaged, src)
	}
	if err := json.Unmarshal(b, j.into); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// encode is asJSON's other direction; a nil pointer becomes NULL.
func encode(v any) (sql.NullString, error) {
	b, err := json.Marshal(v)
	return sql.NullString{String: string(b), Valid: string(b) != "null"}, err
}

// CreateRun stores a new run as the next of its thread.
func (s *Store) CreateRun(ctx context.Context, l Lease, r *run.Run) error {
	options, err := encode(r.Options)
	if err != nil {
		return err
	}
	cost, err := encode(r.Cost)
	if err != nil {
		return err
	}
	r.State, r.CreatedAt = run.Queued, s.now().UTC()
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) + 1 FROM runs WHERE thread_id = $1`, r.ThreadID).Scan(&r.Number)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO runs (id, thread_id, number, state, options, cost, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			r.ID, r.ThreadID, r.Number, r.State, options, cost, r.CreatedAt)
		if err != nil {
			return err
		}
		if err := s.attempt(ctx, tx, l, r.ID); err != nil {
			return err
		}
		return s.enter(ctx, tx, r)
	})
}

// SaveRun stores what the run has come to, in the state it is in.
func (s *Store) SaveRun(ctx context.Context, l Lease, r *run.Run) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error { return s.update(ctx, tx, r) })
}

// Advance stores the run in its next state, which the table of transitions
// must allow.
func (s *Store) Advance(ctx context.Context, l Lease, r *run.Run, next run.State) error {
	if !r.State.CanBecome(next) {
		return fmt.Errorf("run %s can't go from %s to %s", r.ID, r.State, next)
	}
	before := *r
	r.State = next
	if next.Final() {
		r.EndedAt = s.now().UTC()
	}
	err := s.fenced(ctx, l, func(tx *sql.Tx) error {
		if err := s.update(ctx, tx, r); err != nil {
			return err
		}
		return s.enter(ctx, tx, r)
	})
	if err != nil {
		*r = before
	}
	return err
}

func (s *Store) update(ctx context.Context, tx *sql.Tx, r *run.Run) error {
	var columns [4]sql.NullString
	for i, v := range []any{r.Frozen, r.Result, r.Outcome, r.Cost} {
		var err error
		if columns[i], err = encode(v); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE runs SET state = $1, task = $2, last_event = $3, commit_sha = $4,
		frozen = $5, result = $6, outcome = $7, cost = $8, started_at = $9, ended_at = $10 WHERE id = $11`,
		r.State, r.Task, r.LastEvent, r.Commit, columns[0], columns[1], columns[2], columns[3],
		nullTime(r.StartedAt), nullTime(r.EndedAt), r.ID)
	return err
}

func nullTime(t time.Time) sql.NullTime { return sql.NullTime{Time: t.UTC(), Valid: !t.IsZero()} }

// AskCancel asks whoever drives the run to cancel it. It takes no lease.
func (s *Store) AskCancel(ctx context.Context, runID string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE runs SET cancel_asked_at = COALESCE(cancel_asked_at, $1) WHERE id = $2`, s.now().UTC(), runID)
		if err != nil {
			return err
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return ErrNotFound
		}
		return nil
	})
}

// CancelAsked reports whether somebody asked for the run to be cancelled.
func (s *Store) CancelAsked(ctx context.Context, runID string) (bool, error) {
	return first(ctx, s, func(row scanner) (asked bool, err error) { return asked, row.Scan(&asked) },
		`SELECT cancel_asked_at IS NOT NULL FROM runs WHERE id = $1`, runID)
}

// Latest returns the newest run of a thread, or ErrNotFound.
func (s *Store) Latest(ctx context.Context, thread string) (*run.Run, error) {
	return first(ctx, s, func(row scanner) (*run.Run, error) { return scanRun(row) },
		`SELECT `+runColumns+` FROM runs WHERE thread_id = $1 ORDER BY number DESC LIMIT 1`, thread)
}

// Before returns the run of the same thread that was before r, or ErrNotFound.
func (s *Store) Before(ctx context.Context, r *run.Run) (*run.Run, error) {
	return first(ctx, s, func(row scanner) (*run.Run, error) { return scanRun(row) },
		`SELECT `+runColumns+` FROM runs WHERE thread_id = $1 AND number < $2 ORDER BY number DESC LIMIT 1`, r.ThreadID, r.Number)
}

// Listed is a run with the issue it is about.
type Listed struct {
	*run.Run
	Ref run.Ref
}

// Runs returns the newest runs, at most limit.
func (s *Store) Runs(ctx context.Context, limit int) ([]Listed, error) {
	return s.list(ctx, `ORDER BY runs.created_at DESC, runs.id LIMIT $1`, limit)
}

// Run returns the one run whose id is, or begins with, the given one; the
// prefix "r_" may be left out. None is ErrNotFound, several a fault of kind
// Usage.
func (s *Store) Run(ctx context.Context, id string) (Listed, error) {
	id = "r_" + strings.TrimPrefix(strings.ToLower(id), "r_")
	// A range, not LIKE: ids hold an underscore, and the index serves it.
	found, err := s.list(ctx, `WHERE runs.id >= $1 AND runs.id < $2 ORDER BY runs.id LIMIT 2`, id, id+"{")
	switch {
	case err != nil:
		return Listed{}, err
	case len(found) == 0:
		return Listed{}, fault.New(fault.NotFound, "no run %s: %w", id, ErrNotFound)
	case len(found) > 1 && found[0].ID != id:
		return Listed{}, fault.New(fault.Usage, "several runs begin with %q", id).WithHint("give more of the id; `dayclaude runs list` shows them")
	}
	return found[0], nil
}

// RunOf returns the newest run on an issue, by the name that its repository
// last had here. None is ErrNotFound.
func (s *Store) RunOf(ctx context.Context, ref run.Ref) (Listed, error) {
	found, err := s.list(ctx, `WHERE lower(owner) = lower($1) AND lower(repo) = lower($2) AND issue = $3
		ORDER BY generation DESC, number DESC LIMIT 1`, ref.Owner, ref.Repo, ref.Number)
	if err == nil && len(found) == 0 {
		err = fault.New(fault.NotFound, "no run on %s: %w", ref, ErrNotFound)
	}
	if err != nil {
		return Listed{}, err
	}
	return found[0], nil
}

// Unfinished returns the runs that have not ended, newest first, at most limit.
func (s *Store) Unfinished(ctx context.Context, limit int) ([]Listed, error) {
	return s.list(ctx, `WHERE ended_at IS NULL ORDER BY runs.created_at DESC, runs.id LIMIT $1`, limit)
}

func (s *Store) list(ctx context.Context, tail string, args ...any) ([]Listed, error) {
	return all(ctx, s, func(row scanner) (l Listed, err error) {
		l.Run, err = scanRun(row, &l.Ref.Owner, &l.Ref.Repo, &l.Ref.Number)
		return l, err
	}, `SELECT `+runColumns+`, owner, repo, issue FROM runs JOIN threads ON threads.id = thread_id `+tail, args...)
}

// Append adds entries to the run's log and stores the run with them: its
// LastEvent and cost go together with what they count. The entries' numbers
// are set here.
func (s *Store) Append(ctx context.Context, l Lease, r *run.Run, entries ...*run.Entry) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		var last int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM entries WHERE run_id = $1`, r.ID).Scan(&last); err != nil {
			return err
		}
		for _, e := range entries {
			last++
			e.Number = last
			b, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO entries (run_id, number, entry) VALUES ($1, $2, $3)`, r.ID, last, string(b)); err != nil {
				return err
			}
		}
		return s.update(ctx, tx, r)
	})
}

// Entries returns the run's log after the given number, at most limit.
func (s *Store) Entries(ctx context.Context, runID string, after int64, limit int) ([]run.Entry, error) {
	return all(ctx, s, func(row scanner) (e run.Entry, err error) { return e, row.Scan(asJSON{&e}) },
		`SELECT entry FROM entries WHERE run_id = $1 AND number > $2 ORDER BY number LIMIT $3`, runID, after, limit)
}
