package daytona

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// File is one file for Upload: its content is Content, or what Open opens.
type File struct {
	Path    string      // absolute, in the sandbox
	Mode    os.FileMode // permission bits; 0 leaves what the toolbox gives
	Content []byte      // not changed until Upload returned

	Open func() (io.ReadCloser, error) // called once for each attempt
	Size int64                         // of what Open opens, in bytes, exactly
}

// size is how many bytes the content has.
func (f File) size() int64 {
	if f.Open != nil {
		return f.Size
	}
	return int64(len(f.Content))
}

// open opens the content.
func (f File) open() (io.ReadCloser, error) {
	if f.Open == nil {
		return io.NopCloser(bytes.NewReader(f.Content)), nil
	}
	content, err := f.Open()
	if err != nil {
		return nil, &sourceError{f.Path, err}
	}
	return &source{content: content, name: f.Path, left: f.Size}, nil
}

// slowest is the rate below which an upload is given up, in bytes a second.
const slowest = 128 << 10

// Upload writes files, all in one request, with the directories they need, and
// then sets their modes: until then a file has the toolbox's default mode.
// Files that exist are overwritten, so it is repeated when an answer is lost.
// No file is held in memory. One attempt may take ten minutes and a second more
// for each 128 KiB.
//
// It calls POST /files/bulk-upload and POST /files/permissions.
func (t *Toolbox) Upload(ctx context.Context, files ...File) error {
	limit := transferTimeout
	for _, f := range files {
		if err := absolute(f.Path); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		if strings.TrimSpace(f.Path) != f.Path {
			return fault.New(fault.Usage, "upload: the toolbox would cut the blank off %q", clean(f.Path))
		}
		limit += time.Duration(f.size()/slowest) * time.Second
	}
	body, mime, err := form(files)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	err = t.call(ctx, request{
		op: "upload files", method: http.MethodPost, path: []string{"files", "bulk-upload"},
		body: body, mime: mime, timeout: limit, safe: true,
	}, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Mode == 0 {
			continue
		}
		err := t.file(ctx, "set the mode of", http.MethodPost, []string{"permissions"}, f.Path, url.Values{"mode": {octal(f.Mode)}}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// form lays files out as the toolbox wants them: files[0].path, files[0].file,
// and so on.
func form(files []File) (body func() (io.Reader, int64, error), mime string, err error) {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	var parts []File
	size := int64(0)
	add := func(f File) { parts, size = append(parts, f), size+f.size() }
	between := func() { add(File{Content: slices.Clone(head.Bytes())}); head.Reset() }
	for i, f := range files {
		if err := w.WriteField(fmt.Sprintf("files[%d].path", i), f.Path); err != nil {
			return nil, "", err
		}
		if _, err := w.CreateFormFile(fmt.Sprintf("files[%d].file", i), path.Base(f.Path)); err != nil {
			return nil, "", err
		}
		between()
		add(f)
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	between()
	return func() (io.Reader, int64, error) { return &chain{parts: parts}, size, nil }, w.FormDataContentType(), nil
}

// chain reads one part after the other, each opened when its turn comes. HTTP
// may close it amid a Read.
type chain struct {
	mu      sync.Mutex
	parts   []File
	current io.ReadCloser
}

func (c *chain) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.current == nil {
			if len(c.parts) == 0 {
				return 0, io.EOF
			}
			opened, err := c.parts[0].open()
			if err != nil {
				return 0, err
			}
			c.current, c.parts = opened, c.parts[1:]
		}
		n, err := c.current.Read(p)
		if errors.Is(err, io.EOF) {
			err = c.done()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close closes the part that is open, and leaves none to open.
func (c *chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = nil
	return c.done()
}

func (c *chain) done() error {
	if c.current == nil {
		return nil
	}
	err := c.current.Close()
	c.current = nil
	return err
}

// source is the content of a File, as long as was promised.
type source struct {
	content io.ReadCloser
	name    string
	left    int64
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.content.Read(p)
	s.left -= int64(n)
	switch {
	case s.left < 0, errors.Is(err, io.EOF) && s.left > 0:
		return 0, &sourceError{s.name, errors.New("it changed while it was read")}
	case err != nil && !errors.Is(err, io.EOF):
		return 0, &sourceError{s.name, err}
	}
	return n, err
}

func (s *source) Close() error { return s.content.Close() }

// sourceError says that what was to be sent could not be read, which is not
// Daytona's doing, and that another attempt does not mend.
type sourceError struct {
	name string // where it was to go
	err  error
}

func (e *sourceError) Error() string {
	return "read what is to become " + clean(e.name) + ": " + e.err.Error()
}
func (e *sourceError) Unwrap() error { return e.err }
