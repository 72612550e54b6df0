package e2e

import (
	"path/filepath"
	"syscall"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// smallDisk puts what the process engine keeps of its sandboxes on a disk of
// the given size, a tmpfs's: "64m".
func (s *Stack) smallDisk(root, size string) {
	s.t.Helper()
	s.disk = filepath.Join(root, "sandboxes")
	if err := syscall.Mkdir(s.disk, 0o711); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("none", s.disk, "tmpfs", 0, "mode=0711,size="+size); err != nil {
		testenv.Missing(s.t, "a tmpfs, which takes root: %v", err)
	}
	s.t.Cleanup(func() { s.check("unmount the disk", syscall.Unmount(s.disk, syscall.MNT_DETACH)) })
}

// ResizeDisk gives Options.Disk another size.
func (s *Stack) ResizeDisk(size string) {
	s.t.Helper()
	if err := syscall.Mount("none", s.disk, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
		s.t.Fatal(err)
	}
}
