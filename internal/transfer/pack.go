package transfer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// pack is a folder of this machine as an archive. Its size is known before the
// first byte of it is sent.
type pack struct {
	root *os.Root
	size int64
}

// newPack looks at what there is: a file that cannot be read is an error before
// anything is sent. The caller closes the root.
func newPack(ctx context.Context, dir string, copied *Copied) (*pack, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	p := &pack{root: root, size: 2 * blockSize}
	err = p.walk(ctx, copied.leaveOut, func(h *tar.Header) error {
		var head size
		if err := tar.NewWriter(&head).WriteHeader(h); err != nil {
			return err
		}
		p.size += int64(head) + h.Size + padding(h.Size)
		if h.Typeflag != tar.TypeDir {
			copied.Files++
			copied.Bytes += h.Size
		}
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		f, err := p.open(h.Name)
		if err != nil {
			return fault.New(fault.Usage, "%w", err)
		}
		return f.Close()
	})
	if err != nil {
		root.Close()
		return nil, err
	}
	return p, nil
}

// walk visits all below the root but what is neither file, folder nor link,
// which it tells of. Links are kept as they are.
func (p *pack) walk(ctx context.Context, leaveOut func(name, why string), visit func(*tar.Header) error) error {
	return fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
		switch info.Mode().Type() {
		case 0:
			h.Typeflag, h.Size = tar.TypeReg, info.Size()
		case fs.ModeDir:
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		case fs.ModeSymlink:
			h.Typeflag = tar.TypeSymlink
			if h.Linkname, err = p.root.Readlink(name); err != nil {
				return err
			}
		default:
			leaveOut(name, "neither a file nor a folder")
			return nil
		}
		return visit(h)
	})
}

// open opens a file that is one: of a pipe in its place, nothing is waited for.
func (p *pack) open(name string) (*os.File, error) {
	return p.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// reader returns the archive. Closing it waits until the folder is no longer
// read.
func (p *pack) reader(ctx context.Context) io.ReadCloser {
	from, to := io.Pipe()
	r := &packReader{PipeReader: from, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		_ = to.CloseWithError(p.write(ctx, to))
	}()
	return r
}

type packReader struct {
	*io.PipeReader
	ended chan struct{}
}

func (r *packReader) Close() error {
	err := r.PipeReader.Close()
	<-r.ended
	return err
}

func (p *pack) write(ctx context.Context, to io.Writer) error {
	archive := tar.NewWriter(to)
	err := p.walk(ctx, func(string, string) {}, func(h *tar.Header) error {
		if err := archive.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
			return err
		}
		f, err := p.open(h.Name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(archive, f, h.Size)
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s became shorter while it was read", untrusted.Quote(h.Name, 200))
		}
		return err
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

// blockSize is what archives are made of, in bytes. Two of them end one.
const blockSize = 512

func padding(size int64) int64 { return -size & (blockSize - 1) }

// size counts what is written to it.
type size int64

func (s *size) Write(b []byte) (int, error) {
	*s += size(len(b))
	return len(b), nil
}
