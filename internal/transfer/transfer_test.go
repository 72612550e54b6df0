package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testbox"
)

// copier counts what it moved.
func copier(box *daytona.Toolbox) (*Copier, *atomic.Int64) {
	moved := new(atomic.Int64)
	return &Copier{Box: box, Max: 1 << 30, Began: func(string, int64) {}, Moved: func(n int64) { moved.Add(n) }}, moved
}

// tree lists what is below a folder: modes, names, link targets and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		below, _ := filepath.Rel(dir, name)
		line := info.Mode().String() + " " + below
		switch info.Mode().Type() {
		case 0:
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			line += " " + string(content)
		case fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			line = "link " + below + " -> " + target
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines[1:], "\n")
}

// plant makes a folder with a bit of everything.
func plant(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "plant")
	for name, mode := range map[string]fs.FileMode{"a": 0o600, "sub/run.sh": 0o755, "sub/it's -x\"y": 0o644, "-n": 0o444} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(name), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "empty"), 0o700), os.Symlink("../a", filepath.Join(dir, "sub", "up"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestThereAndBack copies a folder into the sandbox and out again.
func TestThereAndBack(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		c, moved := copier(box)
		dir := plant(t)
		up, err := c.Upload(t.Context(), dir, "new")
		if err != nil || up.Files != 5 || up.LeftOut != nil || moved.Load() < up.Bytes {
			t.Fatalf("%+v, %v, %d moved", up, err, moved.Load())
		}
		if got := testbox.Run(t, box, `cat new/sub/up; stat -c %a new/sub/run.sh new/-n new/empty; ls -a "${TMPDIR:-/tmp}"`); got != "a755\n444\n700\n.\n..\n" {
			t.Errorf("in the sandbox: %q", got)
		}
		back := filepath.Join(t.TempDir(), "back")
		down, err := c.Download(t.Context(), "new", back)
		if err != nil || down.Files != 5 || down.Bytes != up.Bytes || down.To != back {
			t.Fatalf("%+v, %v", down, err)
		}
		if got, want := tree(t, back), tree(t, dir); got != want {
			t.Errorf("came back as\n%s\nwas\n%s", got, want)
		}
		if got := testbox.Run(t, box, `ls -a "${TMPDIR:-/tmp}"`); got != ".\n..\n" {
			t.Errorf("left in the sandbox: %q", got)
		}
	})
}

// TestWhereItGoes holds the rules of docker cp.
func TestWhereItGoes(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		c, _ := copier(box)
		home, err := box.HomeDir(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dir := plant(t)
		here := t.TempDir() + "/"
		testbox.Run(t, box, "mkdir there; echo old >file")
		for _, tt := range []struct{ from, to, want string }{
			{dir + "/a", "x", "x"},
			{dir + "/a", "new/folder/x", "new/folder/x"},
			{dir + "/a", "there", "there/a"},
			{dir + "/a", "there/", "there/a"},
			{dir + "/a", "~/file", "file"},
			{dir + "/a", home + "/abs", "abs"},
			{dir, "there", "there/plant"},
			{dir + "/", "there", "there/plant"},
			{dir + "/.", "there", "there"},
			{dir, "fresh", "fresh"},
			{dir + "/a", "", "a"},
		} {
			got, err := c.Upload(t.Context(), tt.from, tt.to)
			if err != nil || got.To != filepath.Join(home, tt.want) {
				t.Errorf("up %s to %q: %q, %v; want %s", tt.from, tt.to, got.To, err, tt.want)
			}
		}
		if got := testbox.Run(t, box, "cat file x there/a there/plant/a fresh/a; stat -c %a file"); got != "aaaaa600\n" {
			t.Errorf("in the sandbox: %q", got)
		}
		if err := os.Mkdir(here+"there", 0o755); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ from, to, want string }{
			{"x", "x", "x"},
			{"x", ".", "x"},
			{"x", "there", "there/x"},
			{"x", "y", "y"},
			{"fresh", "there", "there/fresh"},
			{"fresh/.", "there", "there"},
			{"fresh", "new", "new"},
			{home + "/fresh", ".", "fresh"},
		} {
			got, err := c.Download(t.Context(), tt.from, here+tt.to)
			if err != nil || filepath.Clean(got.To) != here+tt.want {
				t.Errorf("down %s to %q: %q, %v; want %s", tt.from, tt.to, got.To, err, tt.want)
			}
		}
		for _, name := range []string{"x", "there/x", "y", "there/fresh/a", "there/a", "new/a", "fresh/a"} {
			if got, err := os.ReadFile(here + name); err != nil || string(got) != "a" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}

func TestRefused(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		c, _ := copier(box)
		dir := plant(t)
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		testbox.Run(t, box, "mkfifo pipe; echo x >file; mkdir -p dir/a")
		for _, tt := range []struct {
			from, to, want string
			down           bool
		}{
			{from: "/does/not/exist", to: "x", want: "no such file"},
			{from: pipe, to: "x", want: "neither a file nor a folder"},
			{from: dir + "/a", to: "none/", want: "has no folder"},
			{from: dir, to: "file", want: "is a file in the sandbox"},
			{from: dir + "/a", to: "dir", want: "dir/a is a folder"},
			{from: "pipe", to: "x", want: "neither a file nor a folder", down: true},
			{from: "/dev/zero", to: "x", want: "neither a file nor a folder", down: true},
			{from: "none", to: "x", want: "none", down: true},
			{from: "file", to: dir + "/none/", want: "no folder", down: true},
			{from: "file", to: dir + "/none/x", want: "no such file", down: true},
			{from: "dir", to: dir + "/a", want: "is a file", down: true},
		} {
			cp := c.Upload
			if tt.down {
				cp = c.Download
			}
			if _, err := cp(t.Context(), tt.from, tt.to); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s to %s: %v; want %q", tt.from, tt.to, err, tt.want)
			}
		}
		if got := tree(t, dir); strings.Contains(got, "dayclaude") || strings.Contains(got, "none") {
			t.Errorf("something was left:\n%s", got)
		}
		if got := testbox.Run(t, box, "ls -A . dir/a"); strings.Contains(got, "dayclaude-cp") {
			t.Errorf("something was left in the sandbox:\n%s", got)
		}
	})
}

// TestTooLarge holds the bound of files whose size says otherwise, too.
func TestTooLarge(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		c, _ := copier(box)
		c.Max = 1 << 20
		testbox.Run(t, box, "mkdir dir; truncate -s 2M dir/sparse; head -c 1048576 /dev/zero >fits")
		here := t.TempDir()
		for _, from := range []string{"dir/sparse", "dir"} {
			if _, err := c.Download(t.Context(), from, filepath.Join(here, "x")); fault.KindOf(err) != fault.Sandbox || !strings.Contains(fault.HintOf(err), "--max-size") {
				t.Errorf("%s: %v", from, err)
			}
		}
		if got := strings.TrimPrefix(tree(t, here), "drwxr-xr-x x"); got != "" {
			t.Errorf("something was left: %s", got)
		}
		if got, err := c.Download(t.Context(), "fits", filepath.Join(here, "fits")); err != nil || got.Bytes != 1<<20 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestUnreadable sends nothing when it cannot send all.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root reads everything")
	}
	var copied Copied
	dir := plant(t)
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := newPack(t.Context(), dir, &copied); fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "a: permission denied") {
		t.Errorf("got %v", err)
	}
}

// TestInterrupted leaves nothing behind on either side.
func TestInterrupted(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		here := t.TempDir()
		big := filepath.Join(here, "dir", "big")
		if err := errors.Join(os.Mkdir(filepath.Dir(big), 0o755), os.WriteFile(big, nil, 0o600), os.Truncate(big, 64<<20)); err != nil {
			t.Fatal(err)
		}
		testbox.Run(t, box, "mkdir dir; truncate -s 64M dir/big")
		before := tree(t, here)
		for _, from := range []string{big, filepath.Dir(big), "dir/big", "dir"} {
			ctx, cancel := context.WithCancelCause(t.Context())
			c, moved := copier(box)
			c.Moved = func(n int64) {
				if moved.Add(n) > 1<<20 {
					cancel(context.Canceled)
				}
			}
			var err error
			if filepath.IsAbs(from) {
				_, err = c.Upload(ctx, from, "x")
			} else {
				_, err = c.Download(ctx, from, filepath.Join(here, "x"))
			}
			cancel(nil)
			if fault.KindOf(err) != fault.Cancelled {
				t.Errorf("%s: %v", from, err)
			}
		}
		if err := os.Remove(filepath.Join(here, "x")); err != nil { // the folder; it is empty
			t.Error(err)
		}
		if got := tree(t, here); got != before {
			t.Errorf("left here:\n%s", got)
		}
		if got := strings.Fields(testbox.Run(t, box, `ls -A; ls -A "${TMPDIR:-/tmp}"`)); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "dayclaude-cp") }) || slices.Contains(got, "x") {
			t.Errorf("left in the sandbox: %q", got)
		}
	})
}

// TestChangesMeanwhile is a folder that changes between the look at it and the
// sending.
func TestChangesMeanwhile(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"shorter": func(dir string) error { return os.WriteFile(dir+"/sub/run.sh", nil, 0o600) },
		"more":    func(dir string) error { return os.WriteFile(dir+"/sub/zzz", nil, 0o600) },
		"less":    func(dir string) error { return os.Remove(dir + "/sub/run.sh") },
	} {
		t.Run(name, func(t *testing.T) {
			testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
				c, _ := copier(box)
				dir := plant(t)
				c.Began = func(_ string, total int64) {
					if total > 0 {
						if err := change(dir); err != nil {
							t.Error(err)
						}
					}
				}
				if _, err := c.Upload(t.Context(), dir, "x"); err == nil || !strings.Contains(err.Error(), "while it was read") {
					t.Errorf("got %v", err)
				}
				if got := testbox.Run(t, box, `ls -A "${TMPDIR:-/tmp}"`); got != "" {
					t.Errorf("left in the sandbox: %q", got)
				}
			})
		})
	}
}

// TestWholeNamesFit is a long name, which takes an archive's longer headers.
func TestWholeNamesFit(t *testing.T) {
	testbox.OnEngines(t, func(t *testing.T, box *daytona.Toolbox) {
		c, _ := copier(box)
		dir := t.TempDir()
		long := filepath.Join(dir, strings.Repeat("ü", 100), strings.Repeat("x", 200))
		if err := errors.Join(os.MkdirAll(long, 0o755), os.WriteFile(filepath.Join(long, "f"), []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Upload(t.Context(), dir+"/.", "x"); err != nil {
			t.Fatal(err)
		}
		back := t.TempDir()
		if _, err := c.Download(t.Context(), "x/.", back); err != nil {
			t.Fatal(err)
		}
		if got, want := tree(t, back), tree(t, dir); got != want {
			t.Errorf("got %s", fmt.Sprint(got))
		}
	})
}
