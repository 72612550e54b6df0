package broker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// claude runs the real Claude Code against a broker, with a dummy credential
// in an environment variable; it returns its events.
func claude(t *testing.T, url, model, credential string) string {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), testenv.Claude(t), "-p", "--output-format", "stream-json", "--verbose",
		"--dangerously-skip-permissions", "--setting-sources", "", "--strict-mcp-config", "--tools", "Bash,Read", "--model", model)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "IS_SANDBOX=1", "ANTHROPIC_BASE_URL=" + url + "/anthropic",
		credential, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "CLAUDE_CODE_MAX_RETRIES=1"}
	cmd.Stdin = strings.NewReader("go on")
	out, _ := cmd.CombinedOutput() // the events say how it ended
	if strings.Contains(string(out), "CANARY") {
		t.Error("Claude Code saw the key")
	}
	return string(out)
}

// tool answers with a call of a tool.
func tool(w http.ResponseWriter, name, input string) {
	w.Header().Set("Content-Type", "text/event-stream")
	quoted, _ := json.Marshal(input) // a string always has an encoding
	event(w, "message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1000,"output_tokens":1}}`)
	event(w, "content_block_start", fmt.Sprintf(`,"index":0,"content_block":{"type":"tool_use","id":"toolu_%s","name":%q,"input":{}}`, name, name))
	event(w, "content_block_delta", fmt.Sprintf(`,"index":0,"delta":{"type":"input_json_delta","partial_json":%s}`, quoted))
	event(w, "content_block_stop", `,"index":0`)
	event(w, "message_delta", `,"delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":100}`)
	event(w, "message_stop", ``)
}

// answer ends the conversation.
func answer(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	event(w, "message_start", `,"message":{"id":"msg_2","type":"message","role":"assistant","model":"claude-opus-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1000,"output_tokens":1}}`)
	event(w, "content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	event(w, "content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"all done here"}`)
	event(w, "content_block_stop", `,"index":0`)
	event(w, "message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":100}`)
	event(w, "message_stop", ``)
}

// TestClaudeCode: a conversation with tools, one of which reads an image,
// goes through the broker as Claude Code holds it, and the key stays outside.
// What Claude Code sends differs by model and kind of credential.
func TestClaudeCode(t *testing.T) {
	t.Parallel()
	for model, credential := range map[string]string{
		"claude-opus-5-5":           "ANTHROPIC_AUTH_TOKEN=dummy",
		"claude-opus-5":             "ANTHROPIC_AUTH_TOKEN=dummy",
		"claude-sonnet-5-5":         "CLAUDE_CODE_OAUTH_TOKEN=dummy",
		"claude-haiku-4-5-20251001": "CLAUDE_CODE_OAUTH_TOKEN=dummy",
	} {
		t.Run(model, func(t *testing.T) { testClaudeCode(t, model, credential) })
	}
}

func testClaudeCode(t *testing.T, model, credential string) {
	picture := filepath.Join(t.TempDir(), "dot.png")
	const dot = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\rIDATx\xdacd\xf8\xcfP\x0f\x00\x03\x86\x01\x80Z4}k\x00\x00\x00\x00IEND\xaeB`\x82"
	if err := os.WriteFile(picture, []byte(dot), 0o644); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		var got struct{ Messages []json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		conversation := fmt.Sprintf("%s", got.Messages)
		switch {
		case strings.HasSuffix(r.URL.Path, "/count_tokens"):
			fmt.Fprint(w, `{"input_tokens":1000}`)
		case !strings.Contains(conversation, "toolu_Bash"):
			tool(w, "Bash", `{"command":"env; echo x-api-key","description":"look"}`)
		case !strings.Contains(conversation, "toolu_Read"):
			tool(w, "Read", fmt.Sprintf(`{"file_path":%q}`, picture))
		default:
			answer(w)
		}
	})
	b := serve(t, Config{Anthropic: up.URL, Models: []string{model}, MaxCostUSD: 1})
	out := claude(t, b.url, model, credential)
	if !strings.Contains(out, `"result":"all done here"`) {
		t.Errorf("Claude Code did not get through:\n%s\n%s", out, b.log)
	}
	calls := 0
	for _, r := range up.requests() {
		if r.Header.Get("X-Api-Key") != canary || r.Header.Get("Authorization") != "" || strings.Contains(r.Body, "CANARY") {
			t.Errorf("upstream got %v", r.Header)
		}
		if strings.HasPrefix(r.URI, messagesPath+"?") {
			calls++
		}
	}
	if last := up.requests()[len(up.requests())-1]; !strings.Contains(last.Body, `"type":"image"`) {
		t.Errorf("the image is not in the conversation: %.2000s", last.Body)
	}
	if c := b.Spent(); calls != 3 || c.InputTokens != 3000 || c.OutputTokens != 300 {
		t.Errorf("%d calls, spent %+v", calls, c)
	}
}

// TestClaudeCodeStopsAtTheLimit: Claude Code takes the refusal as final, and
// its events say why.
func TestClaudeCodeStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(30000, 1))
	b := serve(t, Config{Anthropic: up.URL, Models: []string{"claude-opus-5"}, MaxCostUSD: 0.1})
	out := claude(t, b.url, "claude-opus-5", "ANTHROPIC_AUTH_TOKEN=dummy")
	if !strings.Contains(out, "cost limit of $0.10 is reached") || !strings.Contains(out, `"is_error":true`) {
		t.Errorf("Claude Code says:\n%s", out)
	}
	if err := b.Exhausted(); err == nil {
		t.Error("not exhausted")
	}
	for _, r := range up.requests() {
		if !strings.HasPrefix(r.URI, countPath) {
			t.Errorf("forwarded %s", r.URI)
		}
	}
}
