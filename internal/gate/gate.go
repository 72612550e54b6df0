// Package gate holds a changeset against the policy before anything of it
// reaches GitHub. The changeset comes from the sandbox, so it is taken as
// hostile: a name, mode, link or content that could harm whoever checks the
// branch out, widen what the repository's automation does, or publish a
// secret, is a finding. A changeset without findings may be committed.
package gate

import (
	"context"
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Policy is what a changeset may do.
type Policy struct {
	AllowWorkflows bool     // .github/workflows and .github/actions may change
	AllowSettings  bool     // .github/dayclaude.yml, which holds this very policy, may change
	Allow          []string // globs (** spans directories); if there are any, each path must match one
	Deny           []string // globs that no path may match
	MaxFiles       int      // changed paths, deletions too
	MaxBytes       int64    // content altogether
	MaxFileBytes   int64    // content of one file
}

// DefaultPolicy holds for a repository that says nothing of its own. Its
// MaxBytes bounds the time that Check takes: text made to be slow is scanned
// for secrets at 0.2 MB a second.
func DefaultPolicy() Policy {
	return Policy{MaxFiles: 1000, MaxBytes: 8 << 20, MaxFileBytes: 5 << 20}
}

// Base is what stands at the base commit around the changes.
type Base struct {
	// Modes has every entry, by path, of the directories that the changes
	// touch: files, links, submodules, and directories (040000).
	Modes map[string]string
	// Content returns what a path of Modes holds. It is asked for only when a
	// secret was found, to tell a new one from one that stood there before. If
	// it is nil, each counts as new.
	Content func(ctx context.Context, path string) ([]byte, error)
}

// Finding is a reason not to publish a changeset. It never holds a secret.
type Finding struct {
	Path   string // printable, at most 200 bytes and "…"; "" for the changeset as a whole
	Rule   string // one of the Rule constants
	Reason string // to follow the path, without a full stop
}

// String is the finding as one line.
func (f Finding) String() string {
	if f.Path == "" {
		return f.Reason
	}
	return f.Path + " " + f.Reason
}

// The rules a finding may name.
const (
	RuleBounds    = "bounds"    // too many, too large, truncated
	RulePath      = "path"      // not a path that git and GitHub can hold
	RuleDotGit    = "dotgit"    // git's own directory, by any spelling a file system takes for it
	RulePortable  = "portable"  // a new name that Windows cannot check out, or that reads as another
	RuleCollision = "collision" // two names that some file systems take for one, or a file where a directory is
	RuleMode      = "mode"      // neither a file nor a link, or both deleted and written
	RuleSymlink   = "symlink"   // a link out of the repository, or through another
	RuleSubmodule = "submodule" // a submodule, or .gitmodules
	RuleWorkflow  = "workflow"  // what GitHub Actions runs
	RuleSettings  = "settings"  // dayclaude's own settings
	RulePolicy    = "paths"     // the repository's allow and deny globs
	RuleSecret    = "secret"    // something that looks like a credential
)

const maxFindings = 50 // more tell nobody anything

// Check returns what speaks against publishing the changeset, at most
// 50 findings; none means it may be committed. An error (a glob that is not
// one, a cancelled context, a base content that could not be read) means that
// nothing was decided.
func Check(ctx context.Context, p Policy, base Base, set *changeset.Set) ([]Finding, error) {
	for _, glob := range append(p.Allow[:len(p.Allow):len(p.Allow)], p.Deny...) {
		if !doublestar.ValidatePattern(glob) {
			return nil, fault.New(fault.Usage, "%q is not a glob", glob).WithHint("mend paths in .github/dayclaude.yml")
		}
	}
	c := &check{policy: p, base: base, set: set, links: links(set), known: map[string][]leak{}}
	if c.bounds(); len(c.findings) > 0 {
		return c.findings, nil // too much to look at
	}
	for i := range set.Changes {
		c.change(&set.Changes[i])
	}
	c.collisions()
	if err := c.secrets(ctx); err != nil {
		return nil, err
	}
	return c.findings[:min(len(c.findings), maxFindings)], nil
}

// check is one call of Check.
type check struct {
	policy   Policy
	base     Base
	set      *changeset.Set
	links    map[string]bool   // paths that the changeset makes symbolic links
	known    map[string][]leak // what was found at the base, by path
	findings []Finding
}

func (c *check) found(path, rule, format string, args ...any) {
	if len(c.findings) >= maxFindings {
		return
	}
	c.findings = append(c.findings, Finding{printable(path), rule, fmt.Sprintf(format, args...)})
}

func printable(path string) string { return untrusted.Quote(path, 200) }

// bounds holds the changeset against the limits.
func (c *check) bounds() {
	p := c.policy
	if c.set.Truncated {
		c.found("", RuleBounds, "the changes went past the sandbox's own bounds, so some are missing")
	}
	if n := len(c.set.Changes); n > p.MaxFiles {
		c.found("", RuleBounds, "%d files are changed, at most %d may be", n, p.MaxFiles)
	}
	if n := c.set.Size(); n > p.MaxBytes {
		c.found("", RuleBounds, "the changed files hold %d bytes, at most %d may be published at once", n, p.MaxBytes)
	}
	for i := range c.set.Changes {
		if ch := &c.set.Changes[i]; int64(len(ch.Content)) > p.MaxFileBytes {
			c.found(ch.Path, RuleBounds, "holds %d bytes, a file may hold at most %d", len(ch.Content), p.MaxFileBytes)
		}
	}
}

// change looks at one change by itself.
func (c *check) change(ch *changeset.Change) {
	if ch.RawPath != nil {
		c.found(ch.Path, RulePath, "has a name that is not UTF-8, which GitHub's API cannot take")
		return
	}
	if why := badPath(ch.Path); why != "" {
		c.found(ch.Path, RulePath, "%s", why)
		return
	}
	standing, stands := c.base.Modes[ch.Path]
	for p := ch.Path; p != ""; p = parent(p) {
		segment := name(p)
		if isDotGit(segment, ".git", "git~1") {
			c.found(ch.Path, RuleDotGit, "would be written into git's own directory on some file system")
		} else if why := unportable(segment); why != "" && !ch.Deleted && !c.stood(p) {
			c.found(ch.Path, RulePortable, "%s", why)
		}
	}
	c.mode(ch, standing, stands)
	c.places(ch)
	c.globs(ch.Path)
}

// mode checks what kind of entry the change makes or removes.
func (c *check) mode(ch *changeset.Change, standing string, stands bool) {
	if standing == changeset.ModeSubmodule || ch.Mode == changeset.ModeSubmodule {
		c.found(ch.Path, RuleSubmodule, "is a submodule, which dayclaude does not change")
		return
	}
	switch {
	case ch.Deleted && (ch.Mode != "" || len(ch.Content) > 0):
		c.found(ch.Path, RuleMode, "is both deleted and written")
	case ch.Deleted && !stands:
		c.found(ch.Path, RuleMode, "is deleted but does not stand at the base commit")
	case ch.Deleted, ch.Mode == changeset.ModeFile, ch.Mode == changeset.ModeExecutable:
	case ch.Mode == changeset.ModeSymlink:
		if why := c.badLink(ch); why != "" {
			c.found(ch.Path, RuleSymlink, "%s", why)
		}
	default:
		c.found(ch.Path, RuleMode, "has the mode %s, which is neither a file's nor a link's", untrusted.Quote(ch.Mode, 20))
	}
}

// places guards what the repository's automation, and dayclaude, obey. Names
// are compared as file systems that ignore case would.
func (c *check) places(ch *changeset.Change) {
	path := fold(ch.Path)
	under := func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	switch {
	case isDotGit(ch.Path, ".gitmodules", "gitmod~1"):
		c.found(ch.Path, RuleSubmodule, "says where submodules come from, which dayclaude does not change")
	case !c.policy.AllowWorkflows && (under(".github/workflows") || under(".github/actions")):
		c.found(ch.Path, RuleWorkflow, "is run by GitHub Actions, and the settings do not let dayclaude change that")
	case !c.policy.AllowSettings && (path == ".github/dayclaude.yml" || path == ".github/dayclaude.yaml"):
		c.found(ch.Path, RuleSettings, "holds dayclaude's own settings, which a run may not change")
	case path == ".github" && !ch.Deleted:
		c.found(ch.Path, RuleWorkflow, "would take the place of the directory that GitHub reads its settings from")
	}
}

// globs holds a path against the repository's own rules. A glob that matches
// a directory covers everything below it.
func (c *check) globs(path string) {
	if glob := match(c.policy.Deny, path); glob != "" {
		c.found(path, RulePolicy, "matches %s, which the settings deny", untrusted.Quote(glob, 100))
	} else if len(c.policy.Allow) > 0 && match(c.policy.Allow, path) == "" {
		c.found(path, RulePolicy, "matches nothing that the settings allow")
	}
}

// match returns the first glob that matches path or one of its parents.
func match(globs []string, path string) string {
	for _, glob := range globs {
		pattern := strings.TrimSuffix(glob, "/")
		for p := path; p != ""; p = parent(p) {
			if doublestar.MatchUnvalidated(pattern, p) {
				return glob
			}
		}
	}
	return ""
}

// parent is the directory that holds path, "" for the root.
func parent(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// name is the last segment of path.
func name(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
