package broker

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// call is a request to the Messages API that was held against the rules.
type call struct {
	body      value
	model     string
	maxTokens int64
	stream    bool
	size      int // of the body as it came

	// What the prompt may come to before anybody counted: see promptBound.
	images, documents int64
	cache, cache1h    bool // parts of the prompt are to be cached, for an hour
}

// refusal is an answer of ours instead of the upstream's, as the API shapes it.
type refusal struct {
	status  int
	kind    string // the API's error type
	message string
}

func (r *refusal) Error() string { return r.message }

func invalid(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "invalid_request_error", fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &refusal{http.StatusForbidden, "permission_error", fmt.Sprintf(format, args...)}
}

// The fields of a request, measured with Claude Code 2.1.330 and read in the
// API's reference. Those in dropped only change where or at which price a
// call runs, or what is told about it: the call goes on without them.
// Anything else is refused: mcp_servers, container, thread, compaction, and
// what the API learns next year.
var (
	messageFields = []string{"model", "messages", "max_tokens", "stream", "system", "tools", "tool_choice",
		"thinking", "metadata", "context_management", "output_config", "output_format", "cache_control",
		"stop_sequences", "temperature", "top_k", "top_p"}
	countFields   = []string{"model", "messages", "system", "tools", "tool_choice", "thinking", "context_management", "output_config", "cache_control"}
	turnFields    = []string{"role", "content", "clear_at", "output_config"} // of one message
	droppedFields = []string{"speed", "service_tier", "inference_geo", "fallbacks", "fallback_credit_token", "diagnostics", "safeguards"}
	toolFields    = []string{"type", "name", "description", "input_schema", "cache_control", "defer_loading", "strict", "input_examples", "eager_input_streaming"}
)

// only returns v without the fields that are not in keep.
func (v value) only(keep []string) value {
	out := value{kind: v.kind}
	for _, f := range v.fields {
		if slices.Contains(keep, f.key) {
			out.fields = append(out.fields, f)
		}
	}
	return out
}

// checkCall holds the body of a request against the rules. A request to count
// tokens need not say how long the answer may get.
func checkCall(body value, counting bool) (*call, error) {
	if body.kind != '{' {
		return nil, invalid("the body is not a JSON object")
	}
	for _, f := range body.fields {
		if !slices.Contains(messageFields, f.key) && !slices.Contains(droppedFields, f.key) {
			return nil, forbidden("dayclaude does not forward the field %.40q", f.key)
		}
	}
	c := &call{body: body.only(messageFields)}
	if m := body.get("model"); m != nil {
		c.model = m.string()
	}
	if n := body.get("max_tokens"); n != nil && n.kind == 0 {
		tokens, err := strconv.ParseInt(string(n.text), 10, 32)
		if err != nil || tokens < 0 {
			return nil, invalid("max_tokens is not a number of tokens")
		}
		c.maxTokens = tokens
	} else if !counting {
		return nil, invalid("max_tokens is missing")
	}
	if s := body.get("stream"); s != nil {
		if s.kind != 't' && s.kind != 'f' {
			return nil, invalid("stream is neither true nor false")
		}
		c.stream = s.kind == 't'
	}
	for _, check := range []func() error{c.checkTools, c.checkSystem, c.checkMessages, c.checkEdits} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	c.findCaching(c.body)
	return c, nil
}

// encode is the body as it is sent upstream.
func (c *call) encode() []byte { return c.body.appendTo(make([]byte, 0, c.size)) }

// checkTools lets through tools that the caller runs himself. Those that run
// at the vendor's fetch addresses, execute code or speak MCP.
func (c *call) checkTools() error {
	tools := c.body.get("tools")
	if tools == nil {
		return nil
	}
	if tools.kind != '[' {
		return invalid("tools is not a list")
	}
	for _, tool := range tools.items {
		if err := checkTool(tool); err != nil {
			return err
		}
	}
	return nil
}

func checkTool(tool value) error {
	if t := tool.get("type"); tool.kind != '{' || t != nil && t.string() != "custom" {
		return forbidden("dayclaude forwards only tools that run in the sandbox")
	}
	for _, f := range tool.fields {
		if !slices.Contains(toolFields, f.key) {
			return forbidden("dayclaude does not forward a tool's field %.40q", f.key)
		}
	}
	return nil
}

func (c *call) checkSystem() error {
	system := c.body.get("system")
	if system == nil {
		return nil
	}
	return c.checkContent(*system, []string{"text"})
}

func (c *call) checkMessages() error {
	messages := c.body.get("messages")
	if messages == nil || messages.kind != '[' {
		return invalid("messages is not a list")
	}
	for _, m := range messages.items {
		content, config := m.get("content"), m.get("output_config")
		if content == nil {
			return invalid("a message has no content")
		}
		for _, f := range m.fields {
			if !slices.Contains(turnFields, f.key) {
				return forbidden("dayclaude does not forward a message's field %.40q", f.key)
			}
		}
		if config != nil && len(config.only([]string{"effort"}).fields) != len(config.fields) {
			return forbidden("dayclaude forwards only the effort in a message's output_config")
		}
		if err := c.checkContent(*content, blockKinds); err != nil {
			return err
		}
	}
	return nil
}

// Kinds of content. The first list is what a message may hold, the second
// what a tool's result or a document may.
var (
	blockKinds = []string{"text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result",
		"tool_reference", "tool_addition", "tool_removal", "connector_text", "mid_conv_system"}
	nestedKinds = []string{"text", "image", "document", "search_result", "tool_reference"}
)

// checkContent holds a content, a string or a list of blocks, against the
// kinds that are allowed there. It doesn't look into a tool's input: that's
// the model's own words, which the API doesn't interpret.
func (c *call) checkContent(content value, kinds []string) error {
	if content.kind == '"' {
		return nil
	}
	if content.kind != '[' {
		return invalid("a content is neither text nor a list of blocks")
	}
	for _, block := range content.items {
		if err := c.checkBlock(block, kinds); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) checkBlock(block value, kinds []string) error {
	var kind string
	if t := block.get("type"); t != nil {
		kind = t.string()
	}
	if !slices.Contains(kinds, kind) {
		return forbidden("dayclaude does not forward content of type %.40q here", kind)
	}
	source := block.get("source")
	switch kind {
	case "image", "document":
		if source == nil {
			return invalid("an %s has no source", kind)
		}
		if err := c.checkSource(*source); err != nil {
			return err
		}
		if kind == "image" {
			c.images++
		} else {
			c.documents++
		}
	case "search_result": // its source is a label, nothing to fetch
		if source != nil && source.kind != '"' {
			return forbidden("dayclaude forwards a search result's source only as text")
		}
	default:
		if source != nil {
			return forbidden("dayclaude does not forward a source in content of type %q", kind)
		}
	}
	if kind == "tool_addition" || kind == "tool_removal" {
		return checkToolChange(block.get("tool"))
	}
	if content := block.get("content"); content != nil {
		return c.checkContent(*content, nestedKinds)
	}
	return nil
}

// checkToolChange lets a conversation add and remove tools, by name or with a
// definition that may also stand in tools.
func checkToolChange(tool *value) error {
	if tool == nil || tool.get("type") == nil {
		return invalid("a change of tools names no tool")
	}
	switch tool.get("type").string() {
	case "tool_reference":
		return nil
	case "tool_definition":
		if definition := tool.get("definition"); definition != nil {
			return checkTool(*definition)
		}
	}
	return forbidden("dayclaude does not forward such a change of tools")
}

// checkSource lets through what the request itself carries; the vendor would
// fetch a URL for whoever wrote it.
func (c *call) checkSource(source value) error {
	var kind string
	if t := source.get("type"); t != nil {
		kind = t.string()
	}
	if !slices.Contains([]string{"base64", "text", "content"}, kind) {
		return forbidden("dayclaude forwards only content that the request carries, not a source of type %.40q", kind)
	}
	for _, f := range source.fields {
		if !slices.Contains([]string{"type", "media_type", "data", "content"}, f.key) {
			return forbidden("dayclaude does not forward a source's field %.40q", f.key)
		}
	}
	if content := source.get("content"); content != nil {
		return c.checkContent(*content, nestedKinds)
	}
	return nil
}

// checkEdits lets the API clear old parts of a conversation. It must not
// summarise them: that's a second call, whose tokens the usage leaves out.
func (c *call) checkEdits() error {
	management := c.body.get("context_management")
	if management == nil || management.kind == 'n' {
		return nil
	}
	edits := management.get("edits")
	if edits == nil || edits.kind != '[' || len(management.fields) != 1 {
		return forbidden("dayclaude does not forward such a context_management")
	}
	for _, e := range edits.items {
		if t := e.get("type"); t == nil || !strings.HasPrefix(t.string(), "clear_") {
			return forbidden("dayclaude forwards only edits that clear parts of the context")
		}
	}
	return nil
}

// findCaching finds out at which rates the prompt may be billed.
func (c *call) findCaching(v value) {
	for _, f := range v.fields {
		if f.key == "cache_control" && f.value.kind == '{' {
			c.cache = true
			if ttl := f.value.get("ttl"); ttl != nil && ttl.string() != "5m" {
				c.cache1h = true
			}
		}
		c.findCaching(f.value)
	}
	for _, item := range v.items {
		c.findCaching(item)
	}
}

// promptBound is the most tokens that the prompt can come to, without asking
// the API: a token is at least a byte; what the API adds for tools, and an
// image whatever its bytes, is less than promptExtra and imageTokens; a
// document may fill the longest context window there is.
func (c *call) promptBound(bytes int) int64 {
	const promptExtra, imageTokens, window = 4096, 8192, 1_000_000
	return int64(bytes) + promptExtra + c.images*imageTokens + c.documents*window
}

// worst is the usage that costs most for a prompt and an answer of that
// length.
func (c *call) worst(prompt, answer int64) usage {
	u := usage{Output: answer, Geo: "us"}
	switch {
	case c.cache1h:
		u.CacheWrite, u.CacheCreation.OneHour = prompt, prompt
	case c.cache:
		u.CacheWrite = prompt
	default:
		u.Input = prompt
	}
	return u
}

// shorten lowers max_tokens. It reports false if that would leave no room for
// a useful answer.
func (c *call) shorten(maxTokens int64) bool {
	const useful = 2048
	least := int64(useful)
	if thinking := c.body.get("thinking"); thinking != nil {
		if budget := thinking.get("budget_tokens"); budget != nil {
			n, err := strconv.ParseInt(string(budget.text), 10, 32)
			if err != nil {
				return false
			}
			least += n // the API wants max_tokens above it
		}
	}
	if maxTokens < least || maxTokens >= c.maxTokens {
		return false
	}
	c.maxTokens = maxTokens
	c.body.set("max_tokens", value{text: strconv.AppendInt(nil, maxTokens, 10)})
	return true
}
