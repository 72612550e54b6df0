package broker

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// failing answers with an error in the API's shape.
func failing(status int, kind, message string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		said := map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": "req_body"}
		_ = json.NewEncoder(w).Encode(said)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	reset := time.Unix(1800000000, 0).UTC()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		body   string // ""; a call that the broker forwards
		want   Refusal
		holds  string // in the message; "": want has all of it
	}{
		"key":          {failing(401, "authentication_error", "invalid x-api-key", "Request-Id", "req_1"), "", Refusal{ByAnthropic, 401, "authentication_error", "invalid x-api-key", "req_1", time.Time{}, 0}, ""},
		"overloaded":   {failing(529, "overloaded_error", "Overloaded"), "", Refusal{ByAnthropic, 529, "overloaded_error", "Overloaded", "req_body", time.Time{}, 0}, ""},
		"rate limit":   {failing(429, "rate_limit_error", "slow down", "Anthropic-Ratelimit-Unified-Reset", "1800000000"), "", Refusal{ByAnthropic, 429, "rate_limit_error", "slow down", "req_body", time.Time{}, 0}, ""},
		"usage limit":  {failing(429, "rate_limit_error", "limit", "Anthropic-Ratelimit-Unified-Reset", "1800000000", "Anthropic-Ratelimit-Unified-Status", "rejected"), "", Refusal{ByAnthropic, 429, "rate_limit_error", "limit", "req_body", reset, 0}, ""},
		"odd reset":    {failing(429, "rate_limit_error", "limit", "Anthropic-Ratelimit-Unified-Reset", "-1", "Anthropic-Ratelimit-Unified-Status", "rejected"), "", Refusal{ByAnthropic, 429, "rate_limit_error", "limit", "req_body", time.Time{}, 0}, ""},
		"echo":         {failing(401, "authentication_error", "no "+canary+"\x1b[2J\u202e"), "", Refusal{ByAnthropic, 401, "authentication_error", "no [redacted][2J", "req_body", time.Time{}, 0}, ""},
		"endless":      {failing(500, "api_error", strings.Repeat("e", maxError)), "", Refusal{ByAnthropic, 500, "api_error", "the API's answer could not be read", "", time.Time{}, 0}, ""},
		"proxy's page": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<h1>Bad\nGateway</h1>", 503) }, "", Refusal{ByAnthropic, 503, "", "<h1>Bad Gateway</h1>", "", time.Time{}, 0}, ""},
		"redirect":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", 307) }, "", Refusal{By: ByNetwork, Status: 502}, "redirects"},
		"hung up":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", Refusal{By: ByNetwork, Status: 502}, "EOF"},
		"other model":  {streamed(1, 1), strings.Replace(requestBody(``), "claude-sonnet-5", "claude-haiku-9", 1), Refusal{By: ByBroker, Status: 403, Type: "permission_error"}, `"claude-haiku-9" is not allowed`},
		"server tool":  {streamed(1, 1), requestBody(`"mcp_servers":[]`), Refusal{By: ByBroker, Status: 403, Type: "permission_error"}, "mcp_servers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := serve(t, Config{Anthropic: newUpstream(t, tt.answer).URL})
			if r, ok := b.Refusal(); ok {
				t.Errorf("before any call: %+v", r)
			}
			body := tt.body
			if body == "" {
				body = requestBody(``)
			}
			b.post(t, body)
			got, ok := b.Refusal()
			if tt.holds != "" && strings.Contains(got.Message, tt.holds) {
				got.Message = ""
			}
			if !ok || got != tt.want {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		gone, secure := newUpstream(t, nil), httptest.NewUnstartedServer(nil)
		gone.Close()
		secure.Config.ErrorLog = log.New(io.Discard, "", 0)
		secure.StartTLS()
		defer secure.Close()
		for url, holds := range map[string]string{gone.URL: "connection refused", secure.URL: "certificate", "http://anthropic.invalid": "anthropic.invalid"} {
			b := serve(t, Config{Anthropic: url})
			b.post(t, requestBody(``))
			if r, _ := b.Refusal(); r.By != ByNetwork || !strings.Contains(r.Message, holds) || strings.Contains(r.Message, "/v1/messages") {
				t.Errorf("%s: %+v", url, r)
			}
		}
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		b := serve(t, Config{Anthropic: up.URL})
		b.whole = 50 * time.Millisecond
		b.post(t, requestBody(``))
		if r, _ := b.Refusal(); r.By != ByNetwork || r.Message != "it said nothing for 50ms" {
			t.Errorf("got %+v", r)
		}
	})
}

// TestRefusalLasts: what Anthropic said is neither hidden by what the broker
// refuses after it, nor kept when a call succeeds.
func TestRefusalLasts(t *testing.T) {
	t.Parallel()
	answer := failing(529, "overloaded_error", "Overloaded")
	b := serve(t, Config{Anthropic: newUpstream(t, func(w http.ResponseWriter, r *http.Request) { answer(w, r) }).URL})
	step := func(what, body string, want Source) {
		t.Helper()
		b.post(t, body)
		if r, _ := b.Refusal(); r.By != want {
			t.Errorf("%s: %+v, want %q", what, r, want)
		}
	}
	bad := requestBody(`"container":"x"`)
	step("refused by the broker", bad, ByBroker)
	step("then by Anthropic", requestBody(``), ByAnthropic)
	step("then by the broker", bad, ByAnthropic)
	answer = streamed(1, 1)
	step("then none", requestBody(``), "")
	step("and again", bad, ByBroker)
	do(t, http.MethodGet, b.url+"/anthropic/v1/models", "")
	if r, _ := b.Refusal(); r.Status != 403 || !strings.Contains(r.Message, "container") {
		t.Errorf("another path counts: %+v", r)
	}
}
