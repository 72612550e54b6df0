package engine

import (
	"context"
	"slices"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/gate"
	"github.com/dayclaude/dayclaude/internal/hub"
)

// Bounds of what is asked of GitHub about a changeset: a sandbox that touches
// everything must not make the host fetch everything.
const (
	maxBaseBytes = 64 << 20 // of old contents
	maxPathBytes = 1024     // the gate refuses a longer path, whatever stands there
)

// base is what stands at a changeset's base commit around its changes.
type base struct {
	d       *drive
	entries map[string]hub.Entry
	content map[string][]byte // by blob
	left    int64             // of maxBaseBytes
}

// lookAtBase reads it. A changeset that is past the policy's bounds, and paths
// that no policy lets through, are not looked up: what that takes grows with
// them.
func (d *drive) lookAtBase(ctx context.Context, set *changeset.Set) (*base, error) {
	b := &base{d: d, content: make(map[string][]byte), left: maxBaseBytes}
	if tooMany(set) {
		return b, nil
	}
	paths := make([]string, 0, len(set.Changes))
	for _, c := range set.Changes {
		if len(c.Path) <= maxPathBytes {
			paths = append(paths, c.Path)
		}
	}
	var err error
	b.entries, err = d.Hub.Entries(ctx, d.run.Frozen.Repository, set.Base, paths)
	return b, err
}

// tooMany reports whether the gate refuses the changeset for its length alone.
func tooMany(set *changeset.Set) bool { return len(set.Changes) > gate.DefaultPolicy().MaxFiles }

// modes are those of everything there is.
func (b *base) modes() map[string]string {
	modes := make(map[string]string, len(b.entries))
	for path, e := range b.entries {
		modes[path] = e.Mode
	}
	return modes
}

// read returns a file's content, fetched once.
func (b *base) read(ctx context.Context, path string) ([]byte, error) {
	e := b.entries[path]
	if content, ok := b.content[e.SHA]; ok {
		return content, nil
	}
	if e.Size > b.left {
		return nil, fault.New(fault.Failed, "the files that were changed are too large to be compared: more than %d MiB", maxBaseBytes>>20)
	}
	content, err := b.d.Hub.Blob(ctx, b.d.run.Frozen.Repository, e.SHA, b.left)
	if err != nil {
		return nil, err
	}
	b.left -= int64(len(content))
	b.content[e.SHA] = slices.Clip(content)
	return content, nil
}
