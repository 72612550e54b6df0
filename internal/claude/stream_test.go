package claude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

const initLine = `{"subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.330","type":"system"}` + "\n"

func assistant(id, content string) string {
	return fmt.Sprintf(`{"type":"assistant","message":{"id":%q,"content":[%s],"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":2}}}`+"\n", id, content)
}

func follow(t *testing.T, input string) (*stream, []Event) {
	t.Helper()
	var events []Event
	s := &stream{dir: "/work/shop", yield: func(e Event) { events = append(events, e) }}
	if err := s.read(strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	return s, events
}

func TestEvents(t *testing.T) {
	begin := Event{Kind: Begin, SessionID: "s", Model: "m", Version: "2.1.330"}
	for name, test := range map[string]struct {
		input string
		want  []Event
	}{
		"nothing":          {"", nil},
		"no JSON":          {"hello\n{\n[1]\n\"system\"\nnull\n", nil},
		"unknown types":    {`{"type":"stream_event","event":{}}` + "\n" + `{"type":"system","subtype":"new"}` + "\n" + initLine, []Event{begin}},
		"no last line end": {strings.TrimSpace(initLine), []Event{begin}},
		"a field of another type leaves the rest": {
			`{"type":"system","subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.330","message":7,"num_turns":"x"}`, []Event{begin},
		},
		"a line that is too long is skipped": {
			`{"type":"system","subtype":"init","model":"` + strings.Repeat("x", maxLine) + "\"}\n" + initLine, []Event{begin},
		},
		"a long line that is not": {
			assistant("1", `{"type":"tool_use","name":"Write","input":{"file_path":"/work/shop/a","content":"`+strings.Repeat("x", maxLine-1000)+`"}}`),
			[]Event{{Kind: ToolCall, Tool: "Write", Summary: "a", InputTokens: 15, OutputTokens: 2}},
		},
		"usage counts a message once": {
			assistant("1", `{"type":"text","text":" one "}`) + assistant("1", `{"type":"text","text":"two"}`) + assistant("2", `{"type":"text","text":"three"}`),
			[]Event{
				{Kind: Said, Text: "one", InputTokens: 15, OutputTokens: 2},
				{Kind: Said, Text: "two", InputTokens: 15, OutputTokens: 2},
				{Kind: Said, Text: "three", InputTokens: 30, OutputTokens: 4},
			},
		},
		"summaries": {
			assistant("1", `{"type":"tool_use","name":"Bash","input":{"command":"\n  make\ttest \\\n -j"}},{"type":"tool_use","name":"Read","input":{"file_path":"/etc/passwd"}},
				{"type":"tool_use","name":"Edit","input":{"file_path":"/work/shop/src/../src/a.go"}},{"type":"thinking","thinking":"hm"},{"type":"text","text":" \n"}`),
			nil, // an object is one line: this one is broken in two
		},
		"tool calls": {
			assistant("1", `{"type":"tool_use","name":"Bash","input":{"command":"\n  make\ttest \\\n -j"}},{"type":"tool_use","name":"Read","input":{"file_path":"/etc/passwd"}},`+
				`{"type":"tool_use","name":"Edit","input":{"file_path":"/work/shop/src/../src/a.go"}},{"type":"thinking","thinking":"hm"},{"type":"text","text":" \n"}`),
			[]Event{
				{Kind: ToolCall, Tool: "Bash", Summary: `make test \`, InputTokens: 15, OutputTokens: 2},
				{Kind: ToolCall, Tool: "Read", Summary: "/etc/passwd", InputTokens: 15, OutputTokens: 2},
				{Kind: ToolCall, Tool: "Edit", Summary: "src/a.go", InputTokens: 15, OutputTokens: 2},
			},
		},
		"tool results": {
			`{"type":"user","message":{"content":[{"type":"tool_result","content":"\u001b[31mFAIL\u001b[0m\u0007 x\nmore","is_error":true},` +
				`{"type":"tool_result","content":[{"type":"text","text":"ok"},{"type":"image"}]},{"type":"tool_result"},{"type":"text","text":"no"}]}}` + "\n" +
				`{"type":"user","message":{"content":"a prompt"}}`,
			[]Event{{Kind: ToolResult, Summary: "FAIL x", Failed: true}, {Kind: ToolResult, Summary: "ok"}, {Kind: ToolResult}},
		},
		"retry, denial, usage limit": {
			`{"type":"system","subtype":"api_retry","attempt":2,"retry_delay_ms":1500.5,"error":"overloaded"}` + "\n" +
				`{"type":"system","subtype":"permission_denied","tool_name":"Bash"}` + "\n" +
				`{"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":1800000000}}` + "\n" +
				`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1800000000}}` + "\n",
			[]Event{
				{Kind: Retry, Attempt: 2, Delay: 1500500 * time.Microsecond, Reason: "overloaded"},
				{Kind: Denied, Tool: "Bash"},
				{Kind: UsageLimit, ResetsAt: time.Unix(1800000000, 0).UTC()},
			},
		},
		"an API error is not said by Claude": {
			`{"type":"assistant","error":"server_error","message":{"id":"1","content":[{"type":"text","text":"API Error"}]}}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, events := follow(t, test.input); !reflect.DeepEqual(events, test.want) {
				t.Errorf("events %+v\nwant   %+v", events, test.want)
			}
		})
	}
}

func TestResults(t *testing.T) {
	spent := `"model_usage_since_last_result":{"a":{"inputTokens":1,"cacheReadInputTokens":2,"cacheCreationInputTokens":3,"outputTokens":4,"costUSD":0.5},"b":{"inputTokens":10}}`
	answered := `{"type":"result","subtype":"success","result":"first","num_turns":1,` + spent + "}\n"
	for name, test := range map[string]struct {
		input string
		want  Result
	}{
		"answered": {answered, Result{Ending: Answered, Answer: "first", Turns: 1, InputTokens: 16, OutputTokens: 4, CostUSD: 0.5}},
		"the last one wins and usage adds up": {
			answered + initLine + `{"type":"result","subtype":"success","result":"second","num_turns":3,` + spent + "}",
			Result{Ending: Answered, Answer: "second", SessionID: "s", Turns: 3, InputTokens: 32, OutputTokens: 8, CostUSD: 1},
		},
		"an error after an answer": {
			answered + `{"type":"result","subtype":"error_max_turns","is_error":true,"num_turns":2,"errors":["too","many"]}`,
			Result{Ending: MaxTurns, Message: "too\nmany", Turns: 2, InputTokens: 16, OutputTokens: 4, CostUSD: 0.5},
		},
		"API error": {
			`{"type":"assistant","error":"billing_error","message":{"id":"1","content":[{"type":"text","text":"no credit"}]}}` + "\n" +
				`{"type":"result","subtype":"success","is_error":true,"terminal_reason":"api_error"}`,
			Result{Ending: APIError, API: "billing_error", Message: "no credit"},
		},
		"a usage limit keeps its reset": {
			`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1800000000}}` + "\n" +
				`{"type":"assistant","error":"rate_limit","message":{"id":"1","content":[{"type":"text","text":"limit"}]}}` + "\n" +
				`{"type":"result","subtype":"success","is_error":true,"result":"You've hit your limit"}`,
			Result{Ending: APIError, API: "rate_limit", Message: "You've hit your limit", ResetsAt: time.Unix(1800000000, 0).UTC()},
		},
		"budget":         {`{"type":"result","subtype":"error_max_budget_usd"}`, Result{Ending: Budget}},
		"execution":      {`{"type":"result","subtype":"error_during_execution"}`, Result{Ending: Execution}},
		"unknown ending": {`{"type":"result","subtype":"error_new"}`, Result{Ending: Execution}},
		"bounded": {
			`{"type":"result","subtype":"success","result":"` + strings.Repeat("ä", maxAnswer) + `"}`,
			Result{Ending: Answered, Answer: strings.Repeat("ä", maxAnswer/2-2) + "…"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if s, _ := follow(t, test.input); !s.ended || !reflect.DeepEqual(s.result, test.want) {
				t.Errorf("result %+v\nwant   %+v", s.result, test.want)
			}
		})
	}
}

func TestProjectName(t *testing.T) {
	if got, want := TranscriptPath("/home/a", "/home/a/work/my_shop.v2/", "id"), "/home/a/.claude/projects/-home-a-work-my-shop-v2/id.jsonl"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzStream holds that whatever Claude Code prints, what comes out of it is
// bounded and clean.
func FuzzStream(f *testing.F) {
	f.Add([]byte(initLine + assistant("1", `{"type":"text","text":"hello"}`) + `{"type":"result","subtype":"success","result":"done"}`))
	f.Add([]byte(assistant("1", `{"type":"tool_use","name":"Bash","input":{"command":"\u001b]0;x\u0007ls"}}`)))
	f.Add([]byte(`{"type":"user","message":{"content":[{"type":"tool_result","content":[{"type":"text","text":"\ud800"}]}]}}`))
	f.Add([]byte(`{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":9223372036854775807}}`))
	f.Add([]byte(`{"type":"result","subtype":"x","model_usage_since_last_result":{"a":{"costUSD":1e308},"b":{"costUSD":1e308}}}`))
	f.Add([]byte(`{"type":"result","subtype":"x","num_turns":-1,"model_usage_since_last_result":{"a":{"inputTokens":9223372036854775807,"outputTokens":-9},"b":{"inputTokens":1}}}`))
	f.Add([]byte(`{"type":"assistant","message":{"usage":{"input_tokens":9223372036854775807,"output_tokens":-1},"content":[{"type":"text","text":"a"}]}}`))
	f.Add([]byte(`{"type":"system","subtype":"api_retry","attempt":-3,"retry_delay_ms":-1e300}`))
	f.Add([]byte("{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,\"result\":\"\xff\x00\"}"))
	f.Fuzz(func(t *testing.T, input []byte) {
		held := func(what, s string, most int) {
			if len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
				return unicode.IsControl(r) && r != '\n' && r != '\t'
			}) {
				t.Errorf("%s: %d bytes, at most %d clean ones are allowed: %q", what, len(s), most, s)
			}
		}
		marshals := func(v any) {
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		}
		possible := func(figures ...int64) {
			if slices.Min(figures) < 0 {
				t.Errorf("there is none of which there are less than none: %d", figures)
			}
		}
		s := &stream{dir: "/work/shop", yield: func(e Event) {
			marshals(e)
			possible(e.InputTokens, e.OutputTokens, int64(e.Attempt), int64(e.Delay))
			held("text", e.Text, maxSaid)
			held("summary", e.Summary, maxSummary)
			if strings.Contains(e.Summary, "\n") {
				t.Errorf("summary of several lines: %q", e.Summary)
			}
			for _, word := range []string{e.Tool, e.SessionID, e.Model, e.Version, e.Reason} {
				held("word", word, maxWord)
			}
		}}
		if err := s.read(bytes.NewReader(input)); err != nil {
			t.Fatal(err)
		}
		marshals(s.result)
		held("answer", s.result.Answer, maxAnswer)
		held("message", s.result.Message, maxMessage)
		held("api", s.result.API, maxWord)
		r := s.result
		possible(r.InputTokens, r.OutputTokens, int64(r.Turns), int64(math.Floor(r.CostUSD)))
		if endings := []Ending{Answered, APIError, MaxTurns, Budget, Execution}; s.ended != slices.Contains(endings, r.Ending) {
			t.Errorf("ended %t with %q", s.ended, r.Ending)
		}
	})
}
