package store

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// The store belongs to another user, as after a run with sudo.
func TestNotOurs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testenv.Missing(t, "root, to be another user")
	}
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// This thread alone is somebody else to the file system.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	be := func(uid uintptr) { syscall.RawSyscall(syscall.SYS_SETFSUID, uid, 0, 0) }
	be(65534)
	_, err = Open(t.Context(), dir, time.Now)
	be(0)
	wantTrouble(t, "Open", err, fault.Failed, "can't be opened and written", "permission denied")
}
