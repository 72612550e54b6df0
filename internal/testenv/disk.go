package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Disk mounts a file system of so many KiB for the length of the test. It
// takes root.
func Disk(t testing.TB, kib int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if os.Geteuid() != 0 {
		Missing(t, "root, to mount a file system")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+strconv.Itoa(kib)+"k", "tmpfs", dir).CombinedOutput(); err != nil {
		Missing(t, "the right to mount a file system: %s", out)
	}
	t.Cleanup(func() {
		if err := exec.Command("umount", dir).Run(); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// ReadOnly makes a Disk read-only, or writable again.
func ReadOnly(t testing.TB, dir string, yes bool) {
	t.Helper()
	mode := "remount,rw"
	if yes {
		mode = "remount,ro"
	}
	if out, err := exec.Command("mount", "-o", mode, dir).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", mode, out)
	}
}

// Fill takes all the room that a Disk has left. The file that it returns gives
// it back when it is removed.
func Fill(t testing.TB, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "filler")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return file
}
