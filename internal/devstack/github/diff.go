package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxDiff bounds a diff; GitHub refuses to show larger ones.
const maxDiff = 20 << 20

var errLargeDiff = refuse(406, "Sorry, the diff exceeded the maximum number of lines (20000)")

var diffFlags = []string{"--no-color", "--no-ext-diff", "--no-textconv", "--find-renames"}

// diff is git's own diff between two commits or trees.
func (g gitDir) diff(ctx context.Context, from, to string) ([]byte, error) {
	data, err := g.git(ctx, maxDiff, slices.Concat([]string{"diff"}, diffFlags, []string{from, to, "--"})...)
	if errors.Is(err, errTooLarge) {
		return nil, errLargeDiff
	}
	return data, err
}

// changedFile is one file of a diff.
type changedFile struct {
	path, previous       string // previous: where a renamed file was, else ""
	status               string // as the API names it
	hash                 string
	additions, deletions int
	patch                string // hunks without headers; "" for binary files
}

// changedFiles lists what differs between two commits or trees, without the
// patches.
func (g gitDir) changedFiles(ctx context.Context, from, to string) ([]changedFile, error) {
	args := slices.Concat([]string{"diff"}, diffFlags, []string{"--no-abbrev", "-z", "--raw", "--numstat", from, to, "--"})
	data, err := g.git(ctx, maxDiff, args...)
	if err != nil {
		return nil, err
	}
	return parseChanges(string(data))
}

// patchedFiles is changedFiles with the patches, unless they are too large.
func (g gitDir) patchedFiles(ctx context.Context, from, to string) ([]changedFile, error) {
	files, err := g.changedFiles(ctx, from, to)
	if err != nil {
		return nil, err
	}
	diff, err := g.diff(ctx, from, to)
	if errors.Is(err, errLargeDiff) {
		return files, nil
	}
	// No line of a diff but a header begins with "diff --git".
	patches := strings.Split("\n"+string(diff), "\ndiff --git ")[1:]
	for i := range min(len(files), len(patches)) {
		if _, hunks, ok := strings.Cut(patches[i], "\n@@ "); ok {
			files[i].patch = "@@ " + strings.TrimSuffix(hunks, "\n")
		}
	}
	return files, err
}

// parseChanges reads `git diff -z --raw --numstat`: first a raw record per
// file, then the counts in the same order.
func parseChanges(data string) ([]changedFile, error) {
	malformed := fmt.Errorf("git diff printed something unexpected")
	names := map[byte]string{'A': "added", 'D': "removed", 'M': "modified", 'R': "renamed", 'C': "copied", 'T': "changed"}
	fields := strings.Split(strings.TrimSuffix(data, "\x00"), "\x00")
	var files []changedFile
	counted := 0
	for len(fields) > 0 && fields[0] != "" {
		record := fields[0]
		fields = fields[1:]
		if strings.HasPrefix(record, ":") {
			meta := strings.Fields(record) // :modes, mode, hash, hash, status
			if len(meta) != 5 || len(fields) < 1 {
				return nil, malformed
			}
			f := changedFile{status: names[meta[4][0]], hash: meta[3], path: fields[0]}
			fields = fields[1:]
			if f.status == "renamed" || f.status == "copied" {
				if len(fields) < 1 {
					return nil, malformed
				}
				f.previous, f.path, fields = f.path, fields[0], fields[1:]
			}
			if f.status == "removed" {
				f.hash = meta[2]
			}
			files = append(files, f)
			continue
		}
		counts := strings.SplitN(record, "\t", 3)
		if len(counts) != 3 || counted >= len(files) {
			return nil, malformed
		}
		f := &files[counted]
		counted++
		f.additions, _ = strconv.Atoi(counts[0]) // "-" for binary files
		f.deletions, _ = strconv.Atoi(counts[1])
		if counts[2] == "" { // a rename: both names follow
			if len(fields) < 2 {
				return nil, malformed
			}
			fields = fields[2:]
		}
	}
	return files, nil
}

func totals(files []changedFile) (additions, deletions int) {
	for _, f := range files {
		additions += f.additions
		deletions += f.deletions
	}
	return additions, deletions
}

func (s *Server) fileShapes(r *repo, files []changedFile, head string) []object {
	shapes := []object{}
	for _, f := range files {
		path := escapePath(f.path)
		shape := object{
			"sha": f.hash, "filename": f.path, "status": f.status,
			"additions": f.additions, "deletions": f.deletions, "changes": f.additions + f.deletions,
			"blob_url": s.webURL(r, "/blob/"+head+"/"+path), "raw_url": s.webURL(r, "/raw/"+head+"/"+path),
			"contents_url": s.apiURL(r, "/contents/"+path+"?ref="+head),
		}
		if f.patch != "" {
			shape["patch"] = f.patch
		}
		if f.previous != "" {
			shape["previous_filename"] = f.previous
		}
		shapes = append(shapes, shape)
	}
	return shapes
}
