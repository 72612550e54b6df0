package process

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// provide puts a program on the sandboxes' PATH: by a symbolic link, or, when
// the sandboxes' users cannot reach it, by a hard link or a copy.
func (e *Engine) provide(tool string) error {
	path, err := filepath.EvalSymlinks(tool)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	target := filepath.Join(e.toolsDir(), filepath.Base(tool))
	readable := info.Mode().Perm()&0o005 == 0o005
	if !e.separate || readable && unreachable(filepath.Dir(path)) == "" {
		return replace(target, func(name string) error { return os.Symlink(path, name) })
	}
	if old, err := os.Lstat(target); err == nil && old.Mode().IsRegular() &&
		(os.SameFile(old, info) || old.Size() == info.Size() && old.ModTime().Equal(info.ModTime())) {
		return nil // from an earlier start
	}
	return replace(target, func(name string) error {
		if readable && os.Link(path, name) == nil {
			return nil
		}
		return copyFile(path, name, info)
	})
}

// replace makes a file under another name and moves it to its own.
func replace(target string, create func(name string) error) error {
	name := target + ".new"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(name); err != nil {
		return err
	}
	return os.Rename(name, target)
}

func copyFile(from, to string, info fs.FileInfo) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Chmod(0o755), target.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// unreachable returns the first directory, from the root down to dir, that
// other users may not pass, or "".
func unreachable(dir string) string {
	if parent := filepath.Dir(dir); parent != dir {
		if closed := unreachable(parent); closed != "" {
			return closed
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
		return dir
	}
	return ""
}

// removeTree removes what a sandbox left, also below directories that it made
// read-only.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	// Errors show in the second attempt.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
