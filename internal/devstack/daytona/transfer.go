package daytona

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path"
	"regexp"
	"strconv"
	"strings"
)

const (
	// readFile tells the size and then the content; only a regular file has
	// any.
	readFile = needs + `[ ! -d "$1" ] || { echo "invalid file path: path points to a directory: $1" >&2; exit 45; }
[ ! -f "$1" ] || : <"$1"
stat -L -c %s -- "$1" || exit
[ ! -f "$1" ] || exec cat -- "$1"`
	writeFile = `case $1 in */*) mkdir -p -- "${1%/*}/" ;; esac && exec cat >"$1"`
)

// copyBuffer is how much of an upload is read and written at once, in bytes.
const copyBuffer = 256 << 10

// upload is the old form of uploading one file.
func (c *call) upload() error {
	name, err := c.path("path")
	if err != nil {
		return err
	}
	found := false
	err = c.parts(func(part *multipart.Part) error {
		if part.FormName() != "file" {
			return nil
		}
		found = true
		_, err := c.store(name, part)
		return err
	})
	if err == nil && !found {
		return problemf(http.StatusBadRequest, "no file in the form")
	}
	return err
}

// uploaded is a file that was written.
type uploaded struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// bulkUpload takes files[N].path and then files[N].file, as often as wanted,
// and writes as it reads. A file that cannot be written does not keep it from
// the others.
func (c *call) bulkUpload() error {
	const maxPath = 4096
	field := regexp.MustCompile(`^files\[(\d+)\]\.(path|file)$`)
	paths, files, errs := map[string]string{}, []uploaded{}, []string{}
	err := c.parts(func(part *multipart.Part) error {
		match := field.FindStringSubmatch(part.FormName())
		if match == nil {
			return nil
		}
		index := match[1]
		if match[2] == "path" {
			text, err := io.ReadAll(io.LimitReader(part, maxPath+1))
			name := strings.TrimSpace(string(text))
			if err != nil || name == "" || len(text) > maxPath || strings.Contains(name, "\x00") {
				errs = append(errs, fmt.Sprintf("path[%s]: it cannot be used", index))
				return nil
			}
			paths[index] = name
			return nil
		}
		if paths[index] == "" {
			errs = append(errs, fmt.Sprintf("file[%s]: missing .path metadata", index))
			return nil
		}
		n, err := c.store(paths[index], part)
		if p, ok := errors.AsType[*problem](err); ok {
			errs = append(errs, fmt.Sprintf("%s: %s", paths[index], p.message))
			return nil
		}
		if err == nil {
			files = append(files, uploaded{paths[index], n})
		}
		return err
	})
	if p, ok := errors.AsType[*problem](err); ok {
		errs = append(errs, p.message)
	} else if err != nil {
		return err
	}
	if len(errs) > 0 {
		return &problem{status: http.StatusBadRequest, body: map[string]any{"errors": errs, "files": files}}
	}
	return c.answer(map[string]any{"files": files})
}

// parts calls each with the parts of a multipart request. A client that is
// refused early goes on to send: it reads the answer once all was taken.
func (c *call) parts(each func(*multipart.Part) error) error {
	// It fails where the client's protocol has no need of it.
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	body := c.r.Body
	defer func() { _, _ = io.Copy(io.Discard, body) }()
	// A multipart reader reads 4 KiB at a time.
	c.r.Body = struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(body, copyBuffer), body}
	reader, err := c.r.MultipartReader()
	if err != nil {
		return problemf(http.StatusBadRequest, "invalid multipart form: %v", err)
	}
	for {
		part, err := reader.NextPart()
		if err == io.EOF { // not wrapped: the form's own end
			return nil
		}
		if err != nil {
			return problemf(http.StatusBadRequest, "invalid multipart form: %v", err)
		}
		if err := each(part); err != nil {
			return err
		}
	}
}

// store writes a file and makes the directories above it.
func (c *call) store(name string, content io.Reader) (int64, error) {
	source := &sourceReader{reader: content}
	if err := c.tools.run(c.r.Context(), writeFile, []string{name}, Command{Stdin: source}); err != nil {
		return 0, err
	}
	if source.err != nil {
		return 0, problemf(http.StatusBadRequest, "upload of %s was cut: %v", name, source.err)
	}
	return source.n, nil
}

// sourceReader counts, remembers why reading ended, and hides all other
// methods. A multipart form gives little at a time; copied, it makes larger
// pieces of that.
type sourceReader struct {
	reader io.Reader
	n      int64
	err    error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.reader.Read(p)
	s.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// WriteTo implements io.WriterTo.
func (s *sourceReader) WriteTo(w io.Writer) (written int64, err error) {
	buffer := make([]byte, copyBuffer)
	for {
		filled := 0
		for filled < len(buffer) && err == nil {
			var n int
			n, err = s.Read(buffer[filled:])
			filled += n
		}
		n, failed := w.Write(buffer[:filled])
		written += int64(n)
		switch {
		case failed != nil:
			return written, failed
		case errors.Is(err, io.EOF):
			return written, nil
		case err != nil:
			return written, err
		}
	}
}

// sizedWriter takes what readFile writes: it calls begin with the size, once,
// and writes as many bytes to what that returns.
type sizedWriter struct {
	begin func(size int64) (io.Writer, error)
	head  []byte // before the first newline
	to    io.Writer
	left  int64
}

func (w *sizedWriter) Write(p []byte) (int, error) {
	taken := len(p)
	if w.to == nil {
		w.head = append(w.head, p...)
		line, rest, found := bytes.Cut(w.head, []byte("\n"))
		if !found {
			return taken, nil
		}
		size, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil || size < 0 {
			return 0, fmt.Errorf("stat said %q", line)
		}
		if w.to, err = w.begin(size); err != nil {
			return 0, err
		}
		w.left, p = size, rest
	}
	p = p[:min(int64(len(p)), w.left)] // a file may grow meanwhile
	w.left -= int64(len(p))
	if len(p) == 0 {
		return taken, nil
	}
	_, err := w.to.Write(p)
	return taken, err
}

// read streams a file to what begin returns. Once that was called, no other
// answer is possible: the connection is cut on errors.
func (c *call) read(ctx context.Context, name string, begin func(size int64) (io.Writer, error)) error {
	out := &sizedWriter{begin: begin}
	err := c.tools.run(ctx, readFile, []string{name}, Command{Stdout: out})
	if out.to != nil && (err != nil || out.left > 0) {
		panic(http.ErrAbortHandler)
	}
	return err
}

func (c *call) download() error {
	name, err := c.path("path")
	if err != nil {
		return err
	}
	return c.read(c.r.Context(), name, func(size int64) (io.Writer, error) {
		header := c.w.Header()
		header.Set("Content-Description", "File Transfer")
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", disposition(path.Base(name)))
		header.Set("Content-Length", strconv.FormatInt(size, 10))
		return c.w, nil
	})
}

// disposition names a file that is sent alone.
func disposition(name string) string {
	return strings.Replace(multipart.FileContentDisposition("", name), `form-data; name=""`, "attachment", 1)
}

// bulkDownload answers 200 with a part per path, named "file" or "error",
// even when a file cannot be read.
func (c *call) bulkDownload() error {
	var request struct {
		Paths []string `json:"paths"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil || len(request.Paths) == 0 {
		return refusef(http.StatusBadRequest, "request body must be {\"paths\": [ ... ]} and non-empty")
	}
	form := multipart.NewWriter(c.w)
	if err := form.SetBoundary("DAYTONA-FILE-BOUNDARY"); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", form.FormDataContentType())
	for _, name := range request.Paths {
		if err := c.sendPart(form, name); err != nil {
			return err
		}
	}
	return form.Close()
}

func (c *call) sendPart(form *multipart.Writer, name string) error {
	err := c.read(c.r.Context(), name, func(size int64) (io.Writer, error) {
		return form.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {multipart.FileContentDisposition("file", name)},
			"Content-Type":        {"application/octet-stream"},
			"Content-Length":      {strconv.FormatInt(size, 10)},
		})
	})
	if err == nil {
		return nil
	}
	part, errPart := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("error", name)},
		"Content-Type":        {"application/json; charset=utf-8"}, // SDKs parse no other
	})
	if errPart != nil {
		return errPart
	}
	p := asProblem(err)
	code := map[int]string{
		http.StatusBadRequest: "INVALID_FILE_PATH",
		http.StatusForbidden:  "FILE_ACCESS_DENIED",
		http.StatusNotFound:   "FILE_NOT_FOUND",
	}[p.status]
	return json.NewEncoder(part).Encode(toolboxError{
		StatusCode: p.status, Message: p.message, Code: cmp.Or(code, "FILE_READ_FAILED"),
		Timestamp: c.tools.now().UTC(), Path: name, Method: c.r.Method,
	})
}
