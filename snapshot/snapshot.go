// Package snapshot holds what goes into a sandbox: the Dockerfiles, the pin of
// Claude Code, and sandboxd's Linux binaries, which releases embed.
package snapshot

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"fmt"
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
// that embeds none is a fault that says how to make one that does.
func Sandboxd(goarch string) ([]byte, error) {
	packed, err := fs.ReadFile(binaries, "bin/sandboxd-linux-"+goarch+".gz")
	if err != nil {
		return nil, fault.New(fault.Failed, "this dayclaude was built without sandboxd for linux/%s", goarch).
			WithHint("build it with `make build`, or use a snapshot that has sandboxd in its image")
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("embedded sandboxd: %w", err)
	}
	// The file's last four bytes are the size of what it unpacks to (RFC 1952).
	// A buffer that need not grow saves a third of the time.
	size := binary.LittleEndian.Uint32(packed[len(packed)-4:])
	unpacked := bytes.NewBuffer(make([]byte, 0, int(size)+bytes.MinRead))
	if _, err := unpacked.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("embedded sandboxd: %w", err)
	}
	return unpacked.Bytes(), nil
}
