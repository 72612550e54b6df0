// Package snapshot holds what goes into a sandbox: the Dockerfiles, the pin of
// Claude Code, and sandboxd's Linux binaries, which releases embed.
package snapshot

import (
	_ "embed"
	"io/fs"
	"strings"

	"github.com/dayclaude/dayclaude/internal/fault"
)

//go:embed claude-code.version
var claudeCode string

// ClaudeCodeVersion is the version of Claude Code that dayclaude is tested
// with and that its images hold.
func ClaudeCodeVersion() string { return strings.TrimSpace(claudeCode) }

// Sandboxd returns the Linux binary of sandboxd for amd64 or arm64. A build
// that embeds none is a fault that says how to make one that does. It is
// embedded as it is: unpacking it would take a twentieth of a second of every
// first run on an issue.
func Sandboxd(goarch string) ([]byte, error) {
	binary, err := fs.ReadFile(binaries, "bin/sandboxd-linux-"+goarch)
	if err != nil {
		return nil, fault.New(fault.Failed, "this dayclaude was built without sandboxd for linux/%s", goarch).
			WithHint("build it with `make build`, or use a snapshot that has sandboxd in its image")
	}
	return binary, nil
}
