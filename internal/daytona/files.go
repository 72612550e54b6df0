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

	"github.com/dayclaude/dayclaude/internal/fault"
)

// MaxDownload is the most bytes that Download lets through.
const MaxDownload = 1 << 30

// File is one file for Upload.
type File struct {
	Path    string      // absolute, in the sandbox
	Content []byte      // not changed until Upload returned
	Mode    os.FileMode // permission bits; 0 leaves what the toolbox gives
}

// Upload writes files, all in one request, with the directories they need, and
// then sets their modes: until then a file has the toolbox's default mode.
// Files that exist are overwritten, so it is repeated when an answer is lost.
func (t *Toolbox) Upload(ctx context.Context, files ...File) error {
	for _, f := range files {
		if err := absolute(f.Path); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
	}
	body, mime, err := form(files)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	err = t.call(ctx, request{
		op: "upload files", method: http.MethodPost, path: []string{"files", "bulk-upload"},
		body: body, mime: mime, timeout: transferTimeout, safe: true,
	}, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Mode == 0 {
			continue
		}
		err := t.call(ctx, request{
			op: "set the mode of " + clean(f.Path), method: http.MethodPost, path: []string{"files", "permissions"},
			query: url.Values{"path": {f.Path}, "mode": {fmt.Sprintf("%04o", f.Mode.Perm())}}, safe: true,
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// form lays files out as the toolbox wants them: files[0].path, files[0].file,
// and so on. The contents are not copied.
func form(files []File) (body func() (io.Reader, int64, error), mime string, err error) {
	var head bytes.Buffer
	w := multipart.NewWriter(&head)
	var parts [][]byte
	for i, f := range files {
		if err := w.WriteField(fmt.Sprintf("files[%d].path", i), f.Path); err != nil {
			return nil, "", err
		}
		if _, err := w.CreateFormFile(fmt.Sprintf("files[%d].file", i), path.Base(f.Path)); err != nil {
			return nil, "", err
		}
		parts = append(parts, slices.Clone(head.Bytes()), f.Content)
		head.Reset()
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	parts = append(parts, head.Bytes())
	return func() (io.Reader, int64, error) {
		readers, size := make([]io.Reader, len(parts)), int64(0)
		for i, p := range parts {
			readers[i] = bytes.NewReader(p)
			size += int64(len(p))
		}
		return io.MultiReader(readers...), size, nil
	}, w.FormDataContentType(), nil
}

// Download opens a file in the sandbox; an *Error of kind NotFound if there is
// none. Reading fails after MaxDownload bytes, ten minutes, or the end of ctx.
// The caller closes it.
func (t *Toolbox) Download(ctx context.Context, name string) (io.ReadCloser, error) {
	if t.err != nil {
		return nil, t.err
	}
	if err := absolute(name); err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	r := t.route(request{
		op: "download " + clean(name), method: http.MethodGet, path: []string{"files", "download"},
		query: url.Values{"path": {name}}, safe: true,
	})
	ctx, cancel := context.WithTimeoutCause(ctx, transferTimeout,
		fault.New(fault.Unavailable, "not done within %s", transferTimeout))
	var resp *http.Response
	err := t.c.repeat(ctx, r, func() (err error) {
		resp, err = t.c.open(ctx, r) //nolint:bodyclose // download.Close does
		return err
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return &download{ctx: ctx, cancel: cancel, r: r, resp: resp, left: MaxDownload}, nil
}

// download is the body of an answer, bounded, whose errors are like those of
// every other call.
type download struct {
	ctx    context.Context // ends the body's connection, so it lives as long
	cancel context.CancelFunc
	r      request
	resp   *http.Response
	left   int64
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.resp.Body.Read(p)
	if d.left -= int64(n); d.left < 0 {
		return 0, d.r.unreadable(d.ctx, d.resp, fmt.Errorf("the file is larger than %d bytes", int64(MaxDownload)))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.r.unreadable(d.ctx, d.resp, fmt.Errorf("the answer was cut: %w", err))
	}
	return n, err
}

func (d *download) Close() error {
	defer d.cancel()
	return d.resp.Body.Close()
}

// absolute refuses paths that would mean something else elsewhere.
func absolute(name string) error {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return fault.New(fault.Usage, "%q is not an absolute path in the sandbox", clean(name))
	}
	return nil
}
