package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// ErrNotFound says that there is no such thread or run.
var ErrNotFound = &fault.Error{Kind: fault.NotFound, Message: "not in the store", Hint: "`dayclaude runs list` shows what is"}

// ErrFenced says that another driver took the thread over meanwhile; the
// write that returned it did nothing.
var ErrFenced = &fault.Error{Kind: fault.Conflict, Message: "another process took this run over"}

const threadColumns = `id, repository_id, issue, generation, owner, repo, sandbox_id, branch, pull_request, comment_id, session_id, created_at`

func scanThread(row interface{ Scan(...any) error }) (*run.Thread, error) {
	t := &run.Thread{}
	err := row.Scan(&t.ID, &t.RepositoryID, &t.Ref.Number, &t.Generation, &t.Ref.Owner, &t.Ref.Repo,
		&t.SandboxID, &t.Branch, &t.PullRequest, &t.CommentID, &t.SessionID, &t.CreatedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	t.CreatedAt = t.CreatedAt.UTC()
	return t, err
}

// Thread returns the newest generation of an issue's thread, or ErrNotFound.
func (s *Store) Thread(ctx context.Context, repositoryID int64, issue int) (*run.Thread, error) {
	return scanThread(s.db.QueryRowContext(ctx, `SELECT `+threadColumns+` FROM threads
		WHERE repository_id = $1 AND issue = $2 ORDER BY generation DESC LIMIT 1`, repositoryID, issue))
}

// ThreadByID returns a thread, or ErrNotFound.
func (s *Store) ThreadByID(ctx context.Context, id string) (*run.Thread, error) {
	return scanThread(s.db.QueryRowContext(ctx, `SELECT `+threadColumns+` FROM threads WHERE id = $1`, id))
}

// CreateThread stores a new thread. A thread of the same repository, issue
// and generation is a fault of kind Conflict.
func (s *Store) CreateThread(ctx context.Context, t *run.Thread) error {
	t.CreatedAt = s.now().UTC()
	res, err := s.db.ExecContext(ctx, `INSERT INTO threads (`+threadColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (repository_id, issue, generation) DO NOTHING`,
		t.ID, t.RepositoryID, t.Ref.Number, t.Generation, t.Ref.Owner, t.Ref.Repo,
		t.SandboxID, t.Branch, t.PullRequest, t.CommentID, t.SessionID, t.CreatedAt)
	if err != nil {
		return err
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fault.New(fault.Conflict, "another process has just begun on %s", t.Ref)
	}
	return nil
}

// SaveThread stores what the thread has come to own.
func (s *Store) SaveThread(ctx context.Context, l Lease, t *run.Thread) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE threads SET owner = $1, repo = $2, sandbox_id = $3, branch = $4,
			pull_request = $5, comment_id = $6, session_id = $7 WHERE id = $8`,
			t.Ref.Owner, t.Ref.Repo, t.SandboxID, t.Branch, t.PullRequest, t.CommentID, t.SessionID, t.ID)
		return err
	})
}

// Lease is the right to drive a thread, for a while.
type Lease struct {
	Thread string
	Owner  string
	Epoch  int64
}

// Held is the fault of a lease that somebody else holds.
type Held struct {
	Owner string
	Since time.Time
}

func (h *Held) Error() string {
	return h.Owner + " has worked on it since " + h.Since.Local().Format("15:04:05 on 2 January")
}

// Acquire takes the thread's lease for ttl. A lease that has not run out is
// left alone, and *Held returned, unless it is the same owner's or its owner
// is known to be dead.
func (s *Store) Acquire(ctx context.Context, thread, owner string, ttl time.Duration, dead func(owner string) bool) (Lease, error) {
	l := Lease{Thread: thread, Owner: owner}
	err := s.write(ctx, func(tx *sql.Tx) error {
		var holder string
		var since, until sql.NullTime
		err := tx.QueryRowContext(ctx, `SELECT lease_owner, lease_since, lease_until, lease_epoch FROM threads WHERE id = $1`, thread).
			Scan(&holder, &since, &until, &l.Epoch)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		now := s.now().UTC()
		if holder != "" && holder != owner && until.Time.After(now) && !dead(holder) {
			return &Held{Owner: holder, Since: since.Time}
		}
		l.Epoch++
		_, err = tx.ExecContext(ctx, `UPDATE threads SET lease_owner = $1, lease_since = $2, lease_until = $3, lease_epoch = $4 WHERE id = $5`,
			owner, now, now.Add(ttl), l.Epoch, thread)
		return err
	})
	return l, err
}

// Renew extends the lease by ttl from now.
func (s *Store) Renew(ctx context.Context, l Lease, ttl time.Duration) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE threads SET lease_until = $1 WHERE id = $2`, s.now().UTC().Add(ttl), l.Thread)
		return err
	})
}

// Release gives the lease back.
func (s *Store) Release(ctx context.Context, l Lease) error {
	return s.fenced(ctx, l, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE threads SET lease_owner = '', lease_since = NULL, lease_until = NULL WHERE id = $1`, l.Thread)
		return err
	})
}

// fenced runs f in a transaction in which l is the thread's lease.
func (s *Store) fenced(ctx context.Context, l Lease, f func(*sql.Tx) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		var owner string
		var epoch int64
		err := tx.QueryRowContext(ctx, `SELECT lease_owner, lease_epoch FROM threads WHERE id = $1`, l.Thread).Scan(&owner, &epoch)
		if err != nil {
			return err
		}
		if owner != l.Owner || epoch != l.Epoch {
			return ErrFenced
		}
		return f(tx)
	})
}
