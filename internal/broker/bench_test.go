package broker

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/secret"
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

// bench reports the median time of a small streamed call.
func bench(b *testing.B, url string, body string) {
	b.Helper()
	b.SetBytes(int64(len(body)))
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/v1/messages?beta=true", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || n == 0 {
			b.Fatal(resp.Status, n, err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/median")
}

func benchUpstream(b *testing.B) *httptest.Server {
	b.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Error(err)
		}
		streamed(10, 10)(w, r)
	}))
	b.Cleanup(s.Close)
	return s
}

// BenchmarkDirect calls the API, BenchmarkBroker calls it through a broker
// with a cost limit: the difference is what the broker costs.
func BenchmarkDirect(b *testing.B) {
	bench(b, benchUpstream(b).URL, conversation(b))
}

func BenchmarkBroker(b *testing.B) {
	s := serve(b, Config{Anthropic: benchUpstream(b).URL, Credential: Credential{APIKey: secret.New(canary)}, MaxCostUSD: 1e6,
		Log: slog.New(slog.DiscardHandler)})
	bench(b, s.url+"/anthropic", conversation(b))
}

// BenchmarkCheck is the broker's own work on a request.
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
