package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// brokerCalls compares a streamed model call through the broker, with a cost
// limit, with the same call made directly. The API at the end reads the
// request and streams a short answer.
func brokerCalls(ctx context.Context, rounds int) ([]row, error) {
	api := httptest.NewServer(http.HandlerFunc(answer))
	defer api.Close()
	model := anthropic.DefaultModels[0]
	b, err := broker.New(broker.Config{
		Anthropic: api.URL, Credential: broker.Credential{APIKey: secret.New("sk-ant-bench")},
		Models: []string{model}, MaxCostUSD: 1e6,
	})
	if err != nil {
		return nil, err
	}
	lent := httptest.NewServer(b)
	defer lent.Close()
	body, err := conversation(model)
	if err != nil {
		return nil, err
	}
	call := func(base string) timed {
		return func(ctx context.Context) (time.Duration, error) { return callModel(ctx, base, body) }
	}
	c, err := compare(ctx, rounds, call(lent.URL+"/anthropic"), call(api.URL))
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("model call through the broker, %d KB, against a direct one", len(body)/1000)
	return []row{c.row(what, 2*time.Millisecond, 10*time.Microsecond)}, nil
}

// callModel makes one call and reads its answer.
func callModel(ctx context.Context, base string, body []byte) (time.Duration, error) {
	begin := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/messages?beta=true", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(said, []byte("message_stop"))) {
		err = fmt.Errorf("%s: %s", resp.Status, said)
	}
	return time.Since(begin), err
}

// answer is a Messages API that says a few words.
func answer(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(kind, data string) {
		fmt.Fprintf(w, "event: %s\ndata: {\"type\":%[1]q%s}\n\n", kind, data)
		_ = http.NewResponseController(w).Flush()
	}
	send("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","content":[],"usage":{"input_tokens":10,"output_tokens":1}}`)
	send("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	for range 20 {
		send("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"a few words "}`)
	}
	send("content_block_stop", `,"index":0`)
	send("message_delta", `,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":40}`)
	send("message_stop", "")
}

// conversation is a request of the size and shape that Claude Code's have
// after some fifty turns.
func conversation(model string) ([]byte, error) {
	type object = map[string]any
	code := strings.Repeat("func f(s string) string {\n\treturn \"a\\\\b\" + s // \u00e9\n}\n", 57)
	messages := []object{{"role": "user", "content": "fix the bug"}}
	for i := range 50 {
		id := fmt.Sprintf("toolu_%d", i)
		messages = append(messages,
			object{"role": "assistant", "content": []object{{"type": "tool_use", "id": id, "name": "Read", "input": object{"file_path": "/a.go"}}}},
			object{"role": "user", "content": []object{{"type": "tool_result", "tool_use_id": id, "content": code}}})
	}
	tool := object{"name": "Read", "description": strings.Repeat("what it does ", 400), "input_schema": object{
		"type": "object", "properties": object{"file_path": object{"type": "string"}}, "required": []string{"file_path"},
	}}
	return json.Marshal(object{"model": model, "max_tokens": 32000, "stream": true, "messages": messages, "tools": []object{tool}})
}
