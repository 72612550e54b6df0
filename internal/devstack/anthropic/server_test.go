package anthropic_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key   = "sk-ant-api03-CANARY-key"
	oauth = "sk-ant-oat01-CANARY-token"
)

// scenarios makes scenario files out of name → content.
func scenarios(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name+".yaml"] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func start(t *testing.T, options anthropic.Options) *anthropic.Server {
	t.Helper()
	options.Key, options.OAuth = secret.New(key), secret.New(oauth)
	server, err := anthropic.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return server
}

// call sends a request with the API key unless the header says otherwise.
func call(t *testing.T, server *anthropic.Server, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	r.Header.Set("Anthropic-Version", "2023-06-01")
	for i := 0; i < len(header); i += 2 {
		if r.Header.Del(header[i]); header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// body is a request for the messages, in JSON, and further fields.
func body(messages string, more ...string) string {
	return `{"model":"claude-sonnet-5-5","max_tokens":100,"messages":[` + messages + `]` + strings.Join(more, "") + `}`
}

const (
	hello    = `{"role":"user","content":"scenario:script hello"}`
	bashTool = `,"tools":[{"name":"Bash"},{"name":"Read"},{"name":"Edit"},{"name":"Write"}]`
)

func TestRefusals(t *testing.T) {
	server := start(t, anthropic.Options{})
	use := `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"Bash","input":{}}]}`
	result := func(id string) string {
		return `{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + id + `","content":"x"}]}`
	}
	for name, test := range map[string]struct {
		body   string
		header []string
		status int
		kind   string
		says   string
	}{
		"no key":              {body(hello), []string{"X-Api-Key", ""}, 401, "authentication_error", "x-api-key header is required"},
		"wrong key":           {body(hello), []string{"X-Api-Key", "sk-ant-wrong"}, 401, "authentication_error", "invalid x-api-key"},
		"key as bearer":       {body(hello), []string{"X-Api-Key", "", "Authorization", "Bearer " + key}, 401, "authentication_error", "Invalid bearer token"},
		"OAuth without beta":  {body(hello), []string{"X-Api-Key", "", "Authorization", "Bearer " + oauth}, 401, "authentication_error", "not supported"},
		"no version":          {body(hello), []string{"Anthropic-Version", ""}, 400, "invalid_request_error", "anthropic-version"},
		"no JSON":             {`hello`, nil, 400, "invalid_request_error", "not valid JSON"},
		"no object":           {`[]`, nil, 400, "invalid_request_error", "not valid JSON"},
		"a field's type":      {`{"model":7}`, nil, 400, "invalid_request_error", "model"},
		"no model":            {`{"max_tokens":1,"messages":[` + hello + `]}`, nil, 400, "invalid_request_error", "model: Field required"},
		"unknown model":       {`{"model":"claude-nope","max_tokens":1,"messages":[` + hello + `]}`, nil, 404, "not_found_error", "model: claude-nope"},
		"no max_tokens":       {`{"model":"claude-sonnet-5-5","messages":[` + hello + `]}`, nil, 400, "invalid_request_error", "max_tokens: Field required"},
		"max_tokens 0":        {`{"model":"claude-sonnet-5-5","max_tokens":0,"messages":[` + hello + `]}`, nil, 400, "invalid_request_error", "max_tokens"},
		"no messages":         {`{"model":"claude-sonnet-5-5","max_tokens":1}`, nil, 400, "invalid_request_error", "messages: Field required"},
		"empty messages":      {body(``), nil, 400, "invalid_request_error", "at least one message"},
		"unknown role":        {body(`{"role":"robot","content":"x"}`), nil, 400, "invalid_request_error", "messages.0.role"},
		"begins as assistant": {body(`{"role":"assistant","content":"x"}`), nil, 400, "invalid_request_error", "first message"},
		"begins as system":    {body(`{"role":"system","content":"x"}`), nil, 400, "invalid_request_error", "system"},
		"empty content":       {body(`{"role":"user","content":[]}`), nil, 400, "invalid_request_error", "non-empty content"},
		"empty text":          {body(`{"role":"user","content":""}`), nil, 400, "invalid_request_error", "non-empty"},
		"block without type":  {body(`{"role":"user","content":[{"text":"x"}]}`), nil, 400, "invalid_request_error", "type: Field required"},
		"result of no call":   {body(hello + "," + result("a")), nil, 400, "invalid_request_error", "unexpected `tool_use_id`"},
		"result of another":   {body(hello + "," + use + "," + result("b")), nil, 400, "invalid_request_error", "unexpected `tool_use_id`"},
		"call without result": {body(hello + "," + use + "," + hello), nil, 400, "invalid_request_error", "without `tool_result`"},
		"too large":           {body(`{"role":"user","content":"` + strings.Repeat("x", 32<<20) + `"}`), nil, 413, "request_too_large", "maximum size"},
	} {
		t.Run(name, func(t *testing.T) {
			response, text := call(t, server, "POST", "/v1/messages?beta=true", test.body, test.header...)
			var got struct {
				Type  string `json:"type"`
				Error struct {
					Type    string `json:"type"`
					Message string `json:"message"`
				} `json:"error"`
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%v in %q", err, text)
			}
			if response.StatusCode != test.status || got.Type != "error" || got.Error.Type != test.kind || !strings.Contains(got.Error.Message, test.says) {
				t.Errorf("%d %s", response.StatusCode, text)
			}
			if got.RequestID == "" || got.RequestID != response.Header.Get("Request-Id") {
				t.Errorf("request id %q, in the header %q", got.RequestID, response.Header.Get("Request-Id"))
			}
		})
	}
	if response, _ := call(t, server, "POST", "/v1/messages/batches", "{}"); response.StatusCode != 404 {
		t.Errorf("another path: %s", response.Status)
	}
}

// TestScript follows a conversation as Claude Code does: each request holds
// what was said before.
func TestScript(t *testing.T) {
	server := start(t, anthropic.Options{Scenarios: scenarios(map[string]string{"script": `
steps:
  - {say: "I look at {{cwd}}.", read: a/b.txt, expect: found}
  - {bash: 'cat {{cwd}}/x', may_fail: true}
  - say: "Done with {{model}}: {{results}}"
follow_ups:
  - - say: And more.
`})})
	conversation := `{"role":"user","content":[{"type":"text","text":"<system-reminder>\n - Primary working directory: /w/shop\n</system-reminder>"},{"type":"text","text":"scenario:script"}]}`
	ask := func(more string) (blocks []map[string]any, stop string) {
		t.Helper()
		conversation += more
		response, text := call(t, server, "POST", "/v1/messages", body(conversation, bashTool))
		var m struct {
			Content    []map[string]any `json:"content"`
			StopReason string           `json:"stop_reason"`
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil || response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, text)
		}
		said, err := json.Marshal(m.Content)
		if err != nil {
			t.Fatal(err)
		}
		conversation += `,{"role":"assistant","content":` + string(said) + `}`
		return m.Content, m.StopReason
	}
	result := func(use map[string]any, text string) string {
		return `,{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + use["id"].(string) + `","content":"` + text + `"}]}`
	}

	first, stop := ask("")
	if stop != "tool_use" || len(first) != 2 || first[0]["text"] != "I look at /w/shop." ||
		first[1]["name"] != "Read" || first[1]["input"].(map[string]any)["file_path"] != "/w/shop/a/b.txt" {
		t.Fatalf("first answer: %v, %s", first, stop)
	}
	before := conversation
	if again, _ := ask(result(first[1], "nothing")); !strings.Contains(again[0]["text"].(string), `expected "found"`) {
		t.Errorf("an unmet expectation: %v", again)
	}
	if broken := server.Broken(); len(broken) != 1 || !strings.HasPrefix(broken[0], "Scenario script, step 1:") {
		t.Errorf("broken: %q", broken)
	}
	conversation = before
	second, _ := ask(result(first[1], "found it"))
	if second[0]["name"] != "Bash" || second[0]["input"].(map[string]any)["command"] != "cat /w/shop/x" {
		t.Fatalf("second answer: %v", second)
	}
	if third, stop := ask(result(second[0], "no x")); stop != "end_turn" || third[0]["text"] != "Done with claude-sonnet-5-5: found it\nno x" {
		t.Errorf("third answer: %v, %s", third, stop)
	}
	if fourth, _ := ask(`,{"role":"user","content":"more?"}`); fourth[0]["text"] != "And more." {
		t.Errorf("follow-up: %v", fourth)
	}
	if fifth, _ := ask(`,{"role":"user","content":"more?"}`); fifth[0]["text"] != "Nothing is left to do." {
		t.Errorf("after the end: %v", fifth)
	}
}

// TestStream holds the order and shapes of a stream's events, and that its
// pieces make the whole.
func TestStream(t *testing.T) {
	words := strings.Repeat("größer ✓ ", 40)
	server := start(t, anthropic.Options{Scenarios: scenarios(map[string]string{
		"script": "steps:\n  - {say: '" + words + "', bash: 'echo \"" + words + "\"'}\n",
	})})
	response, text := call(t, server, "POST", "/v1/messages", body(hello, bashTool, `,"stream":true`))
	if got := response.Header.Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	var order []string
	var said, input strings.Builder
	scanner := bufio.NewScanner(strings.NewReader(text))
	name := ""
	for scanner.Scan() {
		line := scanner.Text()
		if event, ok := strings.CutPrefix(line, "event: "); ok {
			name = event
			if len(order) == 0 || order[len(order)-1] != event {
				order = append(order, event)
			}
			continue
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e struct {
			Type  string `json:"type"`
			Delta struct {
				Text    string `json:"text"`
				Partial string `json:"partial_json"`
				Stop    string `json:"stop_reason"`
			} `json:"delta"`
			Usage anthropic.Usage `json:"usage"`
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Type != name {
			t.Fatalf("event %s with data %s: %v", name, data, err)
		}
		said.WriteString(e.Delta.Text)
		input.WriteString(e.Delta.Partial)
		if name == "message_delta" && (e.Delta.Stop != "tool_use" || e.Usage.OutputTokens < 200 || e.Usage.InputTokens == 0) {
			t.Errorf("message_delta: %s", data)
		}
	}
	want := []string{
		"message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
		"content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
	}
	if !slices.Equal(order, want) {
		t.Errorf("events: %v", order)
	}
	if said.String() != strings.TrimSpace(words) {
		t.Errorf("said %q", said.String())
	}
	var call struct {
		Command string `json:"command"`
	}
	if err := json.Unmarshal([]byte(input.String()), &call); err != nil || call.Command != `echo "`+words+`"` {
		t.Errorf("tool input %s: %v", input.String(), err)
	}
}

func TestTrouble(t *testing.T) {
	server := start(t, anthropic.Options{Scenarios: scenarios(map[string]string{
		"fails":  "steps: [{fail: 429, retry_after: 7, resets_in: 1h, times: 2, say: Slow down}]",
		"cut":    "steps: [{cut: true, say: A sentence}]",
		"stall":  "steps: [{stall: true, say: A sentence that is longer than one piece of a stream may be}]",
		"tokens": "steps: [{say: x, input_tokens: 5000, output_tokens: 70}]",
	})})
	prompt := func(scenario string) string {
		return `{"role":"user","content":"scenario:` + scenario + `"}`
	}
	for i := range 3 {
		response, text := call(t, server, "POST", "/v1/messages", body(prompt("fails")))
		if i == 2 {
			if response.StatusCode != 200 || !strings.Contains(text, "Slow down") {
				t.Errorf("after the trouble: %s %s", response.Status, text)
			}
		} else if response.StatusCode != 429 || response.Header.Get("Retry-After") != "7" || !strings.Contains(text, "rate_limit_error") ||
			response.Header.Get("Anthropic-Ratelimit-Unified-Status") != "rejected" {
			t.Errorf("failure %d: %s %v %s", i, response.Status, response.Header, text)
		}
	}
	if _, text := call(t, server, "POST", "/v1/messages", body(prompt("tokens"))); !strings.Contains(text, `"input_tokens":5000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":70`) {
		t.Errorf("usage: %s", text)
	}

	stream := func(ctx context.Context, scenario string) (io.ReadCloser, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", server.URL()+"/v1/messages", strings.NewReader(body(prompt(scenario), `,"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Anthropic-Version", "2023-06-01")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		return response.Body, nil
	}
	cut, err := stream(t.Context(), "cut")
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	if text, err := io.ReadAll(cut); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(string(text), "content_block_delta") {
		t.Errorf("cut: %v after %s", err, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	stalled, err := stream(ctx, "stall")
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if text, err := io.ReadAll(stalled); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(string(text), "content_block_stop") {
		t.Errorf("stall: %v after %s", err, text)
	}
	// One that stalls for ever does not keep Close waiting: the clean-up shows.
	if endless, err := stream(t.Context(), "stall"); err == nil {
		t.Cleanup(func() { endless.Close() })
	}
}

// TestUsage holds that the counts follow what was sent, and that marked
// prefixes are written to the cache once and read from then on.
func TestUsage(t *testing.T) {
	server := start(t, anthropic.Options{Scenario: "no-change"})
	mark := `,"cache_control":{"type":"ephemeral"}`
	message := func(size int, mark string) string {
		return `{"role":"user","content":[{"type":"text","text":"` + strings.Repeat("x", size) + `"` + mark + `}]}`
	}
	ask := func(messages ...string) anthropic.Usage {
		t.Helper()
		_, text := call(t, server, "POST", "/v1/messages", body(strings.Join(messages, ","), bashTool))
		var m struct{ Usage anthropic.Usage }
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m.Usage
	}
	near := func(got, want int64) bool { return got >= want && got < want+60 }
	if u := ask(message(4000, "")); !near(u.InputTokens, 1000) || u.CacheRead+u.CacheWrite != 0 || u.OutputTokens == 0 {
		t.Errorf("nothing marked: %+v", u)
	}
	if u := ask(message(4000, mark)); !near(u.CacheWrite, 1000) || u.CacheRead+u.InputTokens != 0 {
		t.Errorf("marked: %+v", u)
	}
	if u := ask(message(4000, ""), message(8000, mark), message(400, "")); !near(u.CacheRead, 1000) || !near(u.CacheWrite, 2000) || !near(u.InputTokens, 100) {
		t.Errorf("grown: %+v", u)
	}
	_, text := call(t, server, "POST", "/v1/messages/count_tokens", `{"model":"claude-sonnet-5-5","messages":[`+message(4000, "")+`]}`)
	var count struct {
		InputTokens int64 `json:"input_tokens"`
	}
	if err := json.Unmarshal([]byte(text), &count); err != nil || !near(count.InputTokens, 1000) {
		t.Errorf("count_tokens: %s", text)
	}
}

func TestModels(t *testing.T) {
	server := start(t, anthropic.Options{Models: []string{"a", "b"}})
	_, text := call(t, server, "GET", "/v1/models", "")
	var list struct {
		Data    []struct{ ID, Type string }
		FirstID string `json:"first_id"`
		LastID  string `json:"last_id"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Data) != 2 || list.FirstID != "a" || list.LastID != "b" || list.Data[0].Type != "model" {
		t.Errorf("models: %s", text)
	}
	for id, status := range map[string]int{"b": 200, "c": 404} {
		if response, _ := call(t, server, "GET", "/v1/models/"+id, ""); response.StatusCode != status {
			t.Errorf("model %s: %s", id, response.Status)
		}
	}
}

// TestRecord holds that requests are remembered without what they must not
// hold.
func TestRecord(t *testing.T) {
	server := start(t, anthropic.Options{Scenario: "asks"})
	call(t, server, "POST", "/v1/messages?beta=true", body(hello, bashTool, `,"mcp_servers":[]`))
	call(t, server, "POST", "/v1/messages", body(hello), "X-Api-Key", "", "Authorization", "Bearer wrong-CANARY")
	requests := server.Requests()
	if len(requests) != 2 {
		t.Fatalf("%d requests", len(requests))
	}
	first, second := requests[0], requests[1]
	if !first.Authorized || first.Path != "/v1/messages?beta=true" || first.Model != "claude-sonnet-5-5" || first.Scenario != "asks" ||
		first.Step != 1 || !slices.Contains(first.Fields, "mcp_servers") || first.Usage.OutputTokens == 0 || second.Authorized || second.Model != "" {
		t.Errorf("requests: %+v", requests)
	}
	if shown, _ := json.Marshal(requests); strings.Contains(string(shown), "CANARY") || !strings.Contains(string(shown), "[redacted]") {
		t.Errorf("the record holds a secret: %s", shown)
	}
}

func TestWrongScenarios(t *testing.T) {
	for name, test := range map[string]struct{ content, says string }{
		"no YAML":         {"steps: [", "scenario x.yaml"},
		"unknown field":   {"steps: [{says: x}]", "says"},
		"no steps":        {"about: x", "no steps"},
		"empty step":      {"steps: [{expect: x}]", "step 1: says nothing"},
		"two tools":       {"steps: [{say: x}, {bash: a, read: b}]", "step 2: more than one tool"},
		"repeat too soon": {"steps: [{say: x, repeat: true}, {say: y}]", "only the last step repeats"},
		"expects nothing": {"steps: [{say: x, expect: y}]", "no tool"},
		"unknown status":  {"steps: [{fail: 418}]", "418"},
		"times of what":   {"steps: [{say: x, times: 2}]", "times without trouble"},
		"and then what":   {"steps: [{fail: 500, times: 2}]", "says nothing"},
		"in a follow-up":  {"steps: [{say: x}]\nfollow_ups: [[{}]]", "step 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := anthropic.New(anthropic.Options{Key: secret.New(key), Scenarios: scenarios(map[string]string{"x": test.content})})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
	for name, options := range map[string]anthropic.Options{
		"no credential":    {},
		"unknown scenario": {Key: secret.New(key), Scenario: "nope"},
	} {
		if _, err := anthropic.New(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestChoice(t *testing.T) {
	server := start(t, anthropic.Options{Scenarios: scenarios(map[string]string{
		"a":   "match: [apples]\nsteps: [{say: chose a}]",
		"b-2": "match: [apples and pears]\nsteps: [{say: chose b}]",
	})})
	for prompt, want := range map[string]string{
		"apples and pears":               "chose a",
		"apples, but take scenario:b-2.": "chose b",
		"scenario:none apples":           "chose a",
		"plums":                          "No scenario matches",
	} {
		if _, text := call(t, server, "POST", "/v1/messages", body(`{"role":"user","content":"`+prompt+`"}`)); !strings.Contains(text, want) {
			t.Errorf("%q: %s, want %q", prompt, text, want)
		}
	}
}
