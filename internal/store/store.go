// Package store keeps threads, runs and what they did. It is one SQLite file
// now; the schema and the queries keep to what PostgreSQL understands too.
//
// A driver of a thread holds its Lease. Every write that belongs to the
// thread names the lease, and fails with ErrFenced once another driver took
// it over.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/dayclaude/dayclaude/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is an open database. It is safe for concurrent use, also by several
// processes.
type Store struct {
	db   *sql.DB
	path string
	file os.FileInfo // at path
	id   string
	now  func() time.Time
}

// Open opens the store in the directory, making and migrating it as needed.
// The directory is readable only by its owner. now is the clock.
func Open(ctx context.Context, dir string, now func() time.Time) (*Store, error) {
	s := &Store{path: filepath.Join(dir, "store.db"), now: now}
	if err := s.place(); err != nil {
		return nil, s.unusable(err)
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: s.path}).EscapedPath(), RawQuery: "mode=rw" +
		"&_pragma=busy_timeout(" + strconv.FormatInt(lockPatience.Milliseconds(), 10) + ")" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_txlock=immediate&_time_format=sqlite"}
	var err error
	if s.db, err = sql.Open("sqlite", dsn.String()); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(s.explain(err), s.db.Close())
	}
	return s, nil
}

// place makes sure that the file is there, and remembers which it is. One that
// is there is not opened: closing it again would end the locks that this
// process's other connections have on it.
func (s *Store) place() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	// SQLite itself would make it readable by all.
	file, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	s.file, err = os.Stat(s.path)
	return err
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
		return fault.New(fault.Failed, "the store %s has schema version %d, this dayclaude knows %d", s.path, current, target).
			WithHint("%s", newerHint)
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
		return nil, s.explain(err)
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, s.explain(err)
		}
		list = append(list, v)
	}
	return list, cmp.Or(s.explain(rows.Err()), s.gone())
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
		return s.explain(err)
	}
	if err := f(tx); err != nil {
		return errors.Join(s.explain(err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return s.explain(err)
	}
	return s.gone() // a file without a name takes writes, too
}
