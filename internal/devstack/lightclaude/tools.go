package lightclaude

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Bounds of the tools, Claude Code's own.
const (
	bashTimeout = 2 * time.Minute
	maxOutput   = 30_000 // bytes of a command's
)

// toolInput holds the inputs of all tools.
type toolInput struct {
	Command    string `json:"command"`
	FilePath   string `json:"file_path"`
	Content    string `json:"content"`
	OldString  string `json:"old_string"`
	NewString  string `json:"new_string"`
	ReplaceAll bool   `json:"replace_all"`
}

// use carries out a tool's call and returns what it gave.
func (t *turn) use(ctx context.Context, call block) block {
	var input toolInput
	text, err := "", json.Unmarshal(call.Input, &input)
	switch {
	case err != nil:
	case !t.offers(call.Name):
		err = complaint(fmt.Sprintf("<tool_use_error>Error: No such tool available: %s</tool_use_error>", call.Name))
	default:
		switch call.Name {
		case "Bash":
			text, err = bash(ctx, t.dir, input.Command)
		case "Read":
			text, err = readFile(input.FilePath)
		case "Write":
			text, err = t.writeFile(input)
		case "Edit":
			text, err = t.editFile(input)
		}
	}
	result := block{Type: "tool_result", ToolUseID: call.ID, Content: text, IsError: err != nil}
	if err != nil {
		result.Content = err.Error()
	}
	return result
}

// bash runs a command in a session of its own. What it leaves in the
// background runs on: its output goes to a file, so nobody waits for it.
func bash(ctx context.Context, dir, command string) (string, error) {
	out, err := os.CreateTemp("", "light-claude-")
	if err != nil {
		return "", err
	}
	defer out.Close()
	if err := os.Remove(out.Name()); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, bashTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	failed := cmd.Run()
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	said, err := io.ReadAll(io.LimitReader(out, maxOutput))
	text := strings.Trim(string(said), "\n")
	switch exit := (*exec.ExitError)(nil); {
	case err != nil:
		return "", err
	case ctx.Err() != nil:
		return "", complaint("Command timed out or was interrupted\n" + text)
	case errors.As(failed, &exit):
		return "", complaint(fmt.Sprintf("Exit code %d\n%s", exit.ExitCode(), text))
	case failed != nil:
		return "", failed
	case text == "":
		return "(Bash completed with no output)", nil
	}
	return text, nil
}

// readFile numbers a file's lines.
func readFile(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", errNoFile(err)
	}
	var text strings.Builder
	number := 0
	for l := range strings.Lines(string(content)) {
		number++
		fmt.Fprintf(&text, "%d\t%s\n", number, strings.TrimRight(l, "\r\n"))
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

func errNoFile(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return complaint("File does not exist.")
	}
	return err
}

const errUnread = complaint("<tool_use_error>File has not been read yet. Read it first before writing to it.</tool_use_error>")

const current = " (file state is current in your context — no need to Read it back)"

func (t *turn) writeFile(input toolInput) (string, error) {
	said := "The file " + input.FilePath + " has been updated successfully."
	if _, err := os.Lstat(input.FilePath); errors.Is(err, fs.ErrNotExist) {
		said = "File created successfully at: " + input.FilePath
	} else if !t.session.knewBefore(input.FilePath) {
		return "", errUnread
	}
	if err := os.MkdirAll(filepath.Dir(input.FilePath), 0o755); err != nil {
		return "", err
	}
	return said + current, os.WriteFile(input.FilePath, []byte(input.Content), 0o644)
}

func (t *turn) editFile(input toolInput) (string, error) {
	info, err := os.Stat(input.FilePath)
	if err != nil {
		return "", errNoFile(err)
	}
	content, err := os.ReadFile(input.FilePath)
	if err != nil {
		return "", err
	}
	if !t.session.knewBefore(input.FilePath) {
		return "", errUnread
	}
	text := string(content)
	crlf := strings.Contains(text, "\r\n") // what is edited has plain line ends
	if crlf {
		text = strings.ReplaceAll(text, "\r\n", "\n")
	}
	switch n := strings.Count(text, input.OldString); {
	case n == 0 || input.OldString == "":
		return "", complaint(fmt.Sprintf("<tool_use_error>String to replace not found in file.\nString: %s</tool_use_error>", input.OldString))
	case n > 1 && !input.ReplaceAll:
		return "", complaint(fmt.Sprintf("<tool_use_error>Found %d matches of the string to replace, but replace_all is false.</tool_use_error>", n))
	}
	text = strings.ReplaceAll(text, input.OldString, input.NewString)
	if crlf {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return "The file " + input.FilePath + " has been updated successfully." + current,
		os.WriteFile(input.FilePath, []byte(text), info.Mode().Perm())
}
