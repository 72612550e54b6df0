package engine

import (
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/hub"
)

// admit says whether a run on the issue may begin at all. What the token may
// do is another question.
func admit(repo *hub.Repository, issue *hub.Issue, req Request) error {
	refuse := func(hint, format string, args ...any) error {
		return fault.New(fault.NotAdmitted, format, args...).WithHint("%s", hint)
	}
	name := repo.FullName()
	switch {
	case issue.PullRequest:
		return refuse("give the number of an issue", "%s#%d is a pull request", name, issue.Number)
	case repo.Archived:
		return refuse("unarchive it on GitHub first", "%s is archived", name)
	case repo.Empty:
		return refuse("push a first commit", "%s has no commit yet", name)
	case issue.Closed && !req.Force:
		return refuse("reopen it on GitHub first, or give --force", "%s#%d is closed", name, issue.Number)
	case !repo.Pull:
		return refuse("ask for read access", "this GitHub user can't read %s", name)
	case req.Options.DryRun:
		return nil
	case !repo.Push && !repo.App:
		return refuse("ask for write access, or use --dry-run to get the patch only", "this GitHub user can't push to %s", name)
	case issue.Locked && !req.Force:
		return refuse("unlock it on GitHub, or give --force", "the conversation of %s#%d is locked", name, issue.Number)
	}
	return nil
}
