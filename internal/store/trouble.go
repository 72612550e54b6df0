package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// lockPatience is how long another process's lock is waited for.
const lockPatience = 10 * time.Second

const newerHint = "install the newer dayclaude that wrote it; XDG_STATE_HOME takes a directory for another store"

// errDamaged says that a row holds what was never written.
var errDamaged = errors.New("unreadable row")

// explain turns SQLite's own failures into a sentence with a way on.
func (s *Store) explain(err error) error {
	var e *sqlite.Error
	if errors.Is(err, errDamaged) {
		return s.damaged(err)
	} else if !errors.As(err, &e) {
		return err
	}
	if gone := s.gone(); gone != nil {
		return gone
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return s.damaged(err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Conflict, "the store %s has been locked for %s by %s", s.path, lockPatience, s.locker()).
			WithHint("wait until that process is done, or end it, and run the command again")
	case sqlite3.SQLITE_FULL:
		return s.full()
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return s.unusable(err)
	}
	// No statement of ours is wrong, unless what it speaks of is overwritten.
	var check string
	if failed := s.db.QueryRow(`PRAGMA quick_check(1)`).Scan(&check); failed != nil || check != "ok" {
		return s.damaged(err)
	}
	return fmt.Errorf("the store %s: %w", s.path, err)
}

func (s *Store) damaged(err error) error {
	return fault.New(fault.Failed, "the store %s is damaged: %w", s.path, err).
		WithHint("put a copy of it back, or move it away: what was not finished then begins anew with `dayclaude run-issue REF --new`")
}

// unusable says what the file system has against the store.
func (s *Store) unusable(err error) error {
	dir := filepath.Dir(s.path)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return s.full()
	}
	return fault.New(fault.Failed, "the store %s can't be opened and written: %w", s.path, err).
		WithHint("make %s yours and writable, or set XDG_STATE_HOME to a directory that is", dir)
}

func (s *Store) full() error {
	return fault.New(fault.Failed, "the disk under the store %s is full", s.path).
		WithHint("free some space and run the command again: a run goes on where it stood")
}

// gone says that the file is not any more what was opened.
func (s *Store) gone() error {
	now, err := os.Stat(s.path)
	if err == nil && os.SameFile(now, s.file) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.unusable(err)
	}
	return fault.New(fault.Failed, "the store %s was moved or deleted while it was in use", s.path).
		WithHint("put it back and run the command again; without it `dayclaude run-issue REF --new` begins anew")
}

// locker names the process that holds a write lock on the store, where the
// system tells. The files are not opened for that: closing them again would
// end this process's own locks.
func (s *Store) locker() string {
	locks, _ := os.ReadFile("/proc/locks") // of Linux alone
	for line := range strings.Lines(string(locks)) {
		// 5: POSIX  ADVISORY  WRITE 3413 fe:01:2097247 120 120
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "POSIX" || f[3] != "WRITE" {
			continue
		}
		inode := f[5][strings.LastIndexByte(f[5], ':')+1:]
		for _, name := range []string{s.path, s.path + "-shm"} {
			if info, err := os.Stat(name); err == nil && inodeOf(info) == inode {
				program, _ := os.ReadFile(filepath.Join("/proc", f[4], "comm"))
				return fmt.Sprintf("process %s (%q)", f[4], strings.TrimSpace(string(program)))
			}
		}
	}
	return "another process"
}

func inodeOf(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return strconv.FormatUint(st.Ino, 10)
}
