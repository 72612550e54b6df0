package transfer

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// maxEntries bounds what one archive may create: files of no size fill a disk,
// too.
const maxEntries = 1 << 20

// unpacker writes an archive that a sandbox made, and that may be anything,
// below a folder. Whatever stands there already is replaced as a whole or not
// touched.
type unpacker struct {
	root   *os.Root
	max    int64 // bytes of content in all
	copied *Copied

	real  string            // the folder that was last found to be one, without a link on the way
	cased map[string]string // what was written, in small letters; nil: the file system tells cases apart
}

// unpack reads r to its end.
func (u *unpacker) unpack(r io.Reader) error {
	if u.ignoresCase() {
		u.cased = map[string]string{}
	}
	archive := tar.NewReader(r)
	for range maxEntries {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			_, err = io.Copy(io.Discard, r) // so that a cut is noticed
			return err
		case err != nil:
			return fmt.Errorf("read the archive that the sandbox made: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
	return fault.New(fault.Sandbox, "the folder holds more than %d files", maxEntries)
}

// entry writes one entry, or leaves it out.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	why := unfit(name)
	switch {
	case name == "." && h.Typeflag == tar.TypeDir:
		return nil
	case why != "":
	case u.cased != nil && h.Typeflag != tar.TypeDir:
		small := strings.ToLower(name)
		if u.cased[small] == "" {
			u.cased[small] = name
		}
		if before := u.cased[small]; before != name {
			why = "this file system takes it for " + untrusted.Quote(before, 100)
		}
	}
	if why == "" {
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeReg, tar.TypeGNUSparse:
		case tar.TypeLink:
			// A link that is linked to lies elsewhere, and so leads elsewhere.
			if info, err := u.root.Lstat(path.Clean(h.Linkname)); err != nil || !info.Mode().IsRegular() {
				why = "a link to what is no file of the folder"
			}
		case tar.TypeSymlink:
			if !staysInside(path.Dir(name), h.Linkname) {
				why = "a link that leads out of the folder"
			}
		default:
			why = "neither a file nor a folder"
		}
	}
	if why != "" {
		u.copied.leaveOut(h.Name, why)
		return nil
	}
	if err := u.write(name, h, content); err != nil {
		return fmt.Errorf("write %s: %w", untrusted.Quote(name, 200), err)
	}
	return nil
}

func (u *unpacker) write(name string, h *tar.Header, content io.Reader) error {
	mode := fs.FileMode(h.Mode).Perm()
	if h.Typeflag == tar.TypeDir {
		if err := u.folder(name); err != nil {
			return err
		}
		return u.root.Chmod(name, mode|0o700) // we must be able to fill it
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	temporary := path.Join(path.Dir(name), temporaryName())
	switch h.Typeflag {
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, temporary); err != nil {
			return err
		}
	case tar.TypeLink:
		if path.Clean(h.Linkname) == name {
			return nil
		}
		if err := u.root.Link(path.Clean(h.Linkname), temporary); err != nil {
			return err
		}
	default:
		n, err := writeFile(u.root, temporary, mode, content, u.max-u.copied.Bytes)
		if err != nil {
			return err
		}
		u.copied.Bytes += n
	}
	u.copied.Files++
	return u.place(temporary, name)
}

// place renames a file to what it is to be called.
func (u *unpacker) place(temporary, name string) error {
	err := u.root.Rename(temporary, name)
	// Where both are one file already, nothing is renamed.
	if gone := u.root.Remove(temporary); err == nil && gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = gone
	}
	return err
}

// folder makes a folder and those above it. Links are not followed, wherever
// they lead: the archive may have made them.
func (u *unpacker) folder(name string) error {
	if name == "." || name == u.real {
		return nil
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		info, errStat := u.root.Lstat(name)
		if err = errStat; err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is no folder here", untrusted.Quote(name, 200))
		}
	}
	if err == nil {
		u.real = name
	}
	return err
}

// ignoresCase reports whether the file system takes x and X for the same name.
func (u *unpacker) ignoresCase() bool {
	name := temporaryName()
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false // writing will say why
	}
	f.Close()
	defer func() { _ = u.root.Remove(name) }()
	_, err = u.root.Lstat(strings.ToUpper(name))
	return err == nil
}

// unfit says why a name is not written; "" for one that is.
func unfit(name string) string {
	switch {
	case !filepath.IsLocal(name) || name == ".":
		return "its name leads out of the folder"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, untrusted.Invisible):
		return "its name has invisible characters"
	}
	return ""
}

// staysInside reports whether a link in dir, a folder below the root without a
// link on the way, leads to something below the root. It goes up first and
// then only down: a ".." behind the name of another link would go up from
// wherever that one leads.
func staysInside(dir, target string) bool {
	if target == "" || path.IsAbs(target) || !utf8.ValidString(target) || strings.ContainsFunc(target, untrusted.Invisible) {
		return false
	}
	room, down := 0, false
	if dir != "." {
		room = strings.Count(dir, "/") + 1
	}
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if room--; room < 0 || down {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// temporaryName is a file's name until it is whole.
func temporaryName() string { return ".dayclaude-cp-" + rand.Text()[:12] }

// writeFile writes a new file of at most most bytes; none is left if it fails.
func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader, most int64) (n int64, err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = root.Remove(name)
		}
	}()
	n, err = io.Copy(f, io.LimitReader(content, most+1))
	switch {
	case err != nil:
		return n, err
	case n > most:
		return n, errTooLarge
	}
	return n, f.Chmod(mode)
}
