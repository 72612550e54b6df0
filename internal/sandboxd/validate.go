package sandboxd

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

var (
	taskID     = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	commitID   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	directory  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)
	branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}$`)
	filterSpec = regexp.MustCompile(`^(blob:none|blob:limit=[0-9]{1,12}[kmg]?)?$`)
	sessionID  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,199}$`)
	// reserved variables steer what Claude and git may reach.
	reserved = regexp.MustCompile(`^(ANTHROPIC_.*|CLAUDE_.*|GIT_CONFIG.*|SANDBOXD_.*|HOME|LD_PRELOAD)$`)
)

// checkTask says what a task lacks or has wrong, all of it.
func checkTask(t *api.Task) error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	require(taskID.MatchString(t.ID), "id: %q is not of [a-z0-9_-]{1,64}", t.ID)
	require(!t.Deadline.IsZero(), "deadline: missing")
	require(!t.Sent.IsZero(), "sent: missing")
	checkRepository(&t.Repository, require)
	if m := t.Merge; m != nil {
		require(taskID.MatchString(m.Task) && m.Task != t.ID, "merge.task: %q is not another task's id", m.Task)
		require(commitID.MatchString(m.Ancestor), "merge.ancestor: %q is not 40 hex digits", m.Ancestor)
		require(m.Branch != "" && !strings.ContainsFunc(m.Branch, unicode.IsControl), "merge.branch: %q cannot be a branch's name", m.Branch)
	}

	require(t.Merge != nil || strings.TrimSpace(t.Claude.Prompt) != "", "claude.prompt: missing: the task has no issue to work on")
	require(t.Claude.Model != "" && !strings.HasPrefix(t.Claude.Model, "-"), "claude.model: missing")
	require(sessionID.MatchString(t.Claude.SessionID), "claude.session_id: %q is not a lower-case UUID", t.Claude.SessionID)
	require(t.Claude.MaxTurns >= 0 && t.Claude.MaxRetries >= 0 && t.Claude.APITimeout >= 0, "claude: limits must not be negative")
	require(!strings.Contains(t.Claude.System, "\x00"), "claude.system: holds a NUL")

	require(t.Bounds.ChangesetBytes > 0, "bounds.changeset_bytes: missing")
	require(t.Bounds.ChangesetFiles > 0, "bounds.changeset_files: missing")
	require(len(t.Setup) == 0 || t.Bounds.SetupTimeout > 0, "bounds.setup_timeout: missing")
	require(t.Check == "" || t.Bounds.CheckTimeout > 0, "bounds.check_timeout: missing")
	for i, command := range t.Setup {
		require(strings.TrimSpace(command) != "" && !strings.Contains(command, "\x00"), "setup[%d]: empty, or holds a NUL", i)
	}
	require(!strings.Contains(t.Check, "\x00"), "check: holds a NUL")
	for name, value := range t.Env {
		require(variable.MatchString(name), "env: %q is not a variable's name", name)
		require(!reserved.MatchString(name), "env: %s is not the task's to set", name)
		require(!strings.Contains(value, "\x00"), "env: %s holds a NUL", name)
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

func checkRepository(r *api.Repository, require func(bool, string, ...any)) {
	web, err := url.Parse(r.WebURL)
	require(err == nil && (web.Scheme == "https" || web.Scheme == "http") && web.Host != "" && web.User == nil && strings.HasSuffix(r.WebURL, "/"),
		"repository.weburl: %q is not an http(s) URL that ends in a slash", r.WebURL)
	name, below := strings.CutPrefix(r.URL, r.WebURL)
	require(r.WebURL != "" && below && name != "" && !strings.ContainsAny(name, " \t\r\n?#"), "repository.url: %q is not below repository.weburl", r.URL)
	require(directory.MatchString(r.Name), "repository.name: %q cannot be a directory's name", r.Name)
	require(commitID.MatchString(r.Commit), "repository.commit: %q is not 40 hex digits", r.Commit)
	badBranch := strings.Contains(r.Branch, "..") || strings.Contains(r.Branch, "//") || strings.Contains(r.Branch, "/.") ||
		strings.HasSuffix(r.Branch, "/") || strings.HasSuffix(r.Branch, ".") || strings.Contains(r.Branch+"/", ".lock/")
	require(branchName.MatchString(r.Branch) && !badBranch, "repository.branch: %q cannot be a branch's name", r.Branch)
	require(filterSpec.MatchString(r.Filter), "repository.filter: %q is not blob:none or blob:limit=N", r.Filter)
	require(r.Depth >= 0, "repository.depth: negative")
}
