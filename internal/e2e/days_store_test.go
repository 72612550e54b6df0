package e2e_test

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// storeFile is the store of the stack's machine.
func storeFile(s *e2e.Stack) string { return filepath.Join(s.StateDir(), "store.db") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// trouble does something to the machine that mend puts right.
type trouble func(t *testing.T, s *e2e.Stack) (mend func())

// before makes trouble before the command begins.
func (make trouble) before(d day) day {
	var mend func()
	d.options.Light = true
	d.breaks = func(t *testing.T, s *e2e.Stack, _ string) {
		wantExit(t, s.Run("runs", "list"), 0) // makes the store
		mend = make(t, s)
	}
	d.heals = func(*testing.T, *e2e.Stack, string) { mend() }
	return d
}

// amid makes trouble while Claude is at work, on a machine that was prepared.
func (make trouble) amid(d day, prepare func(*testing.T, *e2e.Stack)) day {
	var mend, release func()
	var waiting func() bool
	d.options.Light = true
	d.comment = []string{"dayclaude is working on this"} // the run has not ended
	d.breaks = func(t *testing.T, s *e2e.Stack, _ string) {
		if prepare != nil {
			prepare(t, s)
		}
		waiting, release = holdAfter(s, 1)
		t.Cleanup(release)
	}
	d.start = func(t *testing.T, s *e2e.Stack, _ *e2e.Command) {
		s.Eventually("Claude to be at work", waiting)
		mend = make(t, s)
		release()
	}
	d.heals = func(*testing.T, *e2e.Stack, string) { mend() }
	return d
}

// Where SQLite has its locks, in the database and in the index of its log:
// https://sqlite.org/fileformat2.html, https://sqlite.org/walformat.html
const (
	pendingByte  = 0x40000000
	walWriteByte = 120
)

// locked write-locks a byte of a file for another process: this one. It waits
// until nobody else has it.
func locked(t *testing.T, path string, at int64) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLKW, &syscall.Flock_t{Type: syscall.F_WRLCK, Start: at, Len: 1}))
	return func() { f.Close() }
}

// damaged overwrites the store from a place on. What mends it is a copy.
func damaged(from int64) trouble {
	return func(t *testing.T, s *e2e.Stack) func() {
		path := storeFile(s)
		whole, err := os.ReadFile(path)
		must(t, err)
		broken := append([]byte(nil), whole...)
		for i := range broken[from:] {
			broken[from+int64(i)] = 0xa5
		}
		must(t, os.WriteFile(path, broken, 0o600))
		return func() { must(t, os.WriteFile(path, whole, 0o600)) }
	}
}

// onDisk gives the machine a small disk of its own for the store.
func onDisk(t *testing.T, s *e2e.Stack) {
	dir := t.TempDir()
	testenv.Disk(t, dir, "8m")
	s.Env["XDG_STATE_HOME"] = dir
}

// filled fills that disk.
func filled(t *testing.T, s *e2e.Stack) func() {
	filler := testenv.Fill(t, s.Env["XDG_STATE_HOME"])
	return func() { must(t, os.Remove(filler)) }
}

// TestStoreDays are the days on which this machine does not keep the store as
// it should.
func TestStoreDays(t *testing.T) {
	isLocked := day{exit: 1, kind: fault.Conflict, says: []string{"has been locked for 10s by process"}, hint: []string{"wait until that process is done"}}
	isDamaged := day{exit: 1, kind: fault.Failed, says: []string{"is damaged: "}, hint: []string{"put a copy of it back", "--new"}}
	isFull := day{exit: 1, kind: fault.Failed, says: []string{"the disk under the store ", " is full"}, hint: []string{"free some space"}}
	days(t, map[string]day{
		"locked": trouble(func(t *testing.T, s *e2e.Stack) func() {
			return locked(t, storeFile(s), pendingByte)
		}).before(isLocked),
		"locked amid a run": trouble(func(t *testing.T, s *e2e.Stack) func() {
			return locked(t, storeFile(s)+"-shm", walWriteByte)
		}).amid(isLocked, nil),

		"header destroyed": damaged(0).before(isDamaged),
		"pages destroyed":  damaged(4096).before(isDamaged),

		"full": trouble(func(t *testing.T, s *e2e.Stack) func() {
			onDisk(t, s)
			return filled(t, s)
		}).before(isFull),
		"full amid a run": trouble(filled).amid(isFull, onDisk),

		"read-only": trouble(func(t *testing.T, s *e2e.Stack) func() {
			onDisk(t, s)
			wantExit(t, s.Run("runs", "list"), 0)
			dir := s.Env["XDG_STATE_HOME"]
			testenv.Remount(t, dir, "ro")
			return func() { testenv.Remount(t, dir, "rw") }
		}).before(day{exit: 1, kind: fault.Failed, says: []string{"can't be opened and written: "}, hint: []string{"set XDG_STATE_HOME"}}),

		"moved amid a run": trouble(func(t *testing.T, s *e2e.Stack) func() {
			dir := s.StateDir()
			must(t, os.Rename(dir, dir+".away"))
			return func() {
				must(t, os.RemoveAll(dir))
				must(t, os.Rename(dir+".away", dir))
			}
		}).amid(day{exit: 1, kind: fault.Failed, says: []string{"was moved or deleted while it was in use"}, hint: []string{"put it back", "--new"}}, nil),

		"from a newer release": trouble(func(t *testing.T, s *e2e.Stack) func() {
			packed, err := os.Open("../store/testdata/version99.db.gz")
			must(t, err)
			defer packed.Close()
			unpacked, err := gzip.NewReader(packed)
			must(t, err)
			content, err := io.ReadAll(unpacked)
			must(t, err)
			must(t, os.WriteFile(storeFile(s), content, 0o600))
			return func() { must(t, os.Remove(storeFile(s))) }
		}).before(day{exit: 1, kind: fault.Failed, says: []string{"has schema version 99, this dayclaude knows"}, page: "has schema version", hint: []string{"install the newer dayclaude"}}),
	})
}
