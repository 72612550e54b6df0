package transfer

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// entry is one of an archive that only an attacker would make.
type entry struct {
	kind                byte
	name, link, content string
	mode                int64
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Size: int64(len(e.content)), Mode: e.mode, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpackInto unpacks below dir, which has a sibling that must not change.
func unpackInto(t testing.TB, dir string, archive []byte, change func(*unpacker)) (Copied, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var copied Copied
	u := &unpacker{root: root, max: 1 << 20, copied: &copied}
	if change != nil {
		change(u)
	}
	err = u.unpack(bytes.NewReader(archive))
	return copied, err
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	file := func(name string) entry { return entry{kind: tar.TypeReg, name: name, content: "x", mode: 0o644} }
	link := func(name, to string) entry { return entry{kind: tar.TypeSymlink, name: name, link: to} }
	dir := func(name string) entry { return entry{kind: tar.TypeDir, name: name, mode: 0o755} }
	for name, tt := range map[string]struct {
		entries []entry
		want    string // of tree
		out     string // names left out
		fails   string
	}{
		"up":               {entries: []entry{file("../outside"), file("a/../../outside"), file("..")}, out: "../outside a/../../outside .."},
		"absolute":         {entries: []entry{file("/etc/passwd"), file("//x")}, out: "/etc/passwd //x"},
		"control":          {entries: []entry{file("a\x1b[2Jb"), file("bidi\u202egnp.exe"), file("line\nline"), file("\xff\xfe")}, out: "a\x1b[2Jb bidi\u202egnp.exe line\nline \xff\xfe"},
		"devices":          {entries: []entry{{kind: tar.TypeChar, name: "null"}, {kind: tar.TypeBlock, name: "sda"}, {kind: tar.TypeFifo, name: "pipe"}}, out: "null sda pipe"},
		"setuid":           {entries: []entry{{kind: tar.TypeReg, name: "su", mode: 0o4755}, {kind: tar.TypeDir, name: "d", mode: 0o7000}}, want: "drwx------ d\n-rwxr-xr-x su "},
		"link up":          {entries: []entry{link("l", "../secret"), link("a/l", "../../secret"), link("ok/l", "../a")}, want: "drwxr-xr-x ok\nlink ok/l -> ../a", out: "l a/l"},
		"link absolute":    {entries: []entry{link("l", "/etc/passwd")}, out: "l"},
		"through a link":   {entries: []entry{dir("d"), link("l", "d"), file("l/x")}, want: "drwxr-xr-x d\nlink l -> d", fails: "l is no folder"},
		"link for folder":  {entries: []entry{dir("d"), file("d/x"), link("d", ".")}, want: "drwxr-xr-x d\n-rw-r--r-- d/x x", fails: "write d"},
		"links in a chain": {entries: []entry{dir("a/b"), link("a/b/s", ".."), link("v", "a/b/s/../../outside"), link("w", "a/b/s/../x")}, want: "drwxr-xr-x a\ndrwxr-xr-x a/b\nlink a/b/s -> ..", out: "v w"},
		"hard link":        {entries: []entry{file("a"), {kind: tar.TypeLink, name: "b", link: "a"}, {kind: tar.TypeLink, name: "b", link: "a"}}, want: "-rw-r--r-- a x\n-rw-r--r-- b x"},
		"hard link out":    {entries: []entry{{kind: tar.TypeLink, name: "b", link: "../secret"}, {kind: tar.TypeLink, name: "c", link: "/etc/passwd"}}, out: "b c"},
		"hard link to link": {
			entries: []entry{dir("a/b"), link("a/b/l", "../../inside"), {kind: tar.TypeLink, name: "h", link: "a/b/l"}},
			want:    "drwxr-xr-x a\ndrwxr-xr-x a/b\nlink a/b/l -> ../../inside", out: "h",
		},
		"over a file":     {entries: []entry{file("old")}, want: "-rw-r--r-- old x"},
		"too large":       {entries: []entry{{kind: tar.TypeReg, name: "big", content: strings.Repeat("x", 1<<20+1)}}, fails: errTooLarge.Error()},
		"large in all":    {entries: []entry{{kind: tar.TypeReg, name: "a", content: strings.Repeat("x", 1<<20)}, file("b")}, want: "-rw-", fails: errTooLarge.Error()},
		"file for folder": {entries: []entry{file("a"), file("a/b")}, want: "-rw-r--r-- a x", fails: "a is no folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			inner := filepath.Join(outer, "inner")
			if err := errors.Join(os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if name == "over a file" { // it may be a link out, which is the user's own
				if err := os.Symlink("../secret", filepath.Join(inner, "old")); err != nil {
					t.Fatal(err)
				}
			}
			archive := archiveOf(t, tt.entries...)
			copied, err := unpackInto(t, inner, archive, nil)
			if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("got %v, want %q", err, tt.fails)
			}
			if name == "large in all" || name == "too large" {
				return // what was whole is there
			}
			got := strings.TrimSuffix(tree(t, outer), "\n-rw------- secret secret")
			got = strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(got, "drwxr-xr-x inner"), "\n"), "inner/", "")
			if got != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, tt.want)
			}
			var out []string
			for _, o := range copied.LeftOut {
				out = append(out, o.Name)
				if o.Why == "" {
					t.Errorf("%q without a reason", o.Name)
				}
			}
			if strings.Join(out, " ") != tt.out {
				t.Errorf("left out %q, want %q", out, tt.out)
			}
		})
	}
}

// TestNamesThatDifferInCaseOnly is a file system that takes them for one, as
// macOS's does.
func TestNamesThatDifferInCaseOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	archive := archiveOf(t, entry{kind: tar.TypeReg, name: "Makefile", content: "1", mode: 0o644}, entry{kind: tar.TypeReg, name: "makefile", content: "2", mode: 0o644},
		entry{kind: tar.TypeReg, name: "Makefile", content: "3", mode: 0o644})
	copied, err := unpackInto(t, dir, archive, func(u *unpacker) { u.cased = map[string]string{} })
	if err != nil || len(copied.LeftOut) != 1 || copied.LeftOut[0] != (LeftOut{"makefile", "this file system takes it for Makefile"}) {
		t.Errorf("%+v, %v", copied, err)
	}
	if got := tree(t, dir); got != "-rw-r--r-- Makefile 3" {
		t.Errorf("got %s", got)
	}
}

func TestCutArchive(t *testing.T) {
	t.Parallel()
	whole := archiveOf(t, entry{kind: tar.TypeReg, name: "a", content: strings.Repeat("x", 5000), mode: 0o644})
	for _, n := range []int{1, 512, 1000, 5000} {
		dir := t.TempDir()
		if _, err := unpackInto(t, dir, whole[:n], nil); err == nil {
			t.Errorf("%d bytes are taken for all", n)
		}
		if got := tree(t, dir+"/."); got != "" {
			t.Errorf("%d bytes leave %s", n, got)
		}
	}
}

// FuzzUnpack holds that nothing but the folder changes, whatever comes, and
// that no link leads out of it.
func FuzzUnpack(f *testing.F) {
	f.Add(archiveOf(f, entry{kind: tar.TypeReg, name: "a/b", content: "x"}, entry{kind: tar.TypeSymlink, name: "l", link: "a/b"}))
	f.Add(archiveOf(f, entry{kind: tar.TypeSymlink, name: "l", link: ".."}, entry{kind: tar.TypeReg, name: "l/x", content: "x"}))
	f.Add(archiveOf(f, entry{kind: tar.TypeSymlink, name: "a/b/l", link: "../../x"}, entry{kind: tar.TypeLink, name: "h", link: "a/b/l"}))
	f.Add(archiveOf(f, entry{kind: tar.TypeDir, name: "d"}, entry{kind: tar.TypeLink, name: "d/h", link: "../secret"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		if err := errors.Join(os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(outer, "secret"), []byte("secret"), 0o600)); err != nil {
			t.Fatal(err)
		}
		_, _ = unpackInto(t, inner, archive, nil)
		beside, err := os.ReadDir(outer)
		if err != nil || len(beside) != 2 {
			t.Fatalf("%v, %v", beside, err)
		}
		if got, err := os.ReadFile(filepath.Join(outer, "secret")); err != nil || string(got) != "secret" {
			t.Fatalf("the file beside holds %q, %v", got, err)
		}
		err = filepath.WalkDir(inner, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.Type() != fs.ModeSymlink {
				return err
			}
			if to, err := filepath.EvalSymlinks(name); err == nil && to != inner && !strings.HasPrefix(to, inner+"/") {
				t.Errorf("%s leads to %s", name, to)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
