package anthropic

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// request is the part of a call that a scripted model needs.
type request struct {
	Model     string          `json:"model"`
	MaxTokens *int64          `json:"max_tokens"`
	System    json.RawMessage `json:"system"`
	Messages  []message       `json:"messages"`
	Tools     []tool          `json:"tools"`
	Stream    bool            `json:"stream"`

	fields []string          // top-level names, sorted
	raw    []json.RawMessage // tools, system and each message, as sent
}

type tool struct {
	Name string `json:"name"`
}

type message struct {
	Role    string `json:"role"`
	Content blocks `json:"content"`
}

// blocks are a message's content; a plain string is one text block.
type blocks []block

type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`          // tool_use
	ToolUseID string          `json:"tool_use_id"` // tool_result
	Content   json.RawMessage `json:"content"`     // tool_result: string or blocks
	IsError   bool            `json:"is_error"`    // tool_result
}

// UnmarshalJSON takes both forms of content.
func (b *blocks) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*b = blocks{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(data, (*[]block)(b))
}

// parseRequest reads a call and refuses what the Messages API refuses. The
// request is not nil whenever the body is an object.
func parseRequest(body []byte, wantMaxTokens bool) (*request, *apiError) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || raw == nil {
		return nil, invalid("The request body is not valid JSON: expected an object")
	}
	q := &request{fields: slices.Sorted(maps.Keys(raw))}
	if err := json.Unmarshal(body, q); err != nil {
		return q, invalid("request: " + err.Error())
	}
	_ = json.Unmarshal(raw["messages"], &q.raw) // it was a list a moment ago
	q.raw = append([]json.RawMessage{raw["tools"], raw["system"]}, q.raw...)
	switch {
	case q.Model == "":
		return q, invalid("model: Field required")
	case wantMaxTokens && q.MaxTokens == nil:
		return q, invalid("max_tokens: Field required")
	case wantMaxTokens && *q.MaxTokens < 1:
		return q, invalid("max_tokens: must be greater than or equal to 1")
	case raw["messages"] == nil:
		return q, invalid("messages: Field required")
	case len(q.Messages) == 0:
		return q, invalid("messages: at least one message is required")
	}
	return q, checkMessages(q.Messages)
}

// checkMessages holds a conversation against the API's rules: roles, content,
// and every tool call answered by the very next message.
func checkMessages(list []message) *apiError {
	for i, m := range list {
		switch m.Role {
		case "user", "assistant":
		case "system": // between the turns, for models that take it there
			if i == 0 {
				return invalid(`messages: Unexpected role "system" at the start: use the top-level system parameter`)
			}
		default:
			return invalid(fmt.Sprintf("messages.%d.role: Input should be 'user' or 'assistant'", i))
		}
		if i == 0 && m.Role != "user" {
			return invalid(`messages: first message must use the "user" role`)
		}
		if len(m.Content) == 0 && (m.Role != "assistant" || i != len(list)-1) {
			return invalid(fmt.Sprintf("messages.%d: all messages must have non-empty content except for the optional final assistant message", i))
		}
		for j, b := range m.Content {
			if b.Type == "text" && b.Text == "" {
				return invalid(fmt.Sprintf("messages.%d.content.%d: text content blocks must be non-empty", i, j))
			}
			if b.Type == "" {
				return invalid(fmt.Sprintf("messages.%d.content.%d.type: Field required", i, j))
			}
		}
	}
	return checkTools(list)
}

// checkTools holds tool calls against their results.
func checkTools(list []message) *apiError {
	open := map[string]bool{} // calls of the message before
	for i, m := range list {
		if m.Role == "system" {
			continue
		}
		for j, b := range m.Content {
			if b.Type != "tool_result" {
				continue
			}
			if m.Role != "user" || !open[b.ToolUseID] {
				return invalid(fmt.Sprintf("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. "+
					"Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, b.ToolUseID))
			}
			delete(open, b.ToolUseID)
		}
		if len(open) > 0 {
			return invalid(fmt.Sprintf("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. "+
				"Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
				i-1, strings.Join(slices.Sorted(maps.Keys(open)), ", ")))
		}
		for _, b := range m.Content {
			if b.Type == "tool_use" && m.Role == "assistant" {
				open[b.ID] = true
			}
		}
	}
	return nil
}

// reminder begins the blocks that Claude Code adds to what a user wrote.
const reminder = "<system-reminder>"

// prompt is what the user wrote in a message, "" if it holds tool results
// only.
func (m message) prompt() string {
	var texts []string
	for _, b := range m.Content {
		if m.Role == "user" && b.Type == "text" && !strings.HasPrefix(b.Text, reminder) {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// results are the tool results that the conversation ends with.
func (q *request) results() []block {
	for _, m := range slices.Backward(q.Messages) {
		if m.Role == "assistant" {
			break
		}
		var results []block
		for _, b := range m.Content {
			if b.Type == "tool_result" {
				results = append(results, b)
			}
		}
		if results != nil {
			return results
		}
	}
	return nil
}

// text is the text of a tool result: a string or text blocks.
func (b block) text() string {
	var content blocks
	if json.Unmarshal(b.Content, &content) != nil {
		return ""
	}
	var all strings.Builder
	for _, part := range content {
		all.WriteString(part.Text)
	}
	return all.String()
}

var workingDirectory = regexp.MustCompile(`(?m)^ - Primary working directory: (/.*)$`)

// cwd is the working directory that Claude Code names: in its system prompt,
// in a system message or in a reminder, by model. "." if it names none.
func (q *request) cwd() string {
	var system blocks
	_ = json.Unmarshal(q.System, &system) // absent or of another form: nothing is found
	conversation := append([]message{{Role: "system", Content: system}}, q.Messages...)
	for _, m := range conversation {
		for _, b := range m.Content {
			if m.Role == "system" || strings.HasPrefix(b.Text, reminder) {
				if found := workingDirectory.FindStringSubmatch(b.Text); found != nil {
					return found[1]
				}
			}
		}
	}
	return "."
}

// offers reports whether the request lets the model call a tool.
func (q *request) offers(name string) bool {
	return slices.ContainsFunc(q.Tools, func(t tool) bool { return t.Name == name })
}
