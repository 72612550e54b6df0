package github

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/zlib"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Kinds of git objects.
const (
	kindBlob   = "blob"
	kindTree   = "tree"
	kindCommit = "commit"
	kindTag    = "tag"
)

// Modes of tree entries, as the API spells them.
const (
	modeFile       = "100644"
	modeExecutable = "100755"
	modeTree       = "040000"
	modeSymlink    = "120000"
	modeSubmodule  = "160000"
)

// maxObject bounds what is read of one object: GitHub's limit for blobs.
const maxObject = 100 << 20

var (
	errNoObject  = errors.New("no such object")
	errTooLarge  = errors.New("object is larger than 100 MB")
	errTreeState = errors.New("entry to delete does not exist, or entries contradict each other")
)

// gitDir is a bare repository. Its objects are all loose: git is configured
// never to pack them, so that reading and writing one costs no process.
type gitDir string

func (g gitDir) objectFile(hash string) string {
	return filepath.Join(string(g), "objects", hash[:2], hash[2:])
}

// write stores an object, unless it is there already, and returns its hash.
func (g gitDir) write(kind string, content []byte) (string, error) {
	object := append(fmt.Appendf(nil, "%s %d\x00", kind, len(content)), content...)
	sum := sha1.Sum(object)
	hash := hex.EncodeToString(sum[:])
	path := g.objectFile(hash)
	if _, err := os.Stat(path); err == nil {
		return hash, nil
	}
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		return "", err
	}
	_, err = z.Write(object)
	if err = errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	return hash, writeWhole(path, packed.Bytes())
}

// writeWhole makes a read-only file appear with all of its content.
func writeWhole(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "tmp_obj_")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o444), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// open returns an object's kind and size, and its content as a stream.
func (g gitDir) open(hash string) (kind string, size int64, content io.ReadCloser, err error) {
	if !isHash(hash) {
		return "", 0, nil, errNoObject
	}
	f, err := os.Open(g.objectFile(hash))
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil, errNoObject
	} else if err != nil {
		return "", 0, nil, err
	}
	z, err := zlib.NewReader(f)
	if err != nil {
		return "", 0, nil, errors.Join(err, f.Close())
	}
	r := bufio.NewReader(z)
	header, err := r.ReadString(0)
	if err == nil {
		var length string
		kind, length, _ = strings.Cut(strings.TrimSuffix(header, "\x00"), " ")
		size, err = strconv.ParseInt(length, 10, 64)
	}
	if err != nil {
		return "", 0, nil, errors.Join(fmt.Errorf("object %s: %w", hash, err), f.Close())
	}
	return kind, size, struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// stat returns an object's kind and size without reading it.
func (g gitDir) stat(hash string) (kind string, size int64, err error) {
	kind, size, content, err := g.open(hash)
	if err != nil {
		return "", 0, err
	}
	return kind, size, content.Close()
}

// read returns an object's content; errNoObject if it is absent or of another
// kind.
func (g gitDir) read(hash, kind string) ([]byte, error) {
	is, size, content, err := g.open(hash)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	switch {
	case is != kind:
		return nil, errNoObject
	case size > maxObject:
		return nil, errTooLarge
	}
	data := make([]byte, size)
	_, err = io.ReadFull(content, data)
	return data, err
}

// treeEntry is one line of a tree.
type treeEntry struct{ mode, name, hash string }

func (e treeEntry) kind() string {
	switch e.mode {
	case modeTree:
		return kindTree
	case modeSubmodule:
		return kindCommit
	}
	return kindBlob
}

// tree reads one tree, not those below it.
func (g gitDir) tree(hash string) ([]treeEntry, error) {
	data, err := g.read(hash, kindTree)
	if err != nil {
		return nil, err
	}
	var entries []treeEntry
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, ok2 := strings.Cut(string(head), " ")
		if !ok || !ok2 || len(rest) < sha1.Size || strings.HasPrefix(mode, "0") {
			return nil, fmt.Errorf("tree %s is malformed", hash)
		}
		mode = strings.Repeat("0", max(0, 6-len(mode))) + mode
		entries = append(entries, treeEntry{mode, name, hex.EncodeToString(rest[:sha1.Size])})
		data = rest[sha1.Size:]
	}
	return entries, nil
}

// byGitOrder compares names as git does: a directory's ends with a slash.
func byGitOrder(a, b treeEntry) int {
	key := func(e treeEntry) string {
		if e.mode == modeTree {
			return e.name + "/"
		}
		return e.name
	}
	return cmp.Compare(key(a), key(b))
}

// writeTree stores a tree of the entries, which it sorts.
func (g gitDir) writeTree(entries []treeEntry) (string, error) {
	slices.SortFunc(entries, byGitOrder)
	var b []byte
	for _, e := range entries {
		raw, err := hex.DecodeString(e.hash)
		if err != nil {
			return "", err
		}
		b = append(b, strings.TrimPrefix(e.mode, "0")+" "+e.name+"\x00"...)
		b = append(b, raw...)
	}
	return g.write(kindTree, b)
}

// edit sets the entry at a slash-separated path, or deletes it if hash is "".
type edit struct{ path, mode, hash string }

// editTree applies edits to the tree base ("" is the empty one) and returns
// the new tree. Deletions come first, so a file may become a directory and a
// directory a file. Directories that end up empty vanish.
func (g gitDir) editTree(base string, edits []edit) (string, error) {
	entries := map[string]treeEntry{}
	if base != "" {
		old, err := g.tree(base)
		if err != nil {
			return "", err
		}
		for _, e := range old {
			entries[e.name] = e
		}
	}
	sets, below := map[string]treeEntry{}, map[string][]edit{}
	for _, e := range edits {
		name, rest, deeper := strings.Cut(e.path, "/")
		switch _, exists := entries[name]; {
		case deeper:
			below[name] = append(below[name], edit{rest, e.mode, e.hash})
		case e.hash != "":
			sets[name] = treeEntry{e.mode, name, e.hash}
		case !exists:
			return "", errTreeState
		default:
			delete(entries, name)
		}
	}
	for name, edits := range below {
		sub := ""
		if old := entries[name]; old.mode == modeTree {
			sub = old.hash
		}
		adds := slices.ContainsFunc(edits, func(e edit) bool { return e.hash != "" })
		if _, set := sets[name]; set && adds {
			return "", errTreeState
		}
		hash, err := g.editTree(sub, edits)
		switch {
		case err != nil:
			return "", err
		case hash == emptyTree:
			delete(entries, name)
		default:
			entries[name] = treeEntry{modeTree, name, hash}
		}
	}
	list := make([]treeEntry, 0, len(entries)+len(sets))
	for name, e := range entries {
		if _, set := sets[name]; !set {
			list = append(list, e)
		}
	}
	for _, e := range sets {
		list = append(list, e)
	}
	return g.writeTree(list)
}

// emptyTree is the hash of the tree without entries.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// lookup finds the entry at a path below a tree; the path "" is the tree.
func (g gitDir) lookup(tree, path string) (treeEntry, error) {
	entry := treeEntry{mode: modeTree, hash: tree}
	if path == "" {
		return entry, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if entry.mode != modeTree {
			return treeEntry{}, errNoObject
		}
		entries, err := g.tree(entry.hash)
		if err != nil {
			return treeEntry{}, err
		}
		i := slices.IndexFunc(entries, func(e treeEntry) bool { return e.name == name })
		if i < 0 {
			return treeEntry{}, errNoObject
		}
		entry = entries[i]
	}
	return entry, nil
}

// importFS stores a file system's files and returns the tree of them.
// Executable bits and symbolic links are kept; empty directories are not.
func (g gitDir) importFS(fsys fs.FS) (string, error) {
	var edits []edit
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode, content := modeFile, []byte(nil)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(fsys, path)
			if err != nil {
				return err
			}
			mode, content = modeSymlink, []byte(target)
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a symbolic link", path)
		default:
			if info.Mode()&0o111 != 0 {
				mode = modeExecutable
			}
			if content, err = fs.ReadFile(fsys, path); err != nil {
				return err
			}
		}
		hash, err := g.write(kindBlob, content)
		edits = append(edits, edit{path, mode, hash})
		return err
	})
	if err != nil {
		return "", err
	}
	return g.editTree("", edits)
}

// sizeKB is the size of all objects.
func (g gitDir) sizeKB() (int, error) {
	var size int64
	err := filepath.WalkDir(filepath.Join(string(g), "objects"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return int((size + 1023) / 1024), err
}

// isHash reports whether s is a full SHA-1 in lower-case hex.
func isHash(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}
