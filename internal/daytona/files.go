package daytona

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// FileInfo is a file or directory in the sandbox. Links are followed.
type FileInfo struct {
	Name       string `json:"name"` // without directory; it has no slash
	Size       int64  `json:"size"` // bytes
	IsDir      bool   `json:"isDir"`
	Mode       string `json:"mode"`        // as ls has it: -rw-r--r--; not cleaned
	Permission string `json:"permissions"` // octal digits; not cleaned
	ModifiedAt Time   `json:"modifiedAt"`
}

// Perm returns the permission bits, 0 if they cannot be read.
func (f FileInfo) Perm() os.FileMode {
	n, err := strconv.ParseUint(f.Permission, 8, 32)
	if err != nil {
		return 0
	}
	return os.FileMode(n) & os.ModePerm
}

// Regular reports whether it is a file with content, not a directory, pipe,
// socket or device.
func (f FileInfo) Regular() bool { return !f.IsDir && strings.HasPrefix(f.Mode, "-") }

// check refuses a name that would lead elsewhere when it is joined to a path.
func (f FileInfo) check() error {
	if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\x00") {
		return fault.New(fault.Sandbox, "the sandbox lists a file named %q", clean(f.Name))
	}
	return nil
}

// List returns what is in a directory, by name; links that lead nowhere are
// left out. An answer over 8 MiB, some thirty thousand files, is an error.
//
// It calls GET /files.
func (t *Toolbox) List(ctx context.Context, dir string) ([]FileInfo, error) {
	var files []FileInfo
	if err := t.file(ctx, "list", http.MethodGet, nil, dir, nil, &files); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Info returns what is at a path; an *Error of kind NotFound if there is
// nothing.
//
// It calls GET /files/info.
func (t *Toolbox) Info(ctx context.Context, name string) (*FileInfo, error) {
	var f FileInfo
	if err := t.file(ctx, "look up", http.MethodGet, []string{"info"}, name, nil, &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// MakeDir makes a directory and those above it; one that is there already stays
// as it is. The sandbox's umask is taken off mode.
//
// It calls POST /files/folder.
func (t *Toolbox) MakeDir(ctx context.Context, name string, mode os.FileMode) error {
	return t.file(ctx, "make directory", http.MethodPost, []string{"folder"}, name, url.Values{"mode": {octal(mode)}}, nil)
}

// Remove removes a file, or with recursive a directory and what is in it.
// Removing what is not there does nothing.
//
// It calls DELETE /files.
func (t *Toolbox) Remove(ctx context.Context, name string, recursive bool) error {
	query := url.Values{}
	if recursive {
		query.Set("recursive", "true")
	}
	err := t.file(ctx, "remove", http.MethodDelete, nil, name, query, nil)
	if notFound(err) {
		return nil
	}
	return err
}

// Move renames a file or directory. What is at the new path already is not
// replaced: that is an *Error of kind Conflict. It is not repeated.
//
// It calls POST /files/move.
func (t *Toolbox) Move(ctx context.Context, from, to string) error {
	for _, name := range []string{from, to} {
		if err := absolute(name); err != nil {
			return fmt.Errorf("move: %w", err)
		}
	}
	return t.call(ctx, request{
		op: "move " + clean(from) + " to " + clean(to), method: http.MethodPost, path: []string{"files", "move"},
		query: url.Values{"source": {from}, "destination": {to}},
	}, nil)
}

// file calls what concerns one path and may be repeated.
func (t *Toolbox) file(ctx context.Context, verb, method string, route []string, name string, query url.Values, out any) error {
	if err := absolute(name); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("path", name)
	return t.call(ctx, request{
		op: verb + " " + clean(name), method: method, path: append([]string{"files"}, route...), query: query, safe: true,
	}, out)
}

// octal is a mode as the toolbox wants it.
func octal(mode os.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

// quietDownload is how long a download may stand still.
const quietDownload = time.Minute

// Download opens a file in the sandbox; an *Error of kind NotFound if there is
// none. Reading fails after a minute in which nothing came, or when ctx ends;
// how much is read is for the caller to bound, who closes it.
//
// It calls GET /files/download.
func (t *Toolbox) Download(ctx context.Context, name string) (io.ReadCloser, error) {
	if t.err != nil {
		return nil, t.err
	}
	if err := absolute(name); err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	return t.c.stream(ctx, t.route(request{
		op: "download " + clean(name), method: http.MethodGet, path: []string{"files", "download"},
		query: url.Values{"path": {name}}, quiet: quietDownload, safe: true,
	}), 0)
}

// absolute refuses paths that would mean something else elsewhere.
func absolute(name string) error {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return fault.New(fault.Usage, "%q is not an absolute path in the sandbox", clean(name))
	}
	return nil
}
