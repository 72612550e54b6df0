package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// Lease is the right to drive a thread, for a while.
type Lease struct {
	Thread string
	Owner  string
	Epoch  int64
}

// CleanUp begins the name of an owner that cleans up after a thread. Such a
// lease is not renewed, and given back in a moment.
const CleanUp = "clean-up by "

// Held is the fault of a lease that somebody else holds.
type Held struct {
	Owner string
	Since time.Time
	Until time.Time // when the lease runs out unless it is renewed
}

func (h *Held) Error() string {
	return h.Owner + " has worked on it since " + h.Since.Local().Format("15:04:05 on 2 January")
}

// CleansUp reports whether the holder cleans up and does not drive the thread.
func (h *Held) CleansUp() bool { return strings.HasPrefix(h.Owner, CleanUp) }

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
			return &Held{Owner: holder, Since: since.Time.UTC(), Until: until.Time.UTC()}
		}
		if err := s.supersede(ctx, tx, thread, holder, owner, dead); err != nil {
			return err
		}
		l.Epoch++
		_, err = tx.ExecContext(ctx, `UPDATE threads SET lease_owner = $1, lease_since = $2, lease_until = $3, lease_epoch = $4 WHERE id = $5`,
			owner, now, now.Add(ttl), l.Epoch, thread)
		return err
	})
	return l, err
}

// supersede notes why the attempt ended whose lease was not given back.
func (s *Store) supersede(ctx context.Context, tx *sql.Tx, thread, holder, owner string, dead func(string) bool) error {
	end := Silent
	switch {
	case holder == owner:
		end = LetGo
	case dead(holder):
		end = Killed
	}
	_, err := tx.ExecContext(ctx, `UPDATE attempts SET ended = $1
		WHERE ended = '' AND run_id IN (SELECT id FROM runs WHERE thread_id = $2)`, end, thread)
	return err
}

// Holder returns who holds the thread's lease, also if it has run out since;
// nil if it was given back.
func (s *Store) Holder(ctx context.Context, thread string) (*Held, error) {
	return first(ctx, s, func(row scanner) (*Held, error) {
		var h holder
		err := row.Scan(h.columns()...)
		return h.held(), err
	}, `SELECT `+holderColumns+` FROM threads WHERE id = $1`, thread)
}

const holderColumns = `lease_owner, lease_since, lease_until`

// holder is a thread's lease as it is stored.
type holder struct {
	owner        string
	since, until sql.NullTime
}

func (h *holder) columns() []any { return []any{&h.owner, &h.since, &h.until} }

// held is nil if the lease was given back.
func (h *holder) held() *Held {
	if h.owner == "" {
		return nil
	}
	return &Held{Owner: h.owner, Since: h.since.Time.UTC(), Until: h.until.Time.UTC()}
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
		if err != nil {
			return err
		}
		return s.seen(ctx, tx, l.Thread, LetGo)
	})
}

// Hold does something under the thread's lease and gives that back. It fails as
// Acquire does, or as do; that the lease ran out meanwhile and somebody else
// took it is no error.
func (s *Store) Hold(ctx context.Context, thread, owner string, ttl time.Duration, dead func(owner string) bool, do func() error) (err error) {
	lease, err := s.Acquire(ctx, thread, owner, ttl, dead)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Release(context.WithoutCancel(ctx), lease); !errors.Is(e, ErrFenced) {
			err = errors.Join(err, e)
		}
	}()
	return do()
}

// fenced runs f in a transaction in which l is the thread's lease, as a sign of
// life of its owner.
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
		if err := s.woke(ctx, tx, l); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		return s.seen(ctx, tx, l.Thread, Going)
	})
}
