package e2e

import (
	"os"
	"path/filepath"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// smallDisk puts what the process engine keeps of its sandboxes on a disk of
// the given size: "64m".
func (s *Stack) smallDisk(root, size string) {
	s.t.Helper()
	s.disk = filepath.Join(root, "sandboxes")
	if err := os.Mkdir(s.disk, 0o711); err != nil {
		s.t.Fatal(err)
	}
	testenv.Disk(s.t, s.disk, size)
}

// ResizeDisk gives Options.Disk another size.
func (s *Stack) ResizeDisk(size string) {
	s.t.Helper()
	testenv.Remount(s.t, s.disk, "size="+size)
}
