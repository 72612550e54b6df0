package github

import (
	"errors"
	"net/url"
	"path"
	"strings"
)

// contentRoutes are those of files, branches and commits.
func contentRoutes() []route {
	read := need{permissions: []string{"contents"}}
	return []route{
		{"GET /repos/{owner}/{repo}/branches", read, listBranches},
		{"GET /repos/{owner}/{repo}/branches/{branch...}", read, getBranch},
		{"GET /repos/{owner}/{repo}/commits/{ref...}", read, getRepoCommit},
		{"GET /repos/{owner}/{repo}/compare/{basehead...}", read, compare},
		{"GET /repos/{owner}/{repo}/contents", read, getContents},
		{"GET /repos/{owner}/{repo}/contents/{path...}", read, getContents},
	}
}

func listBranches(c *call) (any, error) {
	refs, err := c.repo.git.refs("refs/heads/")
	shapes := []object{}
	for _, ref := range page(c, refs) {
		shapes = append(shapes, object{
			"name":      strings.TrimPrefix(ref.name, "refs/heads/"),
			"commit":    object{"sha": ref.hash, "url": c.s.apiURL(c.repo, "/commits/"+ref.hash)},
			"protected": false,
		})
	}
	return shapes, err
}

func getBranch(c *call) (any, error) {
	name := c.r.PathValue("branch")
	hash, err := c.repo.git.ref("refs/heads/" + name)
	if err != nil {
		return nil, err
	}
	if hash == "" {
		return nil, refuse(404, "Branch not found")
	}
	head, err := c.repo.git.commit(hash)
	if err != nil {
		return nil, err
	}
	api := c.s.apiURL(c.repo, "/branches/"+escapePath(name))
	return object{
		"name": name, "commit": c.s.repoCommitShape(c.repo, head), "protected": false,
		"protection": object{"enabled": false}, "protection_url": api + "/protection",
		"_links": object{"self": api, "html": c.s.webURL(c.repo, "/tree/"+escapePath(name))},
	}, nil
}

func getRepoCommit(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	name := c.r.PathValue("ref")
	found, err := c.commitOf(name)
	if errors.Is(err, errNotFound) {
		return nil, refuse(422, "No commit found for SHA: %s", name)
	} else if err != nil {
		return nil, err
	}
	if c.accepts("sha") {
		return raw{"application/vnd.github.sha; charset=utf-8", []byte(found.hash)}, nil
	}
	base := emptyTree
	if len(found.parents) > 0 {
		base = found.parents[0]
	}
	if c.accepts("diff") {
		data, err := c.repo.git.diff(c.ctx(), base, found.hash)
		return raw{"application/vnd.github.diff; charset=utf-8", data}, err
	}
	files, err := c.repo.git.patchedFiles(c.ctx(), base, found.hash)
	if err != nil {
		return nil, err
	}
	shape := c.s.repoCommitShape(c.repo, found)
	shape["files"] = c.s.fileShapes(c.repo, files, found.hash)
	additions, deletions := totals(files)
	shape["stats"] = object{"additions": additions, "deletions": deletions, "total": additions + deletions}
	return shape, nil
}

// maxInline is the size from which GET contents leaves the content out.
const maxInline = 1 << 20

func getContents(c *call) (any, error) {
	name, rev := strings.Trim(c.r.PathValue("path"), "/"), c.r.URL.Query().Get("ref")
	empty, err := c.repo.empty()
	if err != nil {
		return nil, err
	}
	if empty {
		return nil, refuse(404, "This repository is empty.")
	}
	if rev == "" {
		rev = c.repo.DefaultBranch
	}
	at, err := c.commitOf(rev)
	if errors.Is(err, errNotFound) {
		return nil, refuse(404, "No commit found for the ref %s", rev)
	} else if err != nil {
		return nil, err
	}
	entry, err := c.repo.git.lookup(at.tree, name)
	if err != nil {
		return nil, orNotFound(err)
	}
	if entry.mode == modeTree {
		return c.directory(entry.hash, name, rev)
	}
	return c.file(at, entry, name, rev)
}

// entryShape has what files and the entries of directories share.
func (c *call) entryShape(e treeEntry, name, rev string) object {
	query := "?ref=" + url.QueryEscape(rev)
	self := c.s.apiURL(c.repo, "/contents/"+escapePath(name)) + query
	blob := c.s.apiURL(c.repo, "/git/blobs/"+e.hash)
	html := c.s.webURL(c.repo, "/blob/"+escapePath(rev)+"/"+escapePath(name))
	shape := object{
		"name": path.Base(name), "path": name, "sha": e.hash, "size": 0, "type": "file",
		"url": self, "git_url": blob, "html_url": html,
		"download_url": c.s.webURL(c.repo, "/raw/"+escapePath(rev)+"/"+escapePath(name)),
	}
	switch e.mode {
	case modeTree:
		shape["type"], shape["download_url"] = "dir", nil
		shape["git_url"] = c.s.apiURL(c.repo, "/git/trees/"+e.hash)
		shape["html_url"] = c.s.webURL(c.repo, "/tree/"+escapePath(rev)+"/"+escapePath(name))
	case modeSubmodule:
		shape["type"], shape["download_url"], shape["git_url"], shape["html_url"] = "submodule", nil, nil, nil
	case modeSymlink:
		shape["type"] = "symlink"
	}
	shape["_links"] = object{"self": self, "git": shape["git_url"], "html": shape["html_url"]}
	return shape
}

// directory lists at most 1000 entries, as GitHub does.
func (c *call) directory(tree, name, rev string) (any, error) {
	entries, err := c.repo.git.tree(tree)
	if err != nil {
		return nil, err
	}
	shapes := []object{}
	for _, e := range entries[:min(len(entries), 1000)] {
		shape := c.entryShape(e, path.Join(name, e.name), rev)
		if e.kind() == kindBlob {
			if _, shape["size"], err = c.repo.git.stat(e.hash); err != nil {
				return nil, err
			}
		}
		if e.mode == modeSubmodule {
			shape["type"] = "file" // GitHub's lists call submodules files
		}
		shapes = append(shapes, shape)
	}
	return shapes, nil
}

func (c *call) file(at commit, entry treeEntry, name, rev string) (any, error) {
	shape := c.entryShape(entry, name, rev)
	if entry.mode == modeSubmodule {
		shape["submodule_git_url"] = ""
		return shape, nil
	}
	data, err := c.repo.git.read(entry.hash, kindBlob)
	if err != nil {
		return nil, err
	}
	if entry.mode == modeSymlink {
		target := path.Join(path.Dir(name), string(data))
		to, err := c.repo.git.lookup(at.tree, target)
		if path.IsAbs(string(data)) || err != nil || to.mode != modeFile && to.mode != modeExecutable {
			shape["target"], shape["size"] = string(data), len(data)
			return shape, nil
		}
		if data, err = c.repo.git.read(to.hash, kindBlob); err != nil { // a link to a file reads as the file
			return nil, err
		}
		shape["type"] = "file"
	}
	if c.accepts("raw") {
		return raw{"application/vnd.github.raw; charset=utf-8", data}, nil
	}
	shape["size"], shape["encoding"], shape["content"] = len(data), "base64", wrapBase64(data)
	if len(data) > maxInline {
		shape["encoding"], shape["content"] = "none", ""
	}
	return shape, nil
}
