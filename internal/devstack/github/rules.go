package github

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Ruleset is a set of rules that branches are held against.
type Ruleset struct {
	// Branches are patterns, as of path.Match, of the names it is for; "~ALL"
	// is every one.
	Branches []string
	// What nobody may do but those in Bypass.
	Creations, Updates, UnsignedCommits bool
	Bypass                              []string // logins
}

// ruled refuses to move a branch, or to make it if old is "", where a rule
// forbids that.
func (c *call) ruled(to ref, old string) error {
	branch, ok := strings.CutPrefix(to.name, "refs/heads/")
	if !ok {
		return nil
	}
	var broken []string
	for _, set := range c.repo.Rulesets {
		if !set.holds(branch, c.token.login()) {
			continue
		}
		if set.Creations && old == "" {
			broken = append(broken, "Cannot create ref due to creations being restricted.")
		}
		if set.Updates && old != "" {
			broken = append(broken, "Cannot update this protected ref.")
		}
		if set.UnsignedCommits {
			unsigned, err := c.unsigned(to.hash)
			if err != nil {
				return err
			}
			if unsigned {
				broken = append(broken, "Commits must have verified signatures.")
			}
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return refuse(422, "Repository rule violations found\n\n%s\n\n", strings.Join(broken, "\n\n"))
}

// holds reports whether the rules are for a user who moves a branch.
func (r Ruleset) holds(branch, login string) bool {
	if slices.ContainsFunc(r.Bypass, func(who string) bool { return strings.EqualFold(who, login) }) {
		return false
	}
	return slices.ContainsFunc(r.Branches, func(pattern string) bool {
		match, err := path.Match(pattern, branch)
		return pattern == "~ALL" || err == nil && match
	})
}

// unsigned reports whether a commit, or one that comes with it, is unsigned.
func (c *call) unsigned(hash string) (bool, error) {
	out, err := c.repo.git.git(c.ctx(), maxDiff, "rev-list", hash, "--not", "--all")
	if err != nil {
		return false, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return slices.ContainsFunc(strings.Fields(string(out)), func(hash string) bool { return !c.repo.signed[hash] }), nil
}

// admits reports whether the owner lets tokens be used from an address.
func (r *repo) admits(remote string) bool {
	if r.AllowList == nil {
		return true
	}
	from, err := netip.ParseAddrPort(remote)
	return err == nil && slices.ContainsFunc(r.AllowList, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}
