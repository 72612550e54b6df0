package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk mounts a file system of the size on the directory, for the length of
// the test. It takes root.
func Disk(t testing.TB, dir, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root, to mount a file system")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=0711,size="+size, "none", dir).CombinedOutput(); err != nil {
		Missing(t, "the right to mount a file system: %s", out)
	}
	t.Cleanup(func() {
		if err := exec.Command("umount", "--lazy", dir).Run(); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// Remount changes a Disk's options: "size=1g", "ro", "rw".
func Remount(t testing.TB, dir, options string) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "remount,"+options, dir).CombinedOutput(); err != nil {
		t.Fatalf("remount with %s: %s", options, out)
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
