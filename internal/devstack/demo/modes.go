package demo

import (
	"io/fs"
	"strings"
)

// executable gives the shell scripts of a tree the executable bit that
// embedding took.
type executable struct{ fs.FS }

// ReadDir is what walks of the tree learn modes from.
func (e executable) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(e.FS, name)
	for i, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".sh") {
			entries[i] = script{entry}
		}
	}
	return entries, err
}

type script struct{ fs.DirEntry }

func (s script) Info() (fs.FileInfo, error) {
	info, err := s.DirEntry.Info()
	return scriptInfo{info}, err
}

type scriptInfo struct{ fs.FileInfo }

func (i scriptInfo) Mode() fs.FileMode { return i.FileInfo.Mode() | 0o111 }
