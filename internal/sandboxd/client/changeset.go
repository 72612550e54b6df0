package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/dayclaude/dayclaude/internal/changeset"
)

// Bounds of a changeset beside its content, which the caller bounds.
const (
	maxChanges = 20_000
	maxPath    = 4096     // as on Linux
	maxPaths   = 16 << 20 // bytes of JSON beside the content: a decoder may hold twice what one change sends
)

// Changeset fetches what the task's work tree holds against its base commit:
// after Claude ended what it left, before that what is there now. Its content
// comes to at most maxBytes; more is an error, for sandboxd leaves out what
// goes past the task's Bounds. fault.Conflict before anything was cloned.
func (c *Client) Changeset(ctx context.Context, id string, maxBytes int64) (*changeset.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	path := taskPath(id, "changeset")
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readChangeset(resp.Body, maxBytes)
}

var (
	errTooLong = errors.New("longer than announced bounds")
	commitID   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// bounded is a reader that fails, rather than ends, past its bound. It keeps
// the error that reading met, which is not one of what was read.
type bounded struct {
	r      io.Reader
	left   int64
	failed error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if !errors.Is(err, io.EOF) {
		b.failed = err
	}
	return n, err
}

// readChangeset decodes a Set change by change, so that a hostile one is
// refused before it is held.
func readChangeset(r io.Reader, maxBytes int64) (*changeset.Set, error) {
	body := &bounded{r: r, left: maxBytes/3*4 + maxPaths}
	in := json.NewDecoder(body)
	in.DisallowUnknownFields()
	set := &changeset.Set{}
	err := readObject(in, func(key string) error {
		switch key {
		case "base":
			return in.Decode(&set.Base)
		case "truncated":
			return in.Decode(&set.Truncated)
		case "changes":
			return readChanges(in, set, maxBytes)
		}
		return fmt.Errorf("unknown key %q", cut(key, maxWord))
	})
	if err == nil && !commitID.MatchString(set.Base) {
		err = errors.New("base is not a commit")
	}
	if err == nil && set.Changes == nil {
		err = errors.New("no list of changes")
	}
	if err == nil {
		if _, more := in.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	switch {
	case body.failed != nil:
		return nil, wayError(body.failed, "changeset")
	case err != nil:
		return nil, broken("changeset: %v", err)
	}
	return set, nil
}

// readObject reads an object's braces and keys; field reads each value.
func readObject(in *json.Decoder, field func(key string) error) error {
	if err := readDelim(in, '{'); err != nil {
		return err
	}
	for in.More() {
		token, err := in.Token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("%v where a key is due", token)
		}
		if err := field(key); err != nil {
			return err
		}
	}
	return readDelim(in, '}')
}

func readDelim(in *json.Decoder, want json.Delim) error {
	token, err := in.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("%v where %v is due", token, want)
	}
	return nil
}

func readChanges(in *json.Decoder, set *changeset.Set, left int64) error {
	if set.Changes != nil {
		return errors.New("changes come twice")
	}
	if err := readDelim(in, '['); err != nil {
		return err
	}
	set.Changes = []changeset.Change{}
	for in.More() {
		if len(set.Changes) == maxChanges {
			return fmt.Errorf("more than %d changes", maxChanges)
		}
		var c changeset.Change
		if err := in.Decode(&c); err != nil {
			return err
		}
		if err := checkChange(&c); err != nil {
			return err
		}
		if left -= int64(len(c.Content)); left < 0 {
			return errTooLong
		}
		set.Changes = append(set.Changes, c)
	}
	return readDelim(in, ']')
}

// checkChange refuses what is not a change at all. Whether a change may be
// published is for the gate to say.
func checkChange(c *changeset.Change) error {
	if c.Path == "" || len(c.Path) > 3*maxPath || len(c.RawPath) > maxPath {
		return fmt.Errorf("a path of %d bytes", len(c.Path))
	}
	switch c.Mode {
	case changeset.ModeFile, changeset.ModeExecutable, changeset.ModeSymlink, changeset.ModeSubmodule:
		if c.Deleted {
			return errors.New("a deleted path has a mode")
		}
	case "":
		if !c.Deleted || len(c.Content) > 0 {
			return errors.New("a path has no mode")
		}
	default:
		return fmt.Errorf("unknown mode %q", cut(c.Mode, maxWord))
	}
	return nil
}
