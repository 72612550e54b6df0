package store

import (
	"bufio"
	"context"
	"database/sql"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// lockVariable makes the test binary hold the write lock of the store that it
// names, until its standard input ends. Others' locks are only seen from other
// processes.
const lockVariable = "DAYCLAUDE_STORE_LOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(lockVariable); path != "" {
		os.Exit(holdLock(path))
	}
	goleak.VerifyTestMain(m)
}

func holdLock(path string) int {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=rw&_txlock=immediate")
	if err != nil {
		return 1
	}
	defer db.Close()
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return 1
	}
	defer tx.Rollback()
	os.Stdout.WriteString("locked\n")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// wantTrouble fails the test unless the error is a fault with that sentence
// and a hint.
func wantTrouble(t *testing.T, what string, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || fault.HintOf(err) == "" || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: %v (%s), hint %q", what, err, fault.KindOf(err), fault.HintOf(err))
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %q does not say %q", what, err, part)
		}
	}
}

// methods calls every method that needs the database.
func methods(t *testing.T, s *Store, l Lease, th *run.Thread, r *run.Run) map[string]error {
	t.Helper()
	ctx, copied := t.Context(), *r
	errs := map[string]error{}
	_, errs["Thread"] = s.Thread(ctx, th.RepositoryID, th.Ref.Number)
	_, errs["ThreadByID"] = s.ThreadByID(ctx, th.ID)
	_, errs["Latest"] = s.Latest(ctx, th.ID)
	_, errs["Runs"] = s.Runs(ctx, 9)
	_, errs["Run"] = s.Run(ctx, r.ID)
	_, errs["Steps"] = s.Steps(ctx, r.ID)
	_, errs["Attempts"] = s.Attempts(ctx, r.ID)
	_, errs["Entries"] = s.Entries(ctx, r.ID, 0, 9999)
	_, errs["Holder"] = s.Holder(ctx, th.ID)
	_, errs["CancelAsked"] = s.CancelAsked(ctx, r.ID)
	errs["AskCancel"] = s.AskCancel(ctx, r.ID)
	errs["CreateThread"] = s.CreateThread(ctx, &run.Thread{ID: run.NewID("t"), RepositoryID: 8, Generation: 1})
	errs["SaveThread"] = s.SaveThread(ctx, l, th)
	errs["SaveRun"] = s.SaveRun(ctx, l, r)
	errs["Advance"] = s.Advance(ctx, l, &copied, run.Freezing)
	errs["Append"] = s.Append(ctx, l, r, &run.Entry{Kind: run.Said})
	errs["Resume"] = s.Resume(ctx, l, r)
	errs["Renew"] = s.Renew(ctx, l, time.Minute)
	errs["CreateRun"] = s.CreateRun(ctx, l, &run.Run{ID: run.NewID("r"), ThreadID: th.ID})
	errs["Release"] = s.Release(ctx, l)
	_, errs["Acquire"] = s.Acquire(ctx, th.ID, l.Owner, time.Minute, alive)
	return errs
}

func TestMovedAway(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	th := newThread(t, s, 1)
	l, r := newRun(t, s, th)
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	for name, err := range methods(t, s, l, th, r) {
		wantTrouble(t, name, err, fault.Failed, "the store "+s.path+" was moved or deleted while it was in use")
	}
	if err := os.WriteFile(s.path, nil, 0o600); err != nil { // another one in its place
		t.Fatal(err)
	}
	wantTrouble(t, "AskCancel", s.AskCancel(t.Context(), r.ID), fault.Failed, "was moved or deleted")
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir, time.Now)
	wantTrouble(t, "Open", err, fault.Failed, "the store "+path+" is damaged")
}

// A page of the file is overwritten while the store is open.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	th := newThread(t, s, 1)
	l, r := newRun(t, s, th)
	for range 2000 {
		if err := s.Append(t.Context(), l, r, &run.Entry{Kind: run.Said, Text: strings.Repeat("word ", 100)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close() // brings everything from the log into the file
	if s, err = Open(t.Context(), dir, time.Now); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for at := info.Size() / 2; at < info.Size()*3/4; at += 4096 {
		if _, err := file.WriteAt([]byte(strings.Repeat("\xde\xad", 2048)), at&^4095); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	_, err = s.Entries(t.Context(), r.ID, 0, 9999)
	wantTrouble(t, "Entries", err, fault.Failed, "the store "+s.path+" is damaged")
}

// Everything but the header is overwritten: to SQL the tables are just not
// there.
func TestDamagedTables(t *testing.T) {
	t.Parallel()
	dir := version1(t)
	path := filepath.Join(dir, "store.db")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range content[4096:] {
		content[4096+i] = 0xa5
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, time.Now)
	wantTrouble(t, "Open", err, fault.Failed, "the store "+path+" is damaged")
}

func TestUnreadableRow(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	th := newThread(t, s, 1)
	_, r := newRun(t, s, th)
	if _, err := s.db.Exec(`UPDATE runs SET options = '{"model": 7'`); err != nil {
		t.Fatal(err)
	}
	_, err := s.Run(t.Context(), r.ID)
	wantTrouble(t, "half a JSON", err, fault.Failed, "is damaged")
}

func TestFromANewerRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, r := newRun(t, s, newThread(t, s, 1))
	if _, err := s.db.Exec(`UPDATE runs SET state = 'musing'`); err != nil {
		t.Fatal(err)
	}
	_, err = s.Run(t.Context(), r.ID)
	wantTrouble(t, "an unknown state", err, fault.Failed, r.ID, `"musing"`)

	if _, err := s.db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = Open(t.Context(), dir, time.Now)
	wantTrouble(t, "Open", err, fault.Failed, s.path, "version 99")
}

// Another process holds the write lock: it is waited for, and then named.
func TestLocked(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	th := newThread(t, s, 1)
	l, _ := newRun(t, s, th)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), lockVariable+"="+s.path)
	stop, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop.Close(); c.Wait() }()
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the locker said %q, %v", line, err)
	}
	if _, err := s.Latest(t.Context(), th.ID); err != nil {
		t.Errorf("reading: %v", err)
	}
	who := "another process"
	if _, err := os.Stat("/proc/locks"); err == nil {
		who = "process " + strconv.Itoa(c.Process.Pid) + ` ("store.test")`
	}
	wantTrouble(t, "Renew", s.Renew(t.Context(), l, time.Minute), fault.Conflict, "the store "+s.path+" has been locked for 10s by "+who)
	stop.Close()
	if err := s.Renew(t.Context(), l, time.Minute); err != nil {
		t.Errorf("once the lock is gone: %v", err)
	}
}

func TestBelowAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), filepath.Join(file, "state"), time.Now)
	wantTrouble(t, "Open", err, fault.Failed, "can't be opened and written", "not a directory")
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testenv.Disk(t, dir, "1m")
	filler := testenv.Fill(t, dir)
	_, err := Open(t.Context(), dir, time.Now)
	wantTrouble(t, "Open", err, fault.Failed, "the disk under the store", "is full")
	os.Remove(filler)

	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, r := newRun(t, s, newThread(t, s, 1))
	filler = testenv.Fill(t, dir)
	for err = nil; err == nil; {
		err = s.Append(t.Context(), l, r, &run.Entry{Kind: run.Said, Text: "word"})
	}
	wantTrouble(t, "Append", err, fault.Failed, "the disk under the store", "is full")
	os.Remove(filler)
	if err := s.Append(t.Context(), l, r, &run.Entry{Kind: run.Said, Text: "word"}); err != nil {
		t.Errorf("once there is room: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testenv.Disk(t, dir, "1m")
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	newThread(t, s, 1)
	s.Close()
	testenv.Remount(t, dir, "ro")
	_, err = Open(t.Context(), dir, time.Now)
	wantTrouble(t, "Open", err, fault.Failed, "can't be opened and written")
	_, err = Open(t.Context(), filepath.Join(dir, "new"), time.Now)
	wantTrouble(t, "Open anew", err, fault.Failed, "can't be opened and written", "read-only file system")
	testenv.Remount(t, dir, "rw")
	if s, err = Open(t.Context(), dir, time.Now); err != nil {
		t.Fatal(err)
	}
	s.Close()
}
