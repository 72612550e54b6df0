package daytona

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	findNames = `find "$1" -name "$2" -print0 2>/dev/null
[ $? -lt 126 ]`
	// Files with zero bytes are taken for binary ones and left out.
	findText = `LC_ALL=C grep -rIFHnZ -D skip -e "$2" -- "$1" 2>/dev/null
[ $? -lt 126 ]`
	listening = `cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || :`
)

// maxReplaced bounds a file that text is replaced in, before and after.
const maxReplaced = maxOutput

// search runs a script with the request's path and pattern.
func (c *call) search(script string) (root, out string, err error) {
	query := c.r.URL.Query()
	root, pattern := query.Get("path"), query.Get("pattern")
	if root == "" || pattern == "" {
		return "", "", problemf(http.StatusBadRequest, "path and pattern are required")
	}
	if strings.HasPrefix(root, "-") {
		root = "./" + root
	}
	if strings.Contains(pattern, "\n") {
		return root, "", nil // it is in no line and no name that is looked for
	}
	var buffer bytes.Buffer
	err = c.tools.script(c.r.Context(), script, []string{root, pattern}, &buffer)
	return root, buffer.String(), err
}

// inOrder compares paths as a walk through the directories meets them.
func inOrder(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

// searchFiles looks for names.
func (c *call) searchFiles() error {
	root, out, err := c.search(findNames)
	if err != nil {
		return err
	}
	files := []string{}
	for name := range strings.SplitSeq(out, "\x00") {
		switch name {
		case "":
		case root:
			files = append(files, root)
		default:
			files = append(files, path.Clean(name))
		}
	}
	slices.SortFunc(files, inOrder)
	return c.answer(map[string]any{"files": files})
}

// match is a line of a file that holds a text.
type match struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Content string `json:"content"`
}

// findInFiles looks for lines that hold a text, which is no expression.
func (c *call) findInFiles() error {
	_, out, err := c.search(findText)
	if err != nil {
		return err
	}
	matches := parseMatches(out)
	slices.SortStableFunc(matches, func(a, b match) int { return inOrder(a.File, b.File) })
	return c.answer(matches)
}

// parseMatches reads grep's lines: a name, a zero byte, a number, a colon and
// the text. What was cut at the end is left out.
func parseMatches(out string) []match {
	matches := []match{}
	for {
		file, rest, _ := strings.Cut(out, "\x00")
		number, rest, _ := strings.Cut(rest, ":")
		text, rest, found := strings.Cut(rest, "\n")
		line, err := strconv.Atoi(number)
		if !found || err != nil {
			return matches
		}
		matches = append(matches, match{path.Clean(file), line, strings.TrimSuffix(text, "\r")})
		out = rest
	}
}

// replaced is how replacing went in one file.
type replaced struct {
	File    string `json:"file"`
	Success bool   `json:"success"`
	Error   string `json:"error,omitempty"`
}

func (c *call) replaceInFiles() error {
	var request struct {
		Files    []string `json:"files"`
		Pattern  string   `json:"pattern"`
		NewValue *string  `json:"newValue"`
	}
	if err := readJSON(c.w, c.r, &request); err != nil {
		return err
	}
	if request.Files == nil || request.Pattern == "" || request.NewValue == nil {
		return problemf(http.StatusBadRequest, "files, pattern and newValue are required")
	}
	results := []replaced{}
	for _, name := range request.Files {
		result := replaced{File: name, Success: true}
		if err := c.replace(name, request.Pattern, *request.NewValue); err != nil {
			if _, ok := errors.AsType[*problem](err); !ok {
				return err
			}
			result.Success, result.Error = false, err.Error()
		}
		results = append(results, result)
	}
	return c.answer(results)
}

func (c *call) replace(name, old, now string) error {
	var content bytes.Buffer
	err := c.tools.run(c.r.Context(), needs+`exec cat -- "$1"`, []string{name},
		Command{Stdout: &bounded{buffer: &content, left: maxReplaced + 1}})
	if err != nil {
		return err
	}
	count := bytes.Count(content.Bytes(), []byte(old))
	if content.Len() > maxReplaced || content.Len()+count*(len(now)-len(old)) > maxReplaced {
		return problemf(http.StatusRequestEntityTooLarge, "%s is larger than %d bytes", name, maxReplaced)
	}
	text := bytes.ReplaceAll(content.Bytes(), []byte(old), []byte(now))
	return c.tools.run(c.r.Context(), `exec cat >"$1"`, []string{name}, Command{Stdin: bytes.NewReader(text)})
}

// ports lists the TCP ports that something listens on.
func (c *call) ports() error {
	ports, err := c.tools.listening(c.r.Context())
	if err != nil {
		return err
	}
	return c.answer(map[string]any{"ports": ports})
}

func (t *tools) listening(ctx context.Context) ([]uint16, error) {
	var out bytes.Buffer
	if err := t.script(ctx, listening, nil, &out); err != nil {
		return nil, err
	}
	return parseSockets(out.String()), nil
}

// parseSockets reads the ports of listening sockets from Linux's tables.
func parseSockets(tables string) []uint16 {
	const listens = "0A"
	ports := []uint16{}
	for line := range strings.Lines(tables) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != listens {
			continue
		}
		_, number, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(number, 16, 16); err == nil {
			ports = append(ports, uint16(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func (c *call) portInUse() error {
	port, err := strconv.Atoi(c.r.PathValue("port"))
	if err != nil || port < 3000 || port > 9999 {
		return problemf(http.StatusBadRequest, "port out of range: must be between 3000 and 9999")
	}
	ports, err := c.tools.listening(c.r.Context())
	if err != nil {
		return err
	}
	inUse := slices.Contains(ports, uint16(port))
	if !inUse { // the engine may stand another port in for it
		ctx, cancel := context.WithTimeout(c.r.Context(), time.Second)
		defer cancel()
		if conn, err := c.tools.engine.Dial(ctx, c.tools.id, port); err == nil {
			inUse = true
			_ = conn.Close()
		}
	}
	return c.answer(map[string]bool{"isInUse": inUse})
}
