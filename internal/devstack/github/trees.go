package github

import (
	"encoding/json"
	"errors"
	"strings"
)

// getTree takes a tree's hash, or whatever names a commit.
func getTree(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	name := c.r.PathValue("tree_sha")
	kind, _, err := c.repo.git.stat(name)
	if err != nil || kind != kindTree {
		found, err := c.commitOf(name)
		if err != nil {
			return nil, err
		}
		name = found.tree
	}
	// Any value counts as true, even 0, as GitHub's documentation says.
	shape, err := c.treeShape(name, c.r.URL.Query().Has("recursive"))
	return shape, err
}

func (c *call) treeShape(hash string, recursive bool) (any, error) {
	list, truncated := []object{}, false
	var walk func(hash, prefix string) error
	walk = func(hash, prefix string) error {
		entries, err := c.repo.git.tree(hash)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if len(list) >= c.s.opts.TreeLimit {
				truncated = true
				return nil
			}
			shape := object{"path": prefix + e.name, "mode": e.mode, "type": e.kind(), "sha": e.hash}
			switch e.kind() {
			case kindBlob:
				_, size, err := c.repo.git.stat(e.hash)
				if err != nil {
					return err
				}
				shape["size"], shape["url"] = size, c.s.apiURL(c.repo, "/git/blobs/"+e.hash)
			case kindTree:
				shape["url"] = c.s.apiURL(c.repo, "/git/trees/"+e.hash)
			}
			list = append(list, shape)
			if recursive && e.mode == modeTree {
				if err := walk(e.hash, prefix+e.name+"/"); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := walk(hash, "")
	return object{"sha": hash, "url": c.s.apiURL(c.repo, "/git/trees/"+hash), "truncated": truncated, "tree": list}, err
}

// nullable tells a field that is null from one that is absent.
type nullable struct {
	set   bool
	value *string
}

// UnmarshalJSON is called for null too.
func (n *nullable) UnmarshalJSON(data []byte) error {
	n.set = true
	return json.Unmarshal(data, &n.value)
}

type newEntry struct {
	Path, Mode, Type string
	SHA              nullable
	Content          *string
}

func createTree(c *call) (any, error) {
	var in struct {
		BaseTree string `json:"base_tree"`
		Tree     []newEntry
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	if len(in.Tree) == 0 {
		return nil, refuse(422, "Invalid tree info")
	}
	base := ""
	if in.BaseTree != "" {
		if kind, _, err := c.repo.git.stat(in.BaseTree); err == nil && kind == kindTree {
			base = in.BaseTree
		} else if found, err := c.commitOf(in.BaseTree); err == nil {
			base = found.tree // not documented, but taken
		} else {
			return nil, refuse(422, "base_tree is not a valid tree oid")
		}
	}
	edits := make([]edit, len(in.Tree))
	for i, entry := range in.Tree {
		var err error
		if edits[i], err = c.edit(entry); err != nil {
			return nil, err
		}
	}
	hash, err := c.repo.git.editTree(base, edits)
	if errors.Is(err, errTreeState) {
		return nil, refuse(422, "GitRPC::BadObjectState")
	} else if err != nil {
		return nil, err
	}
	if hash == emptyTree {
		return nil, refuse(422, "Invalid tree info")
	}
	return c.treeShape(hash, false)
}

// edit checks one entry of a new tree.
func (c *call) edit(e newEntry) (edit, error) {
	for part := range strings.SplitSeq(e.Path, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.ContainsRune(part, 0) {
			return edit{}, refuse(422, "tree.path contains a malformed path component")
		}
	}
	if strings.HasPrefix(strings.ToLower(e.Path), ".github/workflows/") && !c.token.workflows() {
		if c.token.Kind == Classic {
			c.w.Header().Set("X-Accepted-OAuth-Scopes", "repo, workflow")
			return edit{}, errNotFound
		}
		c.w.Header().Set("X-Accepted-GitHub-Permissions", "contents=write,workflows=write")
		if c.token.Kind == App {
			return edit{}, refuse(403, "Resource not accessible by integration")
		}
		return edit{}, refuse(403, "Resource not accessible by personal access token")
	}
	if e.SHA.set && e.SHA.value == nil && e.Content == nil {
		return edit{path: e.Path}, nil
	}
	modes := map[string]string{modeFile: kindBlob, modeExecutable: kindBlob, modeSymlink: kindBlob, modeTree: kindTree, modeSubmodule: kindCommit}
	kind := modes[e.Mode]
	switch {
	case kind == "":
		return edit{}, refuse(422, "Must supply a valid tree.mode")
	case e.Type != "" && e.Type != kind:
		return edit{}, refuse(422, "tree.type does not match tree.mode")
	case (e.SHA.value == nil) == (e.Content == nil):
		return edit{}, refuse(422, "Must supply either tree.sha or tree.content. Request will be rejected if both are present.")
	case e.Content != nil:
		if kind != kindBlob {
			return edit{}, refuse(422, "tree.content is for blobs only")
		}
		hash, err := c.repo.git.write(kindBlob, []byte(*e.Content))
		return edit{e.Path, e.Mode, hash}, err
	case kind == kindCommit && isHash(*e.SHA.value): // lies in another repository
	default:
		if is, _, err := c.repo.git.stat(*e.SHA.value); errors.Is(err, errNoObject) || err == nil && is != kind {
			return edit{}, refuse(422, "tree.sha %s is not a valid %s", *e.SHA.value, kind)
		} else if err != nil {
			return edit{}, err
		}
	}
	return edit{e.Path, e.Mode, *e.SHA.value}, nil
}
