package daytona

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
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

// Scripts that work on "$1". What they say on stderr is told where v0.190
// tells anything.
const (
	needs = `[ -e "$1" ] || exit 44
`
	statFile = needs + `stat -L -c '%f %s %Y %u %g' -- "$1"`
	// After each name comes "$2", which no name holds.
	statDir = needs + `[ -d "$1" ] || { echo "not a directory" >&2; exit 45; }
cd -- "$1" 2>/dev/null && [ -r . ] || { echo "Permission denied" >&2; exit 45; }
find . -mindepth 1 -maxdepth 1 -exec stat -L -c "%f %s %Y %u %g %n$2" {} + 2>/dev/null
exit 0`
	removeFile = needs + `[ ! -d "$1" ] || { echo "cannot delete directory without recursive flag" >&2; exit 45; }
rm -f -- "$1"`
	removeTree = needs + `rm -rf -- "$1"`
	makeDir    = `umask "$2" && mkdir -p -- "$1"`
	move       = needs + `[ -d "$(dirname -- "$2")" ] || exit 44
[ ! -e "$2" ] || exit 46
mv -- "$1" "$2"`
	// Empty arguments leave things as they are.
	permit = needs + `[ -z "$2" ] || chmod "$2" -- "$1" || exit
[ -z "$3$4" ] || chown "$3${4:+:$4}" -- "$1"`
)

// quiet serves an operation on files: what is wrong with the request or the
// file is told by the status alone.
func quiet(serve func(*call) error) func(*call) error {
	return func(c *call) error {
		err := serve(c)
		if p, ok := errors.AsType[*problem](err); ok {
			return c.silent(p)
		}
		return err
	}
}

// fileRoutes adds the operations on files.
func fileRoutes(route func(string, func(*call) error)) {
	for pattern, serve := range map[string]func(*call) error{
		"GET /files":              (*call).listFiles,
		"DELETE /files":           (*call).deleteFile,
		"GET /files/info":         (*call).fileInfo,
		"GET /files/download":     (*call).download,
		"POST /files/upload":      (*call).upload,
		"POST /files/folder":      (*call).createFolder,
		"POST /files/move":        (*call).moveFile,
		"POST /files/permissions": (*call).setPermissions,
		"GET /files/search":       (*call).searchFiles,
		"GET /files/find":         (*call).findInFiles,
		"POST /files/replace":     (*call).replaceInFiles,
		"GET /port/{port}/in-use": (*call).portInUse,
	} {
		route(pattern, quiet(serve))
	}
	route("GET /port", (*call).ports)
	route("POST /files/bulk-download", (*call).bulkDownload)
	route("POST /files/bulk-upload", (*call).bulkUpload)
}

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
	if err != nil {
		return err
	}
	info, err := parseStat(strings.TrimSpace(out), path.Base(c.r.URL.Query().Get("path")))
	if err != nil {
		return err
	}
	return c.answer(info)
}

// listFiles shows what links lead to, and not those that lead nowhere.
func (c *call) listFiles() error {
	dir := cmp.Or(c.r.URL.Query().Get("path"), ".")
	var out bytes.Buffer
	end := "/" + rand.Text()
	if err := c.tools.script(c.r.Context(), statDir, []string{dir, end}, &out); err != nil {
		return err
	}
	infos := []fileInfo{}
	for entry := range strings.SplitSeq(out.String(), end+"\n") {
		stat, name, found := strings.Cut(entry, " ./")
		if !found {
			continue
		}
		info, err := parseStat(stat, name)
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fileInfo) int { return strings.Compare(a.Name, b.Name) })
	return c.answer(infos)
}

// parseStat reads stat's "%f %s %Y %u %g".
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
	mode, err := strconv.ParseUint(cmp.Or(c.r.URL.Query().Get("mode"), "0755"), 8, 12)
	if err != nil {
		return problemf(http.StatusBadRequest, "invalid mode format")
	}
	const umask = 0o022 // the daemon's
	if _, err := c.onPath(makeDir, fmt.Sprintf("%04o", ^mode&0o777|umask)); err != nil {
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
