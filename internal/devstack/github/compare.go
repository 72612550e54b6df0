package github

import (
	"context"
	"errors"
	"strings"
)

// Limits of GitHub's comparisons.
const (
	maxCompared        = 300 // files
	maxComparedCommits = 250 // commits, where no page is asked for
)

// compare tells what head has that base does not, since they parted. The files
// stand on the first page of the commits.
func compare(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	from, to, ok := strings.Cut(c.r.PathValue("basehead"), "...")
	if !ok {
		return nil, errNotFound
	}
	base, err := c.commitOf(from)
	if err != nil {
		return nil, err
	}
	head, err := c.commitOf(to)
	if err != nil {
		return nil, err
	}
	parted, err := c.repo.git.mergeBase(c.ctx(), base.hash, head.hash)
	if err != nil {
		return nil, err
	}
	if parted == "" {
		return nil, refuse(404, "No common ancestor between %s and %s.", from, to)
	}
	ahead, err := c.repo.git.log(c.ctx(), base.hash, head.hash)
	if err != nil {
		return nil, err
	}
	behind, err := c.repo.git.count(c.ctx(), head.hash, base.hash)
	if err != nil {
		return nil, err
	}
	shape, err := c.comparison(base, parted, ahead)
	if err != nil {
		return nil, err
	}
	shape["ahead_by"], shape["behind_by"], shape["total_commits"] = len(ahead), behind, len(ahead)
	shape["status"] = map[[2]bool]string{
		{false, false}: "identical", {true, false}: "ahead", {false, true}: "behind", {true, true}: "diverged",
	}[[2]bool{len(ahead) > 0, behind > 0}]
	at := c.s.webURL(c.repo, "/compare/"+escapePath(from)+"..."+escapePath(to))
	shape["url"], shape["html_url"] = c.s.apiURL(c.repo, "/compare/"+escapePath(from)+"..."+escapePath(to)), at
	shape["permalink_url"] = c.s.webURL(c.repo, "/compare/"+base.hash+"..."+head.hash)
	shape["diff_url"], shape["patch_url"] = at+".diff", at+".patch"
	if page := c.r.URL.Query().Get("page"); page == "" || page == "1" {
		files, err := c.repo.git.patchedFiles(c.ctx(), parted, head.hash)
		if err != nil {
			return nil, err
		}
		shape["files"] = c.s.fileShapes(c.repo, files[:min(len(files), maxCompared)], head.hash)
	}
	return shape, nil
}

// comparison has the commits of a comparison, those of the page asked for.
func (c *call) comparison(base commit, parted string, ahead []string) (object, error) {
	start, err := c.repo.git.commit(parted)
	if err != nil {
		return nil, err
	}
	query := c.r.URL.Query()
	if query.Has("page") || query.Has("per_page") {
		ahead = page(c, ahead)
	} else {
		ahead = ahead[:min(len(ahead), maxComparedCommits)]
	}
	commits := []object{}
	for _, hash := range ahead {
		found, err := c.repo.git.commit(hash)
		if err != nil {
			return nil, err
		}
		commits = append(commits, c.s.repoCommitShape(c.repo, found))
	}
	return object{
		"base_commit": c.s.repoCommitShape(c.repo, base), "merge_base_commit": c.s.repoCommitShape(c.repo, start), "commits": commits,
	}, nil
}

// log lists the commits that are reachable from one and not the other, oldest
// first.
func (g gitDir) log(ctx context.Context, from, to string) ([]string, error) {
	out, err := g.git(ctx, maxDiff, "rev-list", "--reverse", from+".."+to, "--")
	if errors.Is(err, errTooLarge) {
		return nil, errLargeDiff
	}
	return strings.Fields(string(out)), err
}
