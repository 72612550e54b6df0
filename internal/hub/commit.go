package hub

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v62/github"
	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// trailer is the line of a commit's message by which a run knows its commit.
const trailer = "Dayclaude-Run: "

// treeChunk is how many paths go into one call, far below what makes GitHub's
// "Create a tree" time out.
const treeChunk = 1000

// CommitInput is one commit to make.
type CommitInput struct {
	Base    string   // what the changes are made to: 40 hex digits
	Parents []string // of the commit; none: Base
	Message string   // the trailer is added
	Changes []changeset.Change
	RunID   string
}

// Commit makes a commit of the changes on top of Base, by the token's user,
// and returns its name. No branch points to it yet: made twice, the first one
// is left for GitHub to forget. Changes that leave the tree as it was are a
// fault.Unchanged.
func (c *Client) Commit(ctx context.Context, repo run.Repository, in CommitInput) (string, error) {
	base, err := c.commit(ctx, repo, in.Base)
	if err != nil {
		return "", err
	}
	entries, err := c.blobs(ctx, repo, in.Changes)
	if err != nil {
		return "", err
	}
	was := base.GetTree().GetSHA()
	tree := was
	for _, part := range chunks(entries) {
		if tree, err = c.createTree(ctx, repo, tree, part); err != nil {
			return "", err
		}
	}
	if tree == was {
		return "", fault.New(fault.Unchanged, "the changes leave %s as it is at %.12s", repo.FullName(), in.Base)
	}
	// Not create: a second commit hurts nobody as long as no branch has it.
	o := set(repo, "making a commit in "+repo.FullName(), contentsWrite)
	message := withTrailer(in.Message, in.RunID)
	parents := []*github.Commit{{SHA: &in.Base}}
	if in.Parents != nil {
		parents = nil
		for _, p := range in.Parents {
			parents = append(parents, &github.Commit{SHA: &p})
		}
	}
	made, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Commit, *github.Response, error) {
		return gh.Git.CreateCommit(ctx, repo.Owner, repo.Name, &github.Commit{
			Message: &message,
			Tree:    &github.Tree{SHA: &tree},
			Parents: parents,
		}, nil)
	})
	if err != nil {
		return "", err
	}
	if !shaPattern.MatchString(made.GetSHA()) {
		return "", incomplete(o.does)
	}
	return made.GetSHA(), nil
}

// blobs uploads the contents, equal ones once, and returns the tree's entries:
// what goes first, what comes after.
func (c *Client) blobs(ctx context.Context, repo run.Repository, changes []changeset.Change) ([]*github.TreeEntry, error) {
	entries := make([]*github.TreeEntry, 0, len(changes))
	contents := make(map[string][]byte)
	for _, ch := range changes {
		e := &github.TreeEntry{Path: &ch.Path, Mode: &ch.Mode, Type: github.String("blob")}
		switch {
		case ch.RawPath != nil:
			return nil, fault.New(fault.Refused, "%q: its name is not UTF-8, which GitHub's API cannot take", ch.Path)
		case ch.Deleted:
			e.Mode = github.String(changeset.ModeFile) // no SHA: deletes whatever is there
		case ch.Mode == changeset.ModeFile, ch.Mode == changeset.ModeExecutable, ch.Mode == changeset.ModeSymlink:
			sha := blobSHA(ch.Content)
			contents[sha] = ch.Content
			e.SHA = &sha
		default:
			return nil, fault.New(fault.Refused, "%q: mode %q cannot be committed", ch.Path, ch.Mode)
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b *github.TreeEntry) int {
		return cmp.Compare(min(len(a.GetSHA()), 1), min(len(b.GetSHA()), 1))
	})
	o := set(repo, "uploading a file to "+repo.FullName(), contentsWrite)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for sha, content := range contents {
		g.Go(func() error { return c.createBlob(ctx, repo, o, sha, content) })
	}
	return entries, g.Wait()
}

func (c *Client) createBlob(ctx context.Context, repo run.Repository, o op, sha string, content []byte) error {
	blob, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Blob, *github.Response, error) {
		return gh.Git.CreateBlob(ctx, repo.Owner, repo.Name, &github.Blob{
			Content:  github.String(base64.StdEncoding.EncodeToString(content)),
			Encoding: github.String("base64"),
		})
	})
	if err == nil && blob.GetSHA() != sha {
		return fault.New(fault.Unavailable, "%s: GitHub stored other content than was sent", o.does)
	}
	return err
}

func (c *Client) createTree(ctx context.Context, repo run.Repository, base string, entries []*github.TreeEntry) (string, error) {
	o := set(repo, "making a tree in "+repo.FullName(), contentsWrite)
	if slices.ContainsFunc(entries, func(e *github.TreeEntry) bool {
		return strings.HasPrefix(strings.ToLower(e.GetPath()), ".github/workflows/")
	}) {
		o.needs = workflowsWrite
	}
	tree, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Tree, *github.Response, error) {
		return gh.Git.CreateTree(ctx, repo.Owner, repo.Name, base, entries)
	})
	if err == nil && !shaPattern.MatchString(tree.GetSHA()) {
		return "", incomplete(o.does)
	}
	return tree.GetSHA(), err
}

// chunks splits the entries, deletions first, into calls. Where a file takes a
// directory's place or the other way round, the deletions go alone: a tree
// cannot hold both. Else they stay together, since GitHub takes no empty tree
// and a repository's only file may be renamed.
func chunks(entries []*github.TreeEntry) [][]*github.TreeEntry {
	firstAdded := slices.IndexFunc(entries, func(e *github.TreeEntry) bool { return e.SHA != nil })
	if firstAdded <= 0 || !displace(entries[:firstAdded], entries[firstAdded:]) {
		return slices.Collect(slices.Chunk(entries, treeChunk))
	}
	return slices.AppendSeq(
		slices.Collect(slices.Chunk(entries[:firstAdded], treeChunk)),
		slices.Chunk(entries[firstAdded:], treeChunk))
}

// displace reports whether a path of one list is a directory of the other's.
func displace(a, b []*github.TreeEntry) bool {
	under := func(files, others []*github.TreeEntry) bool {
		is := make(map[string]bool, len(files))
		for _, e := range files {
			is[e.GetPath()] = true
		}
		return slices.ContainsFunc(others, func(e *github.TreeEntry) bool {
			for dir := parent(e.GetPath()); dir != ""; dir = parent(dir) {
				if is[dir] {
					return true
				}
			}
			return false
		})
	}
	return under(a, b) || under(b, a)
}

// commit reads a commit.
func (c *Client) commit(ctx context.Context, repo run.Repository, sha string) (*github.Commit, error) {
	o := read(repo, fmt.Sprintf("reading commit %.12s of %s", sha, repo.FullName()), contentsRead)
	if !shaPattern.MatchString(sha) {
		return nil, fault.New(fault.Failed, "%s: not a commit's name", o.does)
	}
	commit, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (*github.Commit, *github.Response, error) {
		return gh.Git.GetCommit(ctx, repo.Owner, repo.Name, sha)
	})
	if err == nil && !shaPattern.MatchString(commit.GetTree().GetSHA()) {
		return nil, incomplete(o.does)
	}
	return commit, err
}

// withTrailer ends the message with the run's trailer. Lines that look like
// one are taken out first: the message may hold words from the sandbox.
func withTrailer(message, runID string) string {
	lines := strings.Split(strings.ReplaceAll(message, "\r", ""), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		name := strings.TrimSpace(trailer)
		return len(l) >= len(name) && strings.EqualFold(l[:len(name)], name)
	})
	return strings.TrimSpace(strings.Join(lines, "\n")) + "\n\n" + trailer + runID
}

// madeBy reports whether the message ends with the run's trailer.
func madeBy(message, runID string) bool {
	message = strings.TrimSpace(message)
	return message[strings.LastIndexByte(message, '\n')+1:] == trailer+runID
}
