package sandboxd

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// writeChangeset writes the work tree's difference from the base commit as a
// changeset.Set in JSON, without holding more than a file's piece in memory.
// scratch is an empty directory outside the clone, in whose "objects" the
// objects of the work tree's tree are left as far as the clone lacks them. The
// notes tell what git could not add; the changeset is then marked as
// truncated.
func (r *repository) writeChangeset(ctx context.Context, w io.Writer, scratch string, bounds api.Bounds) (tree string, notes []string, err error) {
	if r.git == "" {
		return "", nil, errors.New("the sandbox's image has no git on its PATH")
	}
	// A tree of our own, in an index and an object store of our own.
	private := *r
	private.env = append(private.env[:len(private.env):len(private.env)],
		"GIT_INDEX_FILE="+filepath.Join(scratch, "index"),
		"GIT_OBJECT_DIRECTORY="+filepath.Join(scratch, "objects"),
		"GIT_ALTERNATE_OBJECT_DIRECTORIES="+filepath.Join(r.dir, ".git", "objects"))
	if err := os.Mkdir(filepath.Join(scratch, "objects"), 0o700); err != nil {
		return "", nil, err
	}
	if _, err := private.run(ctx, "cat-file", "-e", r.spec.Commit+"^{tree}"); ctx.Err() != nil {
		return "", nil, err
	} else if err != nil {
		return "", nil, fmt.Errorf("the clone's .git is damaged: it no longer holds the base commit %s: %w", r.spec.Commit, err)
	}
	tree, notes, err = private.writeTree(ctx, filepath.Join(scratch, "index"))
	if err != nil {
		return "", nil, err
	}
	changes, truncated, err := private.compare(ctx, tree, bounds.ChangesetFiles)
	if err != nil {
		return "", nil, err
	}
	changes, left, err := private.fit(ctx, changes, bounds.ChangesetBytes)
	if err != nil {
		return "", nil, err
	}
	return tree, notes, private.render(ctx, w, changes, truncated || left || len(notes) > 0)
}

// writeTree makes a tree of the work tree: what is tracked, untracked, and
// ignored but added by force. If that fails as the clone stands, what can be
// had is taken without its index and filters, and a note says so.
func (r *repository) writeTree(ctx context.Context, index string) (tree string, notes []string, err error) {
	err = r.copyIndex(index)
	if err == nil {
		_, err = r.run(ctx, "add", "-A")
	}
	if err == nil {
		tree, err = r.run(ctx, "write-tree")
	}
	if err == nil || ctx.Err() != nil {
		return tree, nil, err
	}
	notes = []string{"the work tree could not be taken as it is: " + err.Error() + "\n"}
	_ = os.Remove(index + ".lock")
	_ = os.Remove(index)
	if _, err := r.run(ctx, "read-tree", r.spec.Commit); err != nil {
		return "", nil, err
	}
	filters := r.withoutFilters(ctx)
	if _, err := r.run(ctx, slices.Concat(filters, []string{"add", "-A", "--ignore-errors"})...); err != nil {
		notes = append(notes, "left out: "+err.Error()+"\n")
	}
	tree, err = r.run(ctx, append(filters, "write-tree")...) // it reads files, too, where the index is not sure of them
	return tree, notes, err
}

// withoutFilters is the arguments that switch the configured filters off.
func (r *repository) withoutFilters(ctx context.Context) (args []string) {
	names, _ := r.run(ctx, "config", "-z", "--name-only", "--get-regexp", `^filter\.`) // fails if there are none
	for key := range strings.SplitSeq(names, "\x00") {
		if i := strings.LastIndexByte(key, '.'); i > 0 {
			args = append(args, "-c", key[:i]+".clean=", "-c", key[:i]+".process=", "-c", key[:i]+".required=false")
		}
	}
	return args
}

// change is a changeset.Change before its content is read.
type change struct {
	changeset.Change
	blob string // object id; "" for deletions and submodules
	size int64
}

// compare lists at most limit changes from the base commit to tree, and
// whether there are more.
func (r *repository) compare(ctx context.Context, tree string, limit int) (changes []change, more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := r.command(ctx, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", r.spec.Commit, tree)
	var stderr capped
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, false, err
	}
	if err := cmd.Start(); err != nil {
		return nil, false, err
	}
	lines := bufio.NewReader(out)
	for {
		var c change
		if c, err = readRaw(lines); err != nil {
			break
		}
		if more = len(changes) == limit; more {
			cancel()
			break
		}
		changes = append(changes, c)
	}
	waited := cmd.Wait()
	switch {
	case more:
		return changes, true, nil
	case !errors.Is(err, io.EOF):
		return nil, false, err
	case waited != nil:
		return nil, false, fmt.Errorf("git diff-tree: %w: %s", waited, stderr.String())
	}
	return changes, false, nil
}

// readRaw reads one entry of `git diff-tree -z --raw`; io.EOF at the end.
func readRaw(in *bufio.Reader) (change, error) {
	head, err := in.ReadString(0)
	if err != nil {
		if head != "" {
			err = io.ErrUnexpectedEOF
		}
		return change{}, err
	}
	path, err := in.ReadString(0)
	fields := strings.Fields(strings.TrimSuffix(head, "\x00")) // :mode mode id id letter
	if err != nil || len(fields) != 5 || path == "\x00" {
		return change{}, fmt.Errorf("unexpected line of git diff-tree: %q %q", head, path)
	}
	path = strings.TrimSuffix(path, "\x00")
	c := change{Change: changeset.Change{Path: path, Mode: fields[1]}, blob: fields[3]}
	if !utf8.ValidString(path) {
		c.Path, c.RawPath = strings.ToValidUTF8(path, "\uFFFD"), []byte(path)
	}
	switch {
	case fields[4] == "D":
		c.Deleted, c.Mode, c.blob = true, "", ""
	case c.Mode == changeset.ModeSubmodule:
		c.Content, c.blob = []byte(c.blob), ""
	}
	return c, nil
}

// fit drops the changes whose content goes past limit bytes altogether.
func (r *repository) fit(ctx context.Context, changes []change, limit int64) (fitting []change, left bool, err error) {
	cat, err := r.cat(ctx, changes, "--batch-check")
	if err != nil {
		return nil, false, err
	}
	defer cat.stop()
	for _, c := range changes {
		if c.blob != "" {
			if c.size, err = cat.header(); err != nil {
				return nil, false, err
			}
		}
		if c.size > limit {
			left = true
			continue
		}
		limit -= c.size
		fitting = append(fitting, c)
	}
	return fitting, left, cat.wait()
}

// render writes the Set. Contents go through base64 straight to w.
func (r *repository) render(ctx context.Context, w io.Writer, changes []change, truncated bool) error {
	cat, err := r.cat(ctx, changes, "--batch")
	if err != nil {
		return err
	}
	defer cat.stop()
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `{"base":%q,"truncated":%t,"changes":[`, r.spec.Commit, truncated)
	for i, c := range changes {
		if i > 0 {
			out.WriteByte(',')
		}
		head, err := json.Marshal(c.Change)
		if err != nil {
			return err
		}
		if c.blob == "" {
			out.Write(head)
			continue
		}
		out.Write(head[:len(head)-1]) // the content goes before the brace
		out.WriteString(`,"content":"`)
		encoder := base64.NewEncoder(base64.StdEncoding, out)
		if err := cat.copy(encoder, c.size); err != nil {
			return err
		}
		_ = encoder.Close() // out keeps its first error for Flush
		out.WriteString(`"}`)
	}
	out.WriteString("]}\n")
	return errors.Join(cat.wait(), out.Flush())
}

// catFile is a `git cat-file` that was asked for the blobs of some changes.
type catFile struct {
	out  *bufio.Reader
	stop func()       // ends it if it did not end
	wait func() error // for its end, once all was read
}

func (r *repository) cat(ctx context.Context, changes []change, mode string) (*catFile, error) {
	var ask strings.Builder
	for _, c := range changes {
		if c.blob != "" {
			ask.WriteString(c.blob + "\n")
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := r.command(ctx, "cat-file", mode)
	var stderr capped
	cmd.Stdin, cmd.Stderr = strings.NewReader(ask.String()), &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	var waited bool
	c := &catFile{out: bufio.NewReader(out)}
	c.wait = func() error {
		if waited {
			return nil
		}
		waited = true
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("git cat-file: %w: %s", err, stderr.String())
		}
		return nil
	}
	c.stop = func() {
		cancel()
		_ = c.wait()
	}
	return c, nil
}

// header reads "id type size".
func (c *catFile) header() (size int64, err error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("git cat-file: %w", err)
	}
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[1] != "blob" {
		return 0, fmt.Errorf("the clone's .git is damaged: git cat-file says %q", line)
	}
	return strconv.ParseInt(fields[2], 10, 64)
}

// copy writes the next blob, which must have the size that was announced.
func (c *catFile) copy(w io.Writer, size int64) error {
	announced, err := c.header()
	if err != nil {
		return err
	}
	if announced != size {
		return fmt.Errorf("git cat-file: a blob of %d bytes has %d now", size, announced)
	}
	if _, err := io.CopyN(w, c.out, size); err != nil {
		return fmt.Errorf("git cat-file: %w", err)
	}
	_, err = c.out.Discard(1) // the line end after a blob
	return err
}
