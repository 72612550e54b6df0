package claude

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// maxLine bounds one object of the stream: an Edit embeds the original file.
// A longer one is skipped.
const maxLine = 16 << 20

// What JSON can carry on: the output can be forged by whatever Claude runs.
const (
	year10000 = 253402300800 // Unix seconds
	maxCost   = 1e9
	maxFigure = 1 << 40 // tokens, turns, attempts, milliseconds
)

// figure takes n, of which nobody has less than none, into bounds.
func figure[T int | int64 | float64](n T) T { return min(max(n, 0), maxFigure) }

// message is any object of the stream; each type fills some of it.
type message struct {
	Type      string `json:"type"`
	Subtype   string `json:"subtype"`
	SessionID string `json:"session_id"`

	// system/init
	Model   string `json:"model"`
	Version string `json:"claude_code_version"`

	// system/api_retry
	Attempt      int     `json:"attempt"`
	RetryDelayMS float64 `json:"retry_delay_ms"`
	ErrorStatus  int     `json:"error_status"`

	// system/permission_denied
	ToolName string `json:"tool_name"`

	// rate_limit_event
	RateLimit struct {
		Status   string `json:"status"`
		ResetsAt int64  `json:"resetsAt"` // Unix seconds
	} `json:"rate_limit_info"`

	// assistant, user; Error is the kind of an API error
	Message struct {
		ID      string          `json:"id"`
		Content json.RawMessage `json:"content"`
		Usage   usage           `json:"usage"`
	} `json:"message"`
	Error string `json:"error"`

	// result
	IsError        bool                  `json:"is_error"`
	Result         string                `json:"result"`
	Errors         []string              `json:"errors"`
	NumTurns       int                   `json:"num_turns"`
	TerminalReason string                `json:"terminal_reason"`
	Spent          map[string]modelUsage `json:"model_usage_since_last_result"`
}

// usage is what one call of the Messages API used.
type usage struct {
	Input      int64 `json:"input_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
	Output     int64 `json:"output_tokens"`
}

// modelUsage is what a model used since the process's last result.
type modelUsage struct {
	Input      int64   `json:"inputTokens"`
	CacheRead  int64   `json:"cacheReadInputTokens"`
	CacheWrite int64   `json:"cacheCreationInputTokens"`
	Output     int64   `json:"outputTokens"`
	CostUSD    float64 `json:"costUSD"`
}

// block is one content block of an assistant or user message.
type block struct {
	Type    string          `json:"type"`
	Text    string          `json:"text"`
	Name    string          `json:"name"`
	Input   toolInput       `json:"input"`
	Content json.RawMessage `json:"content"`
	IsError bool            `json:"is_error"`
}

// toolInput holds the inputs of the tools that Claude is given.
type toolInput struct {
	Command  string `json:"command"`
	FilePath string `json:"file_path"`
}

// stream follows one process's output.
type stream struct {
	dir   string
	yield func(Event)

	result   Result
	begun    bool // an init was seen
	ended    bool // a result was seen
	apiError string
	apiText  string
	resetsAt time.Time
	message  string // id of the assistant message last seen, and what
	counted  usage  // it counted for in sum
	sum      usage  // of the assistant messages so far
	turns    int
}

// read takes in the stream until it ends. Objects that are too long, broken
// or of an unknown type are passed over.
func (s *stream) read(r io.Reader) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	for skip := false; ; {
		piece, err := buffered.ReadSlice('\n')
		if skip = skip || len(line)+len(piece) > maxLine; !skip {
			line = append(line, piece...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if !skip {
			s.take(line)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		line, skip = line[:0], false
	}
}

// take handles one object of the stream.
func (s *stream) take(line []byte) {
	var m message
	if !decode(line, &m) {
		return
	}
	switch m.Type {
	case "system":
		s.system(&m)
	case "rate_limit_event":
		if at := m.RateLimit.ResetsAt; m.RateLimit.Status == "rejected" && at > 0 && at < year10000 {
			s.resetsAt = time.Unix(at, 0).UTC()
			s.yield(Event{Kind: UsageLimit, ResetsAt: s.resetsAt})
		}
	case "assistant":
		s.assistant(&m)
	case "user":
		for _, b := range blocks(m.Message.Content) {
			if b.Type == "tool_result" {
				s.yield(Event{Kind: ToolResult, Summary: firstLine(text(b.Content)), Failed: b.IsError})
			}
		}
	case "result":
		s.end(&m)
	}
}

// system handles what Claude Code says of itself.
func (s *stream) system(m *message) {
	switch m.Subtype {
	case "init":
		s.begun = true
		s.result.SessionID = clip(m.SessionID, maxWord)
		s.yield(Event{
			Kind: Begin, SessionID: s.result.SessionID,
			Model: clip(m.Model, maxWord), Version: clip(m.Version, maxWord),
		})
	case "api_retry":
		s.yield(Event{
			Kind: Retry, Attempt: figure(m.Attempt), Reason: clip(m.Error, maxWord),
			Delay: time.Duration(figure(m.RetryDelayMS) * float64(time.Millisecond)),
		})
	case "permission_denied":
		s.yield(Event{Kind: Denied, Tool: clip(m.ToolName, maxWord)})
	}
}

// assistant handles one content block of Claude's words and tool calls. The
// blocks of one message come one by one, each with the usage so far.
func (s *stream) assistant(m *message) {
	if m.Message.ID != s.message {
		s.message, s.counted = m.Message.ID, usage{}
		s.turns++
	}
	u := m.Message.Usage
	u = usage{Input: figure(u.Input) + figure(u.CacheRead) + figure(u.CacheWrite), Output: figure(u.Output)}
	s.sum.Input = figure(s.sum.Input + u.Input - s.counted.Input)
	s.sum.Output = figure(s.sum.Output + u.Output - s.counted.Output)
	s.counted = u

	for _, b := range blocks(m.Message.Content) {
		event := Event{InputTokens: s.sum.Input, OutputTokens: s.sum.Output}
		switch b.Type {
		case "text":
			if m.Error != "" { // Claude Code's own words in place of an answer
				s.apiError, s.apiText = clip(m.Error, maxWord), clip(b.Text, maxMessage)
				continue
			}
			event.Kind, event.Text = Said, clip(strings.TrimSpace(b.Text), maxSaid)
			if event.Text == "" {
				continue
			}
		case "tool_use":
			event.Kind, event.Tool = ToolCall, clip(b.Name, maxWord)
			if b.Input.FilePath != "" {
				event.Summary = relative(s.dir, b.Input.FilePath)
			} else {
				event.Summary = firstLine(b.Input.Command)
			}
		default:
			continue
		}
		s.yield(event)
	}
}

// end handles a result. Several may come in one process: the last one wins,
// but each counts only what was used since the one before.
func (s *stream) end(m *message) {
	s.ended = true
	r := &s.result
	r.Turns, r.Answer, r.API, r.Message, r.ResetsAt = figure(m.NumTurns), "", "", "", time.Time{}
	for _, u := range m.Spent {
		r.InputTokens = figure(r.InputTokens + figure(u.Input) + figure(u.CacheRead) + figure(u.CacheWrite))
		r.OutputTokens = figure(r.OutputTokens + figure(u.Output))
		r.CostUSD = min(r.CostUSD+max(0, u.CostUSD), maxCost)
	}
	switch {
	case m.Subtype == "success" && !m.IsError:
		r.Ending, r.Answer = Answered, clip(m.Result, maxAnswer)
	case m.Subtype == "success":
		r.Ending, r.API, r.Message = APIError, s.apiError, clip(m.Result, maxMessage)
		if r.Message == "" {
			r.Message = s.apiText
		}
		if r.API == "rate_limit" {
			r.ResetsAt = s.resetsAt
		}
	case m.Subtype == "error_max_turns":
		r.Ending = MaxTurns
	case m.Subtype == "error_max_budget_usd":
		r.Ending = Budget
	default:
		r.Ending = Execution
	}
	if r.Ending != Answered && r.Message == "" {
		r.Message = clip(strings.Join(m.Errors, "\n"), maxMessage)
	}
	s.apiError, s.apiText = "", ""
}

// decode reads an object leniently: a field of an unexpected type stays zero
// and the others count.
func decode(data []byte, into any) bool {
	err := json.Unmarshal(data, into)
	var mismatch *json.UnmarshalTypeError
	return err == nil || errors.As(err, &mismatch)
}

// blocks are the content blocks of a message; one may be a plain string.
func blocks(content json.RawMessage) []block {
	var list []block
	if decode(content, &list) {
		return list
	}
	return nil
}

// text is the text of a tool's result: a string, or text blocks.
func text(content json.RawMessage) string {
	var plain string
	if json.Unmarshal(content, &plain) == nil {
		return plain
	}
	var b strings.Builder
	for _, part := range blocks(content) {
		b.WriteString(part.Text)
	}
	return b.String()
}
