package daytona

import (
	"bytes"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The daemon has a git of its own; here the sandbox's is run. Answers and
// statuses are those of v0.190.

// gitScript runs git with the arguments. It asks nobody and runs no hooks,
// and it knows no credentials but those that are on standard input: they are
// in no argument, no environment and no file, and nothing but the helper reads
// that input.
const gitScript = `command -v git >/dev/null || { echo "the sandbox's image has no git" >&2; exit 1; }
exec 9<&0 </dev/null
exec git -c credential.helper= -c credential.helper='!f() { [ "$1" != get ] || cat <&9; }; f' \
	-c core.askPass= -c core.hooksPath=/dev/null "$@"`

// gitFailures are what git says, in lower case, and with which status v0.190
// answers it; everything else is a 500. They are compiled when git first fails,
// not at each command's start.
var gitFailures = sync.OnceValue(func() []gitFailure {
	return []gitFailure{
		{http.StatusUnauthorized, regexp.MustCompile(`authentication failed|invalid username or password|could not read (username|password)|terminal prompts disabled`)},
		{http.StatusForbidden, regexp.MustCompile(`returned error: 403|remote: permission .*denied`)},
		{http.StatusNotFound, regexp.MustCompile(`repository .*not found|returned error: 404|remote: not found|does not appear to be a git repository|` +
			`not a git repository|cannot change to|remote branch .* not found|no such remote|reference not found|` +
			`src refspec .* does not match any|not currently on a branch|unknown revision|unable to read tree|not a tree|does not exist`)},
		{http.StatusConflict, regexp.MustCompile(`non-fast-forward|fetch first|updates were rejected|stale info|not possible to fast-forward|` +
			`local changes to the following files would be overwritten|commit your changes or stash them|needs merge|` +
			`contains unstaged changes|already exists and is not an empty directory`)},
	}
})

type gitFailure struct {
	status int
	words  *regexp.Regexp
}

// credentials are for git's server.
type credentials struct {
	Username *string `json:"username"`
	Password *string `json:"password"`
}

// input is how git is told the credentials: nothing unless both are there.
func (k credentials) input() (string, error) {
	if k.Username == nil || k.Password == nil {
		return "", nil
	}
	if strings.ContainsAny(*k.Username+*k.Password, "\n\r\x00") {
		return "", problemf(http.StatusBadRequest, "username and password must be one line each")
	}
	return "username=" + *k.Username + "\npassword=" + *k.Password + "\n", nil
}

// redact takes the password out of what git says.
func (k credentials) redact(text string) string {
	if k.Password == nil || *k.Password == "" {
		return text
	}
	return strings.ReplaceAll(text, *k.Password, "***")
}

// git runs git in the sandbox and returns what it printed.
func (c *call) git(args ...string) (string, error) { return c.gitAs(credentials{}, args...) }

func (c *call) gitAs(k credentials, args ...string) (string, error) {
	secret, err := k.input()
	if err != nil {
		return "", err
	}
	var out, complaint bytes.Buffer
	exit, err := c.tools.engine.Exec(c.r.Context(), c.tools.id, Command{
		Args:   append([]string{"/bin/sh", "-c", gitScript, "git"}, args...),
		Env:    map[string]string{"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": ""},
		Stdin:  strings.NewReader(secret),
		Stdout: &bounded{buffer: &out, left: maxOutput},
		Stderr: &bounded{buffer: &complaint, left: 16 << 10},
	})
	switch {
	case err != nil:
		return "", err
	case exit == 0:
		return out.String(), nil
	case c.tools.ctx.Err() != nil: // killed with the sandbox
		return "", ErrStopped
	}
	return "", gitProblem(k.redact(strings.TrimSpace(complaint.String())), exit)
}

// gitProblem gives what git complains of its status.
func gitProblem(complaint string, exit int) error {
	for _, f := range gitFailures() {
		if f.words.MatchString(strings.ToLower(complaint)) {
			return problemf(f.status, "%s", complaint)
		}
	}
	return problemf(http.StatusInternalServerError, "git exited with %d: %s", exit, complaint)
}

// gitRequest is the body of all operations that change a repository.
type gitRequest struct {
	credentials
	Path            string   `json:"path"`
	URL             string   `json:"url"`
	Branch          string   `json:"branch"`
	CommitID        string   `json:"commit_id"`
	InsecureSkipTLS bool     `json:"insecure_skip_tls"`
	Name            string   `json:"name"`
	Files           []string `json:"files"`
	Message         string   `json:"message"`
	Author          string   `json:"author"`
	Email           string   `json:"email"`
	AllowEmpty      bool     `json:"allow_empty"`
}

// gitCall serves an operation whose request must have a path and these fields.
func gitCall(status int, serve func(*call, gitRequest) error, fields ...func(gitRequest) string) func(*call) error {
	return func(c *call) error {
		var request gitRequest
		if err := readJSON(c.w, c.r, &request); err != nil {
			return err
		}
		for _, field := range append(fields, gitRequest.path) {
			if field(request) == "" {
				return problemf(http.StatusBadRequest, "invalid request body: a required field is missing")
			}
		}
		if err := serve(c, request); err != nil {
			return err
		}
		if status != 0 {
			c.w.WriteHeader(status)
		}
		return nil
	}
}

func (g gitRequest) path() string    { return g.Path }
func (g gitRequest) url() string     { return g.URL }
func (g gitRequest) branch() string  { return g.Branch }
func (g gitRequest) name() string    { return g.Name }
func (g gitRequest) message() string { return g.Message }
func (g gitRequest) author() string  { return g.Author }
func (g gitRequest) email() string   { return g.Email }

// gitRoutes adds the operations on repositories.
func gitRoutes(route func(string, func(*call) error)) {
	const ok, created, noContent = http.StatusOK, http.StatusCreated, http.StatusNoContent
	route("GET /git/status", (*call).gitStatus)
	route("GET /git/branches", (*call).gitBranches)
	route("GET /git/history", (*call).gitHistory)
	route("POST /git/clone", gitCall(ok, (*call).gitClone, gitRequest.url))
	route("POST /git/branches", gitCall(created, (*call).gitCreateBranch, gitRequest.name))
	route("DELETE /git/branches", gitCall(noContent, (*call).gitDeleteBranch, gitRequest.name))
	route("POST /git/checkout", gitCall(ok, (*call).gitCheckout, gitRequest.branch))
	route("POST /git/add", gitCall(ok, (*call).gitAdd))
	route("POST /git/commit", gitCall(0, (*call).gitCommit, gitRequest.message, gitRequest.author, gitRequest.email))
	route("POST /git/pull", gitCall(ok, (*call).gitPull))
	route("POST /git/push", gitCall(ok, (*call).gitPush))
}

func (c *call) gitClone(g gitRequest) error {
	var args []string
	if g.InsecureSkipTLS {
		args = append(args, "-c", "http.sslVerify=false")
	}
	args = append(args, "clone", "-q", "--single-branch")
	if g.Branch != "" {
		args = append(args, "--branch="+g.Branch)
	}
	if _, err := c.gitAs(g.credentials, append(args, "--", g.URL, g.Path)...); err != nil || g.CommitID == "" {
		return err
	}
	return c.gitDetach(g.Path, g.CommitID)
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func (c *call) gitDetach(path, commit string) error {
	if !commitID.MatchString(commit) {
		return problemf(http.StatusNotFound, "failed to checkout branch or commit '%s': reference not found", commit)
	}
	_, err := c.git("-C", path, "checkout", "-q", "--detach", commit, "--")
	return err
}

// gitUnchanged fails where files differ from what is staged: v0.190 changes
// branches only when they do not.
func (c *call) gitUnchanged(path string) error {
	names, err := c.git("-C", path, "diff", "--name-only")
	if err == nil && names != "" {
		err = problemf(http.StatusConflict, "worktree contains unstaged changes")
	}
	return err
}

func (c *call) gitCheckout(g gitRequest) error {
	if err := c.gitUnchanged(g.Path); err != nil {
		return err
	}
	known, err := c.git("-C", g.Path, "for-each-ref", "--format=%(refname)", "refs/heads/"+g.Branch)
	switch {
	case err != nil:
		return err
	case known != "refs/heads/"+g.Branch+"\n":
		return c.gitDetach(g.Path, g.Branch)
	}
	_, err = c.git("-C", g.Path, "checkout", "-q", g.Branch, "--")
	return err
}

func (c *call) gitCreateBranch(g gitRequest) error {
	if err := c.gitUnchanged(g.Path); err != nil {
		return err
	}
	if _, err := c.git("-C", g.Path, "check-ref-format", "--branch", g.Name); err != nil {
		return err
	}
	_, err := c.git("-C", g.Path, "checkout", "-q", "-b", g.Name, "--")
	return err
}

// gitDeleteBranch removes the reference, whatever is on it, if it is there.
func (c *call) gitDeleteBranch(g gitRequest) error {
	_, err := c.git("-C", g.Path, "update-ref", "-d", "refs/heads/"+g.Name)
	return err
}

func (c *call) gitAdd(g gitRequest) error {
	_, err := c.git(append([]string{"-C", g.Path, "add", "--"}, g.Files...)...)
	return err
}

func (c *call) gitCommit(g gitRequest) error {
	args := []string{
		"-C", g.Path, "-c", "user.name=" + g.Author, "-c", "user.email=" + g.Email, "-c", "commit.gpgSign=false",
		"commit", "-q", "--cleanup=verbatim", "--message=" + g.Message,
	}
	if g.AllowEmpty {
		args = append(args, "--allow-empty")
	} else if staged, err := c.git("-C", g.Path, "diff", "--cached", "--name-only"); err != nil {
		return err
	} else if staged == "" {
		return problemf(http.StatusInternalServerError, "cannot create empty commit: clean working tree")
	}
	if _, err := c.git(args...); err != nil {
		return err
	}
	hash, err := c.git("-C", g.Path, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	return c.answer(map[string]string{"hash": strings.TrimSpace(hash)})
}

func (c *call) gitPull(g gitRequest) error {
	_, err := c.gitAs(g.credentials, "-C", g.Path, "pull", "-q", "--ff-only", "origin")
	return err
}

// gitPush pushes the current branch to its own name.
func (c *call) gitPush(g gitRequest) error {
	branch, err := c.git("-C", g.Path, "symbolic-ref", "HEAD")
	if err != nil {
		return problemf(http.StatusNotFound, "reference not found: %v", err)
	}
	branch = strings.TrimSpace(branch)
	_, err = c.gitAs(g.credentials, "-C", g.Path, "push", "-q", "origin", branch+":"+branch)
	return err
}

// fileStatus is how a file differs, as the toolbox shows it.
type fileStatus struct {
	Name     string `json:"name"`
	Extra    string `json:"extra"`
	Staging  string `json:"staging"`
	Worktree string `json:"worktree"`
}

// statusWords are what the toolbox says for git's letters.
var statusWords = map[byte]string{
	' ': "Unmodified", '?': "Untracked", 'M': "Modified", 'T': "Modified", 'A': "Added", 'D': "Deleted",
	'R': "Renamed", 'C': "Copied", 'U': "Updated but unmerged",
}

// parseStatus reads git's "status --porcelain -z --no-renames".
func parseStatus(text string) []fileStatus {
	files := []fileStatus{}
	for entry := range strings.SplitSeq(text, "\x00") {
		if len(entry) < 4 || statusWords[entry[0]] == "" || statusWords[entry[1]] == "" {
			continue
		}
		files = append(files, fileStatus{Name: entry[3:], Staging: statusWords[entry[0]], Worktree: statusWords[entry[1]]})
	}
	return files
}

func (c *call) gitStatus() error {
	path, err := c.path("path")
	if err != nil {
		return err
	}
	branch, err := c.git("-C", path, "rev-parse", "--abbrev-ref", "HEAD")
	if err != nil {
		return err
	}
	changes, err := c.git("-C", path, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
	if err != nil {
		return err
	}
	status := struct {
		CurrentBranch   string       `json:"currentBranch"`
		Files           []fileStatus `json:"fileStatus"`
		BranchPublished bool         `json:"branchPublished"`
		Ahead           int          `json:"ahead"`
		Behind          int          `json:"behind"`
	}{CurrentBranch: strings.TrimSpace(branch), Files: parseStatus(changes)}
	// Without an upstream branch this fails.
	if counts, err := c.git("-C", path, "rev-list", "--left-right", "--count", "@{upstream}...HEAD"); err == nil {
		behind, ahead, _ := strings.Cut(strings.TrimSpace(counts), "\t")
		status.BranchPublished = true
		status.Behind, _ = strconv.Atoi(behind) // git's own numbers
		status.Ahead, _ = strconv.Atoi(ahead)
	}
	return c.answer(status)
}

func (c *call) gitBranches() error {
	path, err := c.path("path")
	if err != nil {
		return err
	}
	refs, err := c.git("-C", path, "for-each-ref", "--format=%(refname)", "refs/heads/")
	if err != nil {
		return err
	}
	branches := []string{}
	for ref := range strings.Lines(refs) {
		branches = append(branches, strings.TrimPrefix(strings.TrimSpace(ref), "refs/heads/"))
	}
	return c.answer(map[string]any{"branches": branches})
}

// gitCommitInfo is a commit as the toolbox shows it.
type gitCommitInfo struct {
	Hash      string    `json:"hash"`
	Author    string    `json:"author"`
	Email     string    `json:"email"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
}

func (c *call) gitHistory() error {
	path, err := c.path("path")
	if err != nil {
		return err
	}
	log, err := c.git("-C", path, "log", "-z", "--format=%H%n%an%n%ae%n%aI%n%B")
	if err != nil {
		return err
	}
	return c.answer(parseLog(log))
}

// parseLog reads the commits of git's log; one that was cut is left out.
func parseLog(log string) []gitCommitInfo {
	commits := []gitCommitInfo{}
	for entry := range strings.SplitSeq(log, "\x00") {
		fields := strings.SplitN(entry, "\n", 5)
		if len(fields) < 5 {
			continue
		}
		when, err := time.Parse(time.RFC3339, fields[3])
		if err != nil {
			continue
		}
		commits = append(commits, gitCommitInfo{Hash: fields[0], Author: fields[1], Email: fields[2], Timestamp: when, Message: fields[4]})
	}
	return commits
}
