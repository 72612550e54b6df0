// Package claude starts Claude Code without a terminal and turns its stream
// of JSON into bounded values: Events while it works, one Result at the end.
//
//	result := claude.Run(ctx, claude.Invocation{…}, func(e claude.Event) { … })
//	if result.Ending == claude.Answered { … }
//
// Nothing it starts holds a secret. Claude is given a dummy credential and a
// BaseURL at which somebody else adds the real one. The repository's own
// Claude configuration does nothing, except for CLAUDE.md and rules.
//
// What is assumed of Claude Code was measured with the version that
// snapshot/claude-code.version pins, and is held by this package's tests.
package claude

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Invocation says how to start Claude Code once.
type Invocation struct {
	Path string // of the claude program
	Dir  string // absolute path of the repository: the working directory
	Home string // absolute path of a home directory outside the repository
	// Env is the whole environment ("KEY=value", PATH among them) beside what
	// Run sets itself. Variables that steer Claude Code (ANTHROPIC_…,
	// CLAUDE…) are dropped from it.
	Env        []string
	Prompt     string // goes to standard input
	System     string // appended to Claude Code's own system prompt; at most 128 KiB
	Model      string
	MaxTurns   int    // 0: no limit
	SessionID  string // a UUID: new, or with Resume one that HasTranscript knows
	Resume     bool
	BaseURL    string        // of the Messages API
	OAuth      bool          // a subscription is lent, not an API key: usage limits then come with their reset time
	APITimeout time.Duration // of one model call; 0: Claude Code's own
	MaxRetries int           // of one model call; 0: none
}

// The dummy credentials: their values reach BaseURL and nothing else.
const (
	dummyToken = "dayclaude"
	dummyOAuth = "sk-ant-oat01-dayclaude"
)

// Command is what Run starts: the command line, and the whole environment.
// The prompt goes to its standard input.
func (inv Invocation) Command() (line, env []string) {
	return append([]string{inv.Path}, inv.args()...), inv.environ()
}

// args is the command line without the program's name.
func (inv Invocation) args() []string {
	args := []string{
		"-p", "--output-format", "stream-json", "--verbose",
		"--dangerously-skip-permissions",
		"--setting-sources", "user", "--strict-mcp-config", "--add-dir", inv.Dir,
		"--tools", "Bash,Read,Edit,Write",
		"--model", inv.Model,
	}
	if inv.MaxTurns > 0 {
		args = append(args, "--max-turns", strconv.Itoa(inv.MaxTurns))
	}
	if inv.System != "" {
		args = append(args, "--append-system-prompt", inv.System)
	}
	if inv.Resume {
		return append(args, "--resume", inv.SessionID)
	}
	return append(args, "--session-id", inv.SessionID)
}

// steering matches the variables that decide where Claude Code sends its
// requests, what it loads and how it runs.
var steering = regexp.MustCompile(`^(ANTHROPIC_|CLAUDE|(API_TIMEOUT_MS|BUN_OPTIONS|HOME|IS_SANDBOX|PWD)=)`)

// environ is the process's environment.
func (inv Invocation) environ() []string {
	var env []string
	for _, kv := range inv.Env {
		if !steering.MatchString(kv) {
			env = append(env, kv)
		}
	}
	env = append(env,
		"HOME="+inv.Home,
		"PWD="+inv.Dir,
		"ANTHROPIC_BASE_URL="+inv.BaseURL,
		"CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD=1", // CLAUDE.md by --add-dir, which --setting-sources user leaves out
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",     // calls that ignore ANTHROPIC_BASE_URL
		"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1",
		"CLAUDE_CODE_DISABLE_AUTO_MEMORY=1",
		"CLAUDE_CODE_MAX_RETRIES="+strconv.Itoa(inv.MaxRetries),
	)
	if inv.OAuth {
		env = append(env, "CLAUDE_CODE_OAUTH_TOKEN="+dummyOAuth)
	} else {
		env = append(env, "ANTHROPIC_AUTH_TOKEN="+dummyToken)
	}
	if inv.APITimeout > 0 {
		env = append(env, "API_TIMEOUT_MS="+strconv.FormatInt(inv.APITimeout.Milliseconds(), 10))
	}
	if os.Geteuid() == 0 {
		env = append(env, "IS_SANDBOX=1") // else it refuses to skip permissions as root
	}
	return env
}

// TranscriptPath is where Claude Code keeps a session: JSON lines, below
// home, in a directory named after the working directory.
func TranscriptPath(home, dir, sessionID string) string {
	return filepath.Join(home, ".claude", "projects", projectName(dir), sessionID+".jsonl")
}

var notAlphanumeric = regexp.MustCompile(`[^A-Za-z0-9]`)

func projectName(dir string) string {
	return notAlphanumeric.ReplaceAllString(filepath.Clean(dir), "-")
}

// HasTranscript reports whether a session was begun, so that it can be
// resumed.
func HasTranscript(home, dir, sessionID string) bool {
	info, err := os.Lstat(TranscriptPath(home, dir, sessionID))
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

// cleanHome takes out of home whatever an earlier turn may have planted to
// configure this one: all that Claude Code reads there but its sessions.
func cleanHome(home string) error {
	root, err := os.OpenRoot(home)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(".claude.json"); err != nil {
		return err
	}
	if info, err := root.Lstat(".claude"); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	} else if !info.IsDir() { // a link would lead elsewhere
		return root.Remove(".claude")
	}
	entries, err := fs.ReadDir(root.FS(), ".claude")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "projects" && entry.IsDir() {
			continue
		}
		if err := root.RemoveAll(".claude/" + entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

// reason is an error's text as a Result's Message.
func reason(err error) string { return clip(strings.TrimSpace(err.Error()), maxMessage) }
