package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// ErrNotFound says that there is no such thread or run.
var ErrNotFound = &fault.Error{Kind: fault.NotFound, Message: "not in the store", Hint: "`dayclaude runs list` shows what is"}

// ErrFenced says that another driver took the thread over meanwhile; the
// write that returned it did nothing.
var ErrFenced = &fault.Error{Kind: fault.Conflict, Message: "another process took this run over"}

const threadColumns = `id, repository_id, issue, generation, owner, repo, sandbox_id, branch, pull_request, comment_id, session_id, created_at`

func scanThread(row scanner, more ...any) (*run.Thread, error) {
	t := &run.Thread{}
	into := []any{&t.ID, &t.RepositoryID, &t.Ref.Number, &t.Generation, &t.Ref.Owner, &t.Ref.Repo,
		&t.SandboxID, &t.Branch, &t.PullRequest, &t.CommentID, &t.SessionID, &t.CreatedAt}
	err := row.Scan(append(into, more...)...)
	t.CreatedAt = t.CreatedAt.UTC()
	return t, err
}

func (s *Store) thread(ctx context.Context, query string, args ...any) (*run.Thread, error) {
	return first(ctx, s, func(row scanner) (*run.Thread, error) { return scanThread(row) }, query, args...)
}

// Thread returns the newest generation of an issue's thread, or ErrNotFound.
func (s *Store) Thread(ctx context.Context, repositoryID int64, issue int) (*run.Thread, error) {
	return s.thread(ctx, `SELECT `+threadColumns+` FROM threads
		WHERE repository_id = $1 AND issue = $2 ORDER BY generation DESC LIMIT 1`, repositoryID, issue)
}

// ThreadByID returns a thread, or ErrNotFound.
func (s *Store) ThreadByID(ctx context.Context, id string) (*run.Thread, error) {
	return s.thread(ctx, `SELECT `+threadColumns+` FROM threads WHERE id = $1`, id)
}

// CreateThread stores a new thread. A thread of the same repository, issue
// and generation is a fault of kind Conflict.
func (s *Store) CreateThread(ctx context.Context, t *run.Thread) error {
	t.CreatedAt = s.now().UTC()
	return s.write(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO threads (`+threadColumns+`)
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
	})
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

// RunsOn returns a thread's runs, newest first.
func (s *Store) RunsOn(ctx context.Context, thread string) ([]*run.Run, error) {
	return all(ctx, s, func(row scanner) (*run.Run, error) { return scanRun(row) },
		`SELECT `+runColumns+` FROM runs WHERE thread_id = $1 ORDER BY number DESC`, thread)
}

// Owned is what the store knows of the thread that a sandbox belongs to.
type Owned struct {
	Thread *run.Thread
	Run    *run.Run // its newest; nil if it has none
	USD    float64  // what its runs cost so far
	Newest bool     // the issue has no later generation
	Held   *Held    // who drives it, or has let the lease run out; may be nil
}

// Owned returns the thread with an id, and what hangs on it, or ErrNotFound.
func (s *Store) Owned(ctx context.Context, thread string) (*Owned, error) {
	o, err := first(ctx, s, func(row scanner) (_ *Owned, err error) {
		var o Owned
		var h holder
		o.Thread, err = scanThread(row, append(h.columns(), &o.Newest)...)
		o.Held = h.held()
		return &o, err
	}, `SELECT `+threadColumns+`, `+holderColumns+`, NOT EXISTS (SELECT 1 FROM threads AS later
			WHERE later.repository_id = threads.repository_id AND later.issue = threads.issue AND later.generation > threads.generation)
		FROM threads WHERE id = $1`, thread)
	if err != nil {
		return nil, err
	}
	if o.Run, err = s.Latest(ctx, thread); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	costs, err := all(ctx, s, func(row scanner) (c run.Cost, err error) {
		return c, row.Scan(asJSON{&c})
	}, `SELECT cost FROM runs WHERE thread_id = $1`, thread)
	if err != nil {
		return nil, err
	}
	for _, c := range costs {
		o.USD += c.USD
	}
	return o, nil
}
