package anthropic

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// FuzzMessages holds that any body gets an answer in the API's shape.
func FuzzMessages(f *testing.F) {
	f.Add(`{"model":"claude-sonnet-5-5","max_tokens":1,"messages":[{"role":"user","content":"hello"}]}`)
	f.Add(`{"model":"claude-sonnet-5-5","max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","content":[{}]}]}]}`)
	f.Add(`{"model":"claude-sonnet-5-5","max_tokens":1,"system":7,"tools":[],"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[]},{"role":"user","content":"x"}]}`)
	f.Add(`{"messages":null}`)
	server, err := New(Options{Key: secret.New("key"), Scenario: "shop"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/messages", strings.NewReader(body))
		r.Header.Set("X-Api-Key", "key")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
			if !strings.HasSuffix(w.Body.String(), "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n") {
				t.Errorf("the stream does not end: %s", w.Body)
			}
			return
		}
		var answer struct{ Type string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || (answer.Type == "error") != (w.Code != 200) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
