package broker

import (
	"encoding/json"
	"strings"
	"testing"
)

// conversation is a request of about 200 KB with the shape of Claude Code's.
func conversation(b *testing.B) string {
	b.Helper()
	type m = map[string]any
	code := strings.Repeat("func f(s string) string {\n\treturn \"a\\\\b\" + s // \u00e9\n}\n", 60)
	messages := []m{{"role": "user", "content": "fix the bug"}}
	for len(messages) < 100 {
		messages = append(messages,
			m{"role": "assistant", "content": []m{{"type": "tool_use", "id": "toolu_1", "name": "Read", "input": m{"file_path": "/a.go"}}}},
			m{"role": "user", "content": []m{{"type": "tool_result", "tool_use_id": "toolu_1", "content": code}}})
	}
	var tools []m
	for range 12 {
		tools = append(tools, m{"name": "Read", "description": strings.Repeat("what it does ", 200), "input_schema": m{"type": "object",
			"properties": m{"file_path": m{"type": "string", "description": "d"}, "offset": m{"type": "integer"}}, "required": []string{"file_path"}}})
	}
	body, err := json.Marshal(m{"model": "claude-sonnet-5", "max_tokens": 32000, "stream": true, "messages": messages, "tools": tools})
	if err != nil {
		b.Fatal(err)
	}
	return string(body)
}

// BenchmarkCheck is the broker's own work on a request. What a whole call
// costs, internal/bench measures.
func BenchmarkCheck(b *testing.B) {
	body := []byte(conversation(b))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		doc, err := parseDocument(body)
		if err != nil {
			b.Fatal(err)
		}
		c, err := checkCall(doc, false)
		if err != nil {
			b.Fatal(err)
		}
		c.body.appendTo(nil)
	}
}
