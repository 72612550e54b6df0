// Package store keeps threads, runs and what they did. It is one SQLite file
// now; the schema and the queries keep to what PostgreSQL understands too.
//
// A driver of a thread holds its Lease. Every write that belongs to the
// thread names the lease, and fails with ErrFenced once another driver took
// it over.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/dayclaude/dayclaude/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is an open database. It is safe for concurrent use, also by several
// processes.
type Store struct {
	db  *sql.DB
	id  string
	now func() time.Time
}

// Open opens the store in the directory, making and migrating it as needed.
// The directory is readable only by its owner. now is the clock.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Failed, "make the store's directory: %w", err).
			WithHint("set XDG_STATE_HOME to a directory that you can write to")
	}
	path := filepath.Join(dir, "store.db")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite itself would make it readable by all
	if err != nil {
		return nil, fault.New(fault.Failed, "open the store: %w", err)
	}
	file.Close()

	dsn := "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_txlock=immediate&_time_format=sqlite"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &Store{db: db, now: now}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(explain(err, path), db.Close())
	}
	return s, nil
}

// prepare brings the schema up to date and reads or makes the store's id.
func (s *Store) prepare(ctx context.Context) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.db, sub)
	if err != nil {
		return err
	}
	current, target, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case current > target:
		return fault.New(fault.Failed, "the store has schema version %d, this dayclaude knows %d", current, target).
			WithHint("install the newer dayclaude that wrote it")
	case current < target:
		// Of several first starts one migrates; the others' attempt fails, and
		// they find that it is done.
		if _, err := provider.Up(ctx); err != nil {
			if now, _, again := provider.GetVersions(ctx); again != nil || now != target {
				return err
			}
		}
	}
	_, err = s.db.ExecContext(ctx,
		`INSERT INTO store (id, created_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM store)`, uuid.NewString(), s.now().UTC())
	if err != nil {
		return err
	}
	return s.db.QueryRowContext(ctx, `SELECT id FROM store`).Scan(&s.id)
}

// explain turns SQLite's own failures into a sentence with a way on.
func explain(err error, path string) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fault.New(fault.Failed, "the store %s is damaged: %w", path, err).
			WithHint("move it away; runs that are still going on are found again by their sandboxes' names")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Conflict, "the store %s is locked by another process: %w", path, err).
			WithHint("try again when the other process is done")
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return fault.New(fault.Failed, "the disk under the store %s refuses writes: %w", path, err).
			WithHint("free some space and run the command again")
	}
	return fmt.Errorf("open the store %s: %w", path, err)
}

// ID identifies the store on every sandbox that belongs to it.
func (s *Store) ID() string { return s.id }

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// scanner is one row of an answer.
type scanner interface{ Scan(...any) error }

// all asks for rows and scans each.
func all[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// first asks for one row. None is ErrNotFound.
func first[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	list, err := all(ctx, s, scan, query, args...)
	if len(list) == 0 {
		var none T
		if err == nil {
			err = ErrNotFound
		}
		return none, err
	}
	return list[0], err
}

// write runs f in one transaction, which f's error rolls back.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
