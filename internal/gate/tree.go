package gate

import (
	"maps"
	"slices"
	"strings"
)

const modeDirectory = "040000"

// entry is a name in the tree that the changeset makes, as it is written.
type entry struct {
	path string
	dir  bool
}

// collisions looks for names that cannot stand together in the resulting
// tree: the same path twice, a file where a directory is, or spellings that
// differ only in what some file systems ignore. What already stands together
// at the base is not the changeset's fault.
func (c *check) collisions() {
	tree := make(map[string]entry)
	touched := make(map[string]bool, len(c.set.Changes))
	for i := range c.set.Changes {
		touched[c.set.Changes[i].Path] = true
	}
	for _, path := range c.remaining(touched) {
		for p := path; p != ""; p = parent(p) {
			tree[fold(p)] = entry{path: p, dir: p != path || c.base.Modes[path] == modeDirectory}
		}
	}
	twice := make(map[string]bool, len(touched))
	for i := range c.set.Changes {
		ch := &c.set.Changes[i]
		if twice[ch.Path] {
			c.found(ch.Path, RuleCollision, "is changed twice")
			continue
		}
		twice[ch.Path] = true
		if ch.Deleted || badPath(ch.Path) != "" {
			continue
		}
		for p := ch.Path; p != ""; p = parent(p) {
			next := entry{path: p, dir: p != ch.Path}
			other, ok := tree[fold(p)]
			switch {
			case !ok:
				tree[fold(p)] = next
				continue
			case other.path == p && other.dir == next.dir, other.path != p && c.stood(p):
				continue
			case other.dir != next.dir:
				c.found(ch.Path, RuleCollision, "cannot stand beside %s: one is a file where the other needs a directory", printable(other.path))
			default:
				c.found(ch.Path, RuleCollision, "cannot stand beside %s: some file systems take their names for the same", printable(other.path))
			}
			break // what lies above collides too, and once is enough
		}
	}
}

// stood reports whether a name was there before, as a directory or a file.
func (c *check) stood(path string) bool {
	if _, ok := c.base.Modes[path]; ok {
		return true
	}
	for p := range c.base.Modes {
		if strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return false
}

// remaining returns what of the base stays when the touched paths are taken
// out. A directory whose entries are known goes with the last of them.
func (c *check) remaining(touched map[string]bool) (stays []string) {
	known := make(map[string]bool)  // directories with an entry in the base
	filled := make(map[string]bool) // directories with an entry that stays
	for path := range c.base.Modes {
		known[parent(path)] = true
	}
	// In reverse order a directory comes after all that is below it.
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(c.base.Modes))) {
		gone := touched[path]
		if c.base.Modes[path] == modeDirectory {
			gone = known[path] && !filled[path]
		}
		if !gone {
			stays = append(stays, path)
			filled[parent(path)] = true
		}
	}
	return stays
}
