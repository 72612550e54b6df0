// Package transfer copies files and folders between this machine and a
// sandbox, by the rules of `docker cp`. What comes out of a sandbox is written
// below the destination and nowhere else, whatever it claims to be.
//
// A file travels by itself, a folder as an archive that lies in the sandbox's
// temporary folder meanwhile. Nothing is held in memory.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Copier copies to and from one sandbox. All fields are required.
type Copier struct {
	Box *daytona.Toolbox
	Max int64 // bytes of content that Download takes at most

	Began func(what string, total int64) // bytes to be moved; 0: not known
	Moved func(n int64)                  // bytes more; fewer when a part is sent again
}

// Copied is what was copied.
type Copied struct {
	To      string    // where the file or folder is now
	Home    string    // the sandbox's, if the path in it was not absolute
	Files   int       // links are counted, folders are not
	Bytes   int64     // of content
	LeftOut []LeftOut // the first maxLeftOut of them
	More    int       // that many besides
}

// LeftOut is what was not copied because it cannot be. Its name is as it came.
type LeftOut struct{ Name, Why string }

const maxLeftOut = 1000

func (c *Copied) leaveOut(name, why string) {
	if len(c.LeftOut) == maxLeftOut {
		c.More++
		return
	}
	c.LeftOut = append(c.LeftOut, LeftOut{name, why})
}

var errTooLarge = errors.New("it is larger than what may be copied")

// Upload copies a file or folder of this machine to a path in the sandbox,
// which is below its home unless it is absolute. A folder that is there already
// gets it inside, or with a source that ends in "/." what is in it.
func (c *Copier) Upload(ctx context.Context, local, remote string) (Copied, error) {
	info, err := os.Stat(local)
	if err != nil {
		return Copied{}, fault.New(fault.Usage, "%w", err)
	}
	to, home, err := c.absolute(ctx, remote)
	if err != nil {
		return Copied{}, err
	}
	there, err := c.Box.Info(ctx, to)
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return Copied{}, err
	}
	isDir := there != nil && there.IsDir
	switch mode := info.Mode(); {
	case !mode.IsDir() && !mode.IsRegular():
		return Copied{}, fault.New(fault.Usage, "%s is neither a file nor a folder", untrusted.Quote(local, 200))
	case there == nil && mode.IsRegular() && strings.HasSuffix(remote, "/"):
		return Copied{}, fault.New(fault.Usage, "the sandbox has no folder %s", untrusted.Quote(to, 200))
	case there != nil && mode.IsDir() && !isDir:
		return Copied{}, fault.New(fault.Usage, "%s is a file in the sandbox", untrusted.Quote(to, 200))
	}
	if isDir && !contents(local) {
		whole, err := filepath.Abs(local)
		if err != nil {
			return Copied{}, err
		}
		to = path.Join(to, filepath.Base(whole))
	}
	var copied Copied
	if info.IsDir() {
		copied, err = c.uploadFolder(ctx, local, to)
	} else {
		copied, err = c.uploadFile(ctx, local, info, to)
	}
	copied.Home = home
	return copied, err
}

// Scripts for the sandbox's shell, with their arguments as "$1", "$2".
const (
	whereToPack = `command -v tar >/dev/null || { echo "there is no tar in the sandbox"; exit 1; }
printf %s "${TMPDIR:-/tmp}"`
	placeFile    = `if [ -d "$2" ]; then echo "$2 is a folder"; exit 1; fi; chmod "$3" "$1" && mv -f -- "$1" "$2"`
	unpackFolder = `mkdir -p -- "$2" && tar -x -m -p -o -f "$1" -C "$2"`
	// tar's exit code comes last, behind its complaints.
	packFolder = `umask 077; LC_ALL=C tar -c -f "$1" -C "$2" .; printf '\n%s' "$?"`
)

// uploadFile sends a file under a temporary name and then gives it its own.
func (c *Copier) uploadFile(ctx context.Context, local string, info fs.FileInfo, to string) (Copied, error) {
	temporary := path.Join(path.Dir(to), temporaryName())
	c.Began(filepath.Base(to), info.Size())
	err := c.send(ctx, temporary, info.Size(), func() (io.ReadCloser, error) { return os.Open(local) })
	if err == nil {
		_, err = c.script(ctx, placeFile, temporary, to, fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	if err != nil {
		return Copied{}, errors.Join(err, c.remove(ctx, temporary, true))
	}
	return Copied{To: to, Files: 1, Bytes: info.Size()}, nil
}

func (c *Copier) uploadFolder(ctx context.Context, local, to string) (copied Copied, err error) {
	c.Began("reading "+filepath.Base(to), 0)
	p, err := newPack(ctx, local, &copied)
	if err != nil {
		return Copied{}, err
	}
	defer p.root.Close()
	temporary, err := c.archive(ctx)
	if err != nil {
		return Copied{}, err
	}
	defer func() { err = errors.Join(err, c.remove(ctx, temporary, err != nil)) }()
	c.Began(filepath.Base(to), p.size)
	if err := c.send(ctx, temporary, p.size, func() (io.ReadCloser, error) { return p.reader(ctx), nil }); err != nil {
		return Copied{}, err
	}
	c.Began("unpacking "+filepath.Base(to), 0)
	_, err = c.script(ctx, unpackFolder, temporary, to)
	copied.To = to
	return copied, err
}

// send uploads one file.
func (c *Copier) send(ctx context.Context, to string, size int64, open func() (io.ReadCloser, error)) error {
	var last *metered
	return c.Box.Upload(ctx, daytona.File{Path: to, Size: size, Open: func() (io.ReadCloser, error) {
		if last != nil { // another attempt
			c.Moved(-last.n)
		}
		content, err := open()
		if err != nil {
			return nil, err
		}
		last = &metered{ReadCloser: content, moved: c.Moved}
		return last, nil
	}})
}

// Download copies a file or folder of the sandbox to a path on this machine, by
// the same rules as Upload. What cannot be written safely is left out.
func (c *Copier) Download(ctx context.Context, remote, local string) (Copied, error) {
	from, home, err := c.absolute(ctx, remote)
	if err != nil {
		return Copied{}, err
	}
	info, err := c.Box.Info(ctx, from)
	if err != nil {
		return Copied{}, err
	}
	here, err := os.Stat(local)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Copied{}, fault.New(fault.Usage, "%w", err)
	}
	isDir := here != nil && here.IsDir()
	switch {
	case !info.IsDir && !info.Regular():
		return Copied{}, fault.New(fault.Sandbox, "%s is neither a file nor a folder", untrusted.Quote(from, 200))
	case here == nil && !info.IsDir && os.IsPathSeparator(local[len(local)-1]):
		return Copied{}, fault.New(fault.Usage, "there is no folder %s", untrusted.Quote(local, 200))
	case here != nil && info.IsDir && !isDir:
		return Copied{}, fault.New(fault.Usage, "%s is a file", untrusted.Quote(local, 200))
	}
	if name := path.Base(from); isDir && name != "/" && !contents(remote) {
		if why := unfit(name); why != "" {
			return Copied{}, fault.New(fault.Sandbox, "%s: %s", untrusted.Quote(name, 200), why)
		}
		local = filepath.Join(local, name)
	}
	var copied Copied
	if info.IsDir {
		copied, err = c.downloadFolder(ctx, from, local)
	} else {
		copied, err = c.downloadFile(ctx, from, info, local)
	}
	copied.Home = home
	if errors.Is(err, errTooLarge) {
		err = fault.New(fault.Sandbox, "%s holds more than %d bytes", untrusted.Quote(from, 200), c.Max).WithHint("--max-size sets how much may be copied")
	}
	return copied, err
}

func (c *Copier) downloadFile(ctx context.Context, from string, info *daytona.FileInfo, local string) (Copied, error) {
	if info.Size > c.Max {
		return Copied{}, errTooLarge
	}
	root, err := os.OpenRoot(filepath.Dir(local))
	if err != nil {
		return Copied{}, fault.New(fault.Usage, "%w", err)
	}
	defer root.Close()
	c.Began(filepath.Base(local), info.Size)
	content, err := c.receive(ctx, from)
	if err != nil {
		return Copied{}, err
	}
	defer content.Close()
	temporary := temporaryName()
	n, err := writeFile(root, temporary, info.Perm(), content, c.Max)
	if err != nil {
		return Copied{}, err
	}
	if err := root.Rename(temporary, filepath.Base(local)); err != nil {
		return Copied{}, errors.Join(err, root.Remove(temporary))
	}
	return Copied{To: local, Files: 1, Bytes: n}, nil
}

func (c *Copier) downloadFolder(ctx context.Context, from, local string) (copied Copied, err error) {
	c.Began("packing "+path.Base(from), 0)
	archive, err := c.archive(ctx)
	if err != nil {
		return Copied{}, err
	}
	defer func() { err = errors.Join(err, c.remove(ctx, archive, false)) }()
	if err := c.pack(ctx, from, archive); err != nil {
		return Copied{}, err
	}
	info, err := c.Box.Info(ctx, archive)
	if err != nil {
		return Copied{}, err
	}
	if err := os.Mkdir(local, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return Copied{}, fault.New(fault.Usage, "%w", err)
	}
	root, err := os.OpenRoot(local)
	if err != nil {
		return Copied{}, err
	}
	defer root.Close()
	c.Began(path.Base(from), info.Size)
	content, err := c.receive(ctx, archive)
	if err != nil {
		return Copied{}, err
	}
	defer content.Close()
	copied.To = local
	u := &unpacker{root: root, max: c.Max, copied: &copied}
	// The names of files take room, too.
	return copied, u.unpack(io.LimitReader(content, 2*c.Max+maxEntries*blockSize))
}

// archive is the path of an archive to be, in the sandbox.
func (c *Copier) archive(ctx context.Context) (string, error) {
	dir, err := c.script(ctx, whereToPack)
	return path.Join(dir, strings.TrimPrefix(temporaryName(), ".")), err
}

// pack makes an archive of a folder in the sandbox.
func (c *Copier) pack(ctx context.Context, from, archive string) error {
	said, err := c.script(ctx, packFolder, archive, from)
	if err != nil {
		return err
	}
	end := strings.LastIndexByte(said, '\n')
	complaint, code := said[:max(end, 0)], said[end+1:]
	// A file that grows meanwhile, such as a log, is no reason to give up.
	if code != "0" && !(code == "1" && strings.Contains(complaint, "as we read it")) {
		return fault.New(fault.Sandbox, "pack %s: %s", untrusted.Quote(from, 200), untrusted.Line(complaint, 500))
	}
	return nil
}

// receive opens a file of the sandbox.
func (c *Copier) receive(ctx context.Context, from string) (io.ReadCloser, error) {
	content, err := c.Box.Download(ctx, from)
	if err != nil {
		return nil, err
	}
	return &metered{ReadCloser: content, moved: c.Moved}, nil
}

// metered tells what is read from it.
type metered struct {
	io.ReadCloser
	n     int64
	moved func(int64)
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.n += int64(n)
	m.moved(int64(n))
	return n, err
}

// absolute is a path in the sandbox that begins at its root, and the home
// directory if that was needed.
func (c *Copier) absolute(ctx context.Context, remote string) (whole, home string, err error) {
	if path.IsAbs(remote) {
		return path.Clean(remote), "", nil
	}
	home, err = c.Box.HomeDir(ctx)
	return path.Join(home, strings.TrimPrefix(remote, "~/")), home, err
}

// contents reports whether a source means what is in a folder, not the folder.
func contents(source string) bool { return source == "." || strings.HasSuffix(source, "/.") }

const (
	scriptLimit = 30 * time.Minute // to pack or unpack
	removeLimit = 15 * time.Second
)

// script runs a script in the sandbox and returns what it says.
func (c *Copier) script(ctx context.Context, text string, args ...string) (string, error) {
	line := "set --"
	for _, a := range args {
		line += " " + daytona.Quote(a)
	}
	r, err := c.Box.Execute(ctx, daytona.Command{Line: line + "\n" + text, Timeout: scriptLimit})
	if err == nil && r.ExitCode != 0 {
		err = fault.New(fault.Sandbox, "in the sandbox: %s", untrusted.Line(r.Output, 500))
	}
	return strings.TrimRight(r.Output, "\n"), err
}

// remove removes a temporary file of the sandbox, also after an interruption.
// What an upload that was broken off had sent may still arrive: then once more.
func (c *Copier) remove(ctx context.Context, name string, brokenOff bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeLimit)
	defer cancel()
	err := c.Box.Remove(ctx, name, false)
	if err != nil || !brokenOff {
		return err
	}
	if err := pause.For(ctx, time.Second); err != nil {
		return err
	}
	return c.Box.Remove(ctx, name, false)
}
