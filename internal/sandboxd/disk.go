package sandboxd

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
)

// kindDiskFull is the kind of whatever fails because the disk is full.
const kindDiskFull = "disk_full"

// noSpace reports whether that is what an error says, be it in a program's
// words.
func noSpace(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, syscall.ENOSPC.Error()) || strings.Contains(text, "No space left on device") ||
		strings.Contains(text, "Disk quota exceeded")
}

// nearlyNothing is how little space counts as none, in bytes.
const nearlyNothing = 256 << 10

// full reports whether the disk that a directory is on has no space left.
func full(dir string) bool {
	var disk syscall.Statfs_t
	return syscall.Statfs(dir, &disk) == nil && disk.Bavail*uint64(disk.Bsize) < nearlyNothing //nolint:gosec // a block's size
}

// reserveSize is the size of the reserve, in bytes: room for the changes and the
// task's end.
const reserveSize = 16 << 20

// takeReserve fills the file at path with that much. If the disk has less, it
// holds what there was.
func takeReserve(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, reserveSize)
	return errors.Join(err, f.Close())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
