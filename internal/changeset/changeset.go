// Package changeset is what leaves a sandbox: for each changed path its mode
// and new content, against the base commit. Sandbox, gate and hub share it.
package changeset

import "unicode/utf8"

// Git's file modes, as they stand in trees.
const (
	ModeFile       = "100644"
	ModeExecutable = "100755"
	ModeSymlink    = "120000"
	ModeSubmodule  = "160000"
)

// Set is every changed path with its new mode
// and content, against the base commit. It comes from the sandbox, so nothing
// in it is to be believed before the gate has seen it.
type Set struct {
	Base    string   `json:"base"` // commit the changes are against, 40 hex digits
	Changes []Change `json:"changes"`
	// Truncated says that the sandbox left changes out because they went past
	// the bounds it was given; such a changeset is never published.
	Truncated bool `json:"truncated,omitempty"`
}

// Change is one path. Exactly one of Deleted and Mode is set.
type Change struct {
	Path    string `json:"path"`              // slash-separated, from the repository's root
	Mode    string `json:"mode,omitempty"`    // one of the Mode constants
	Content []byte `json:"content,omitempty"` // file content, or a symlink's target; base64 in JSON
	Deleted bool   `json:"deleted,omitempty"`
	// RawPath holds the path's bytes when they are not UTF-8; Path is then a
	// printable likeness. GitHub's API cannot take such a path.
	RawPath []byte `json:"raw_path,omitempty"`
}

// Size is the number of content bytes in the changeset.
func (c *Set) Size() int64 {
	var n int64
	for i := range c.Changes {
		n += int64(len(c.Changes[i].Content))
	}
	return n
}

// Empty reports whether nothing changed.
func (c *Set) Empty() bool { return len(c.Changes) == 0 && !c.Truncated }

// Binary reports whether the content is not text: it holds a NUL among its
// first 8000 bytes (git's own rule) or is not UTF-8.
func (c *Change) Binary() bool {
	head := c.Content
	if len(head) > 8000 {
		head = head[:8000]
	}
	for _, b := range head {
		if b == 0 {
			return true
		}
	}
	return !utf8.Valid(c.Content)
}
