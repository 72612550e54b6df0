package lightclaude

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/claude"
)

// message is one of a conversation.
type message struct {
	ID      string `json:"id,omitempty"` // of an assistant's
	Role    string `json:"role"`
	Content blocks `json:"content"`
	Usage   *usage `json:"usage,omitempty"`
}

// blocks are a message's content.
type blocks []block

// block is words, a tool's call, or what it gave.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   string          `json:"content,omitempty"`
	IsError   bool            `json:"is_error,omitempty"`

	Cache *cacheControl `json:"cache_control,omitempty"`
}

type cacheControl struct {
	Type string `json:"type"`
}

// usage is what a call used, in tokens.
type usage struct {
	Input      int64 `json:"input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	Output     int64 `json:"output_tokens"`
}

// UnmarshalJSON takes a content that is plain text, too.
func (b *blocks) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*b = blocks{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(data, (*[]block)(b))
}

// session is a conversation and the file that it is kept in: one line for each
// block of an assistant's message and for each of a user's, as Claude Code
// does it.
type session struct {
	id, dir      string
	file         *os.File
	conversation []message
}

// line is an entry of the file. Others than a conversation's are passed over.
type line struct {
	Type      string    `json:"type"`
	Message   message   `json:"message"`
	UUID      string    `json:"uuid"`
	Timestamp time.Time `json:"timestamp"`
	SessionID string    `json:"sessionId"`
	Dir       string    `json:"cwd"`
	Version   string    `json:"version"`
}

// openSession begins a session, or goes on with it where it stood.
func openSession(o *options) (*session, error) {
	path := claude.TranscriptPath(o.home, o.dir, o.session)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	s := &session{id: o.session, dir: o.dir, file: file}
	kept, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for text := range bytes.Lines(kept) {
		var l line
		if json.Unmarshal(text, &l) == nil && (l.Type == "user" || l.Type == "assistant") {
			s.add(l.Message)
		}
	}
	if len(kept) > 0 && !bytes.HasSuffix(kept, []byte("\n")) { // killed while it wrote
		if _, err := file.WriteString("\n"); err != nil {
			return nil, err
		}
	}
	return s, s.close()
}

// What Claude Code puts into a conversation whose last tool was interrupted.
const (
	interrupted = "[Tool call interrupted: the session ended before this call's result was recorded, so its outcome is unknown. " +
		"Check whether it took effect before relying on it or running it again.]"
	filler = "No response requested."
)

// close answers the calls that were under way when the session was left.
func (s *session) close() error {
	if len(s.conversation) == 0 {
		return nil
	}
	var results blocks
	for _, b := range s.conversation[len(s.conversation)-1].Content {
		if b.Type == "tool_use" {
			results = append(results, block{Type: "tool_result", ToolUseID: b.ID, Content: interrupted, IsError: true})
		}
	}
	if results == nil {
		return nil
	}
	return s.keep(
		message{Role: "user", Content: results},
		message{ID: uuid.NewString(), Role: "assistant", Content: blocks{{Type: "text", Text: filler}}},
	)
}

// add puts a message at the conversation's end; blocks of one message come
// one by one.
func (s *session) add(m message) {
	if n := len(s.conversation); m.Role == "assistant" && n > 0 && s.conversation[n-1].ID == m.ID {
		s.conversation[n-1].Content = append(s.conversation[n-1].Content, m.Content...)
		return
	}
	s.conversation = append(s.conversation, m)
}

// keep adds messages to the conversation and its file, in one write.
func (s *session) keep(messages ...message) error {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	for _, m := range messages {
		s.add(m)
		for _, part := range m.parts() {
			err := lines.Encode(line{
				Type: m.Role, Message: part, UUID: uuid.NewString(), Timestamp: time.Now().UTC(),
				SessionID: s.id, Dir: s.dir, Version: Version,
			})
			if err != nil {
				return err
			}
		}
	}
	_, err := s.file.Write(text.Bytes())
	return err
}

// parts are a message as it is written: an assistant's block by block.
func (m message) parts() []message {
	if m.Role != "assistant" {
		return []message{m}
	}
	parts := make([]message, len(m.Content))
	for i, b := range m.Content {
		parts[i] = m
		parts[i].Content = blocks{b}
	}
	return parts
}

// knewBefore reports whether a file was read or written before the message
// that is being carried out.
func (s *session) knewBefore(path string) bool {
	for _, m := range s.conversation[:len(s.conversation)-1] {
		for _, b := range m.Content {
			var input toolInput
			if b.Type == "tool_use" && b.Name != "Bash" && json.Unmarshal(b.Input, &input) == nil && input.FilePath == path {
				return true
			}
		}
	}
	return false
}
