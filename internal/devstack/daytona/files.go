package daytona

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fileInfo is a file as the toolbox shows it.
type fileInfo struct {
	Name        string `json:"name"`
	IsDir       bool   `json:"isDir"`
	Size        int64  `json:"size"`
	ModTime     string `json:"modTime"`
	ModifiedAt  string `json:"modifiedAt"`
	Mode        string `json:"mode"`
	Permissions string `json:"permissions"` // octal, as 0644
	Owner       string `json:"owner"`
	Group       string `json:"group"`
}

// Scripts that work on "$1". What they say on stderr is the answer's message.
const (
	needs = `[ -e "$1" ] || [ -L "$1" ] || exit 44
`
	statFile = needs + `stat -L -c '%f %s %Y %U %G' -- "$1"`
	statDir  = needs + `[ -d "$1" ] || { echo "not a directory" >&2; exit 45; }
for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
	[ -e "$file" ] || [ -L "$file" ] || continue
	stat -c '%f %s %Y %U %G' -- "$file" && printf '%s\0' "${file##*/}"
done`
	removeFile = needs + `[ ! -d "$1" ] || [ -L "$1" ] || { echo "cannot delete directory without recursive flag" >&2; exit 45; }
rm -f -- "$1"`
	removeTree = needs + `rm -rf -- "$1"`
	readFile   = needs + `[ ! -d "$1" ] || { echo "path must point to a file" >&2; exit 45; }
cat -- "$1"`
	writeFile = `case $1 in */*) mkdir -p -- "${1%/*}/" ;; esac && cat >"$1"`
	makeDir   = `mkdir -p -m "$2" -- "$1"`
	move      = needs + `case $2 in */*) [ -d "${2%/*}/" ] || exit 44 ;; esac
[ ! -e "$2" ] || { echo "destination already exists" >&2; exit 46; }
mv -- "$1" "$2"`
	// Empty arguments leave things as they are.
	permit = needs + `[ -z "$2" ] || chmod "$2" -- "$1" || exit
[ -z "$3$4" ] || chown "$3${4:+:$4}" -- "$1"`
)

// path returns a query parameter that must be there.
func (c *call) path(name string) (string, error) {
	if text := c.r.URL.Query().Get(name); text != "" && !strings.Contains(text, "\x00") {
		return text, nil
	}
	return "", problemf(http.StatusBadRequest, "%s is required", name)
}

// onPath runs a script on the request's path.
func (c *call) onPath(script string, args ...string) (string, error) {
	name, err := c.path("path")
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.tools.script(c.r.Context(), script, append([]string{name}, args...), &out)
	return out.String(), err
}

func (c *call) fileInfo() error {
	out, err := c.onPath(statFile)
	if hasStatus(err, http.StatusNotFound) {
		c.w.WriteHeader(http.StatusNotFound) // without a body, as v0.190 does
		return nil
	}
	if err != nil {
		return err
	}
	info, err := parseStat(strings.TrimSpace(out), path.Base(c.r.URL.Query().Get("path")))
	if err != nil {
		return err
	}
	return c.answer(info)
}

func (c *call) listFiles() error {
	name := c.r.URL.Query().Get("path")
	if name == "" {
		name = "."
	}
	var out bytes.Buffer
	if err := c.tools.script(c.r.Context(), statDir, []string{name}, &out); err != nil {
		return err
	}
	infos := []fileInfo{}
	for entry := range strings.SplitSeq(out.String(), "\x00") {
		stat, name, found := strings.Cut(entry, "\n")
		if !found {
			continue
		}
		info, err := parseStat(stat, name)
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	return c.answer(infos)
}

// parseStat reads a line of stat's "%f %s %Y %U %G".
func parseStat(line, name string) (fileInfo, error) {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return fileInfo{}, fmt.Errorf("stat said %q", line)
	}
	raw, errMode := strconv.ParseUint(fields[0], 16, 32)
	size, errSize := strconv.ParseInt(fields[1], 10, 64)
	seconds, errTime := strconv.ParseInt(fields[2], 10, 64)
	if err := errors.Join(errMode, errSize, errTime); err != nil {
		return fileInfo{}, fmt.Errorf("stat said %q: %w", line, err)
	}
	mode := fileMode(uint32(raw))
	modified := time.Unix(seconds, 0).UTC()
	return fileInfo{
		Name: name, IsDir: mode.IsDir(), Size: size,
		ModTime: modified.Format("2006-01-02 15:04:05 -0700 MST"), ModifiedAt: modified.Format(time.RFC3339),
		Mode: mode.String(), Permissions: fmt.Sprintf("%04o", mode.Perm()),
		Owner: fields[3], Group: fields[4],
	}, nil
}

// fileMode turns st_mode into Go's, in which the daemon answers.
func fileMode(raw uint32) os.FileMode {
	mode := os.FileMode(raw & 0o777)
	switch raw & 0o170000 {
	case 0o040000:
		mode |= os.ModeDir
	case 0o120000:
		mode |= os.ModeSymlink
	case 0o010000:
		mode |= os.ModeNamedPipe
	case 0o140000:
		mode |= os.ModeSocket
	case 0o060000:
		mode |= os.ModeDevice
	case 0o020000:
		mode |= os.ModeDevice | os.ModeCharDevice
	}
	return mode
}

func (c *call) deleteFile() error {
	script := removeFile
	if c.r.URL.Query().Get("recursive") == "true" {
		script = removeTree
	}
	_, err := c.onPath(script)
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (c *call) createFolder() error {
	mode, err := c.path("mode")
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(mode, 8, 12); err != nil {
		return problemf(http.StatusBadRequest, "invalid mode format")
	}
	if _, err := c.onPath(makeDir, mode); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (c *call) moveFile() error {
	source, err := c.path("source")
	if err != nil {
		return err
	}
	destination, err := c.path("destination")
	if err != nil {
		return err
	}
	return c.tools.script(c.r.Context(), move, []string{source, destination}, nil)
}

func (c *call) setPermissions() error {
	query := c.r.URL.Query()
	mode, owner, group := query.Get("mode"), query.Get("owner"), query.Get("group")
	if _, err := strconv.ParseUint(mode, 8, 12); mode != "" && err != nil {
		return problemf(http.StatusBadRequest, "invalid mode format")
	}
	account := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	for _, name := range []string{owner, group} {
		if name != "" && !account.MatchString(name) {
			return problemf(http.StatusBadRequest, "invalid owner or group")
		}
	}
	_, err := c.onPath(permit, mode, owner, group)
	return err
}

// upload is the old form of uploading one file.
func (c *call) upload() error {
	name, err := c.path("path")
	if err != nil {
		return err
	}
	return c.parts(func(part *multipart.Part) error {
		if part.FormName() != "file" {
			return nil
		}
		return c.store(name, part)
	})
}

// bulkUpload takes files[N].path and then files[N].file, as often as wanted.
// It writes as it reads.
func (c *call) bulkUpload() error {
	const maxPath = 4096
	field := regexp.MustCompile(`^files\[(\d+)\]\.(path|file)$`)
	paths := map[string]string{}
	return c.parts(func(part *multipart.Part) error {
		match := field.FindStringSubmatch(part.FormName())
		if match == nil {
			return nil
		}
		index := match[1]
		if match[2] == "path" {
			text, err := io.ReadAll(io.LimitReader(part, maxPath+1))
			if err != nil || len(text) == 0 || len(text) > maxPath || bytes.ContainsRune(text, 0) {
				return problemf(http.StatusBadRequest, "files[%s].path cannot be used", index)
			}
			paths[index] = string(text)
			return nil
		}
		if paths[index] == "" {
			return problemf(http.StatusBadRequest, "missing path for file index %s", index)
		}
		return c.store(paths[index], part)
	})
}

// parts calls each with the parts of a multipart request.
func (c *call) parts(each func(*multipart.Part) error) error {
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
func (c *call) store(name string, content io.Reader) error {
	source := &sourceReader{reader: content}
	if err := c.tools.run(c.r.Context(), writeFile, []string{name}, Command{Stdin: source}); err != nil {
		return err
	}
	if source.err != nil {
		return problemf(http.StatusBadRequest, "upload of %s was cut: %v", name, source.err)
	}
	return nil
}

// sourceReader remembers why reading ended, and hides all other methods.
type sourceReader struct {
	reader io.Reader
	err    error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (c *call) download() error {
	name, err := c.path("path")
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	out := &writeCounter{writer: c.w}
	err = c.tools.run(c.r.Context(), readFile, []string{name}, Command{Stdout: out})
	if err != nil && out.n > 0 {
		panic(http.ErrAbortHandler) // the status is gone: cut the body
	}
	return err
}

type writeCounter struct {
	writer io.Writer
	n      int64
}

func (w *writeCounter) Write(p []byte) (int, error) {
	n, err := w.writer.Write(p)
	w.n += int64(n)
	return n, err
}

// bulkDownload answers 200 with a part per path, named "file" or "error",
// even when a file cannot be read.
func (c *call) bulkDownload() error {
	var request struct {
		Paths []string `json:"paths"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	if len(request.Paths) == 0 {
		return problemf(http.StatusBadRequest, "request body must be {\"paths\": [ ... ]} and non-empty")
	}
	form := multipart.NewWriter(c.w)
	c.w.Header().Set("Content-Type", form.FormDataContentType())
	for _, name := range request.Paths {
		if err := c.sendPart(form, name); err != nil {
			return err
		}
	}
	return form.Close()
}

func (c *call) sendPart(form *multipart.Writer, name string) error {
	out := &partWriter{form: form, name: name}
	err := c.tools.run(c.r.Context(), readFile, []string{name}, Command{Stdout: out})
	switch {
	case err == nil:
		_, err := out.Write(nil) // an empty file is a part too
		return err
	case out.part != nil:
		panic(http.ErrAbortHandler)
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
		Timestamp: time.Now().UTC(), Path: name, Method: c.r.Method,
	})
}

// partWriter begins the part with the first bytes.
type partWriter struct {
	form *multipart.Writer
	name string
	part io.Writer
}

func (w *partWriter) Write(p []byte) (int, error) {
	if w.part == nil {
		var err error
		if w.part, err = w.form.CreateFormFile("file", w.name); err != nil {
			return 0, err
		}
	}
	return w.part.Write(p)
}
