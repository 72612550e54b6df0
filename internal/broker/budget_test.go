package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

func TestPrices(t *testing.T) {
	t.Parallel()
	if _, err := time.Parse(time.DateOnly, PriceDate()); err != nil {
		t.Error(err)
	}
	for model, p := range prices().Models {
		for _, r := range []Rates{p.Rates, p.rates(math.MaxInt64)} {
			if r.Input <= 0 || r.Output <= r.Input || r.CacheRead <= 0 || r.CacheRead > r.Input ||
				math.Abs(r.CacheWrite5m-1.25*r.Input) > 1e-9 || math.Abs(r.CacheWrite1h-2*r.Input) > 1e-9 {
				t.Errorf("%s: %+v", model, r)
			}
		}
	}
	for model, known := range map[string]bool{"claude-haiku-4-5-20251001": true, "claude-opus-5-5": true,
		"claude-opus": false, "claude-opus-5-5-5": false, "claude-opus-5-19990101": false, "": false} {
		if _, ok := Price(model); ok != known {
			t.Errorf("Price(%q) known: %v", model, ok)
		}
	}
	for _, tt := range []struct {
		model string
		usage string
		usd   float64
	}{
		{"claude-opus-5", `{"input_tokens":1000000,"output_tokens":1000000}`, 30},
		{"claude-opus-5", `{"cache_read_input_tokens":1000000}`, 0.5},
		{"claude-opus-5", `{"cache_creation_input_tokens":1000000}`, 6.25},
		{"claude-opus-5", `{"cache_creation_input_tokens":1000000,"cache_creation":{"ephemeral_5m_input_tokens":400000,"ephemeral_1h_input_tokens":600000}}`, 2.5 + 6},
		{"claude-opus-5", `{"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":50}}`, 50e-6},
		{"claude-opus-5", `{"output_tokens":1000000,"inference_geo":"us"}`, 27.5},
		{"claude-opus-5", `{"input_tokens":-5,"output_tokens":-7}`, 0},
		{"claude-haiku-5-5", `{"input_tokens":100000,"output_tokens":1000}`, 0.0105},
		{"claude-haiku-5-5", `{"input_tokens":50000,"cache_read_input_tokens":50001,"output_tokens":1000}`, 0.025 + 0.0025 + 50001*.05/1e6},
	} {
		var u usage
		if err := json.Unmarshal([]byte(tt.usage), &u); err != nil {
			t.Fatal(err)
		}
		p, _ := Price(tt.model)
		if got := p.usd(u.bounded()); math.Abs(got-tt.usd) > 1e-9 {
			t.Errorf("%s %s: $%f, want $%f", tt.model, tt.usage, got, tt.usd)
		}
	}
	if got, want := SandboxUSD(2, 4, 10, 30*time.Minute), (2*0.0504+4*0.0162+5*0.000108)/2; math.Abs(got-want) > 1e-9 {
		t.Errorf("sandbox $%f, want $%f", got, want)
	}
	if got := SandboxUSD(0, 0, 3, time.Hour); got != 0 {
		t.Errorf("a small disk costs $%f", got)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	var stream strings.Builder
	event(&stream, "message_start", `,"message":{"usage":{"input_tokens":3,"cache_read_input_tokens":40,"cache_creation_input_tokens":7,"output_tokens":1}}`)
	event(&stream, "content_block_delta", `,"delta":{"text":"event: message_stop\\n\\ndata: {\"usage\":{\"input_tokens\":0}} \"message_delta\""}`)
	event(&stream, "message_delta", `,"usage":{"output_tokens":5,"cache_read_input_tokens":null}`)
	stream.WriteString("data: " + strings.Repeat("x", maxEvent+10) + "\n\n: comment\r\n")
	event(&stream, "message_delta", `,"usage":{"output_tokens":99}`)
	event(&stream, "message_stop", ``)
	want := usage{Input: 3, Output: 99, CacheRead: 40, CacheWrite: 7}
	for _, size := range []int{1, 7, 1000, 1 << 30} {
		m := &meter{stream: true}
		for s := stream.String(); s != ""; {
			n := min(size, len(s))
			if _, err := io.WriteString(m, s[:n]); err != nil {
				t.Fatal(err)
			}
			s = s[n:]
		}
		if m.end(); !m.done || m.usage != want {
			t.Errorf("in parts of %d: %+v", size, m)
		}
	}
	for in, done := range map[string]bool{
		`{"type":"message","usage":{"input_tokens":3}}`:                                        true,
		`{"type":"message","usage":{"input_tokens":3}`:                                         false,
		`{"type":"message"}`:                                                                   false,
		`{"type":"error","usage":{"input_tokens":3}}`:                                          false,
		`{"type":"message","usage":{"input_tokens":3}}` + strings.Repeat(" ", maxAnswer):       false,
		"data: {\"type\":\"message_stop\"}\n":                                                  false,
		`{"type":"message","usage":{"input_tokens":3,"iterations":[{"type":"x"}]},"other":[]}`: true,
	} {
		m := &meter{}
		if _, err := io.WriteString(m, in); err != nil {
			t.Fatal(err)
		}
		if m.end(); m.done != done || done && m.usage.Input != 3 {
			t.Errorf("%.60s: %+v", in, m)
		}
	}
}

// FuzzMeter: whatever an upstream answers, and however it comes in parts, what
// is charged can be, and is no less than what the answer said so far.
func FuzzMeter(f *testing.F) {
	f.Add([]byte("data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n"), true, uint16(9))
	f.Add([]byte("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":7}}\r\n\ndata: {\"type\":\"message_stop\"}\n\n"), true, uint16(40))
	f.Add([]byte(`{"type":"message","usage":{"output_tokens":1e99}}`), false, uint16(1))
	f.Add([]byte(`{"type":"message","usage":{"cache_creation_input_tokens":-1,"cache_creation":{"ephemeral_1h_input_tokens":9}}}`), false, uint16(0))
	price, _ := Price("claude-sonnet-5")
	f.Fuzz(func(t *testing.T, in []byte, stream bool, cut uint16) {
		at := int(cut) % (len(in) + 1)
		whole, parts := &meter{stream: stream}, &meter{stream: stream}
		for m, writes := range map[*meter][][]byte{whole: {in}, parts: {in[:at], in[at:]}} {
			for _, w := range writes {
				if n, err := m.Write(w); n != len(w) || err != nil {
					t.Fatal(n, err)
				}
			}
			m.end()
		}
		if whole.usage != parts.usage || whole.begun != parts.begun || whole.done != parts.done {
			t.Errorf("whole %+v, in parts %+v", whole, parts)
		}
		u := whole.charge(&call{maxTokens: 10}, 20, time.Second)
		if usd := price.usd(u); u != u.bounded() || u.Output < whole.usage.Output || !whole.done && u.Output < 10 || usd < 0 || math.IsNaN(usd) {
			t.Errorf("%q is charged as %+v: $%f", in, u, usd)
		}
	})
}

func TestLimit(t *testing.T) {
	t.Parallel()
	const model = `{"model":"claude-sonnet-5","max_tokens":%d,"messages":[{"role":"user","content":"%s"}]%s}`
	for name, tt := range map[string]struct {
		limit     float64
		spent     float64
		body      string
		counted   int // tokens of the prompt
		maxTokens int // that the upstream sees; 0: refused
		counts    int // requests to count tokens
	}{
		"fits":                  {1, 0, fmt.Sprintf(model, 1000, "hi", ""), 5, 1000, 0},
		"fits when counted":     {0.03, 0, fmt.Sprintf(model, 1000, strings.Repeat("x", 20000), ""), 5000, 1000, 1},
		"fits with less":        {0.05, 0, fmt.Sprintf(model, 64000, "hi", ""), 5, 4543, 1},
		"no room":               {0.01, 0, fmt.Sprintf(model, 64000, "hi", ""), 5, 0, 1},
		"spent before":          {10, 9.99, fmt.Sprintf(model, 64000, "hi", ""), 5, 0, 1},
		"overspent":             {1, 2, fmt.Sprintf(model, 10, "hi", ""), 5, 0, 1},
		"prompt alone too dear": {0.01, 0, fmt.Sprintf(model, 10, strings.Repeat("x", 9000), ""), 9000, 0, 1},
		"no room to think":      {0.05, 0, fmt.Sprintf(model, 64000, "hi", `,"thinking":{"type":"enabled","budget_tokens":31999}`), 5, 0, 1},
		"documents are counted": {1, 0, strings.Replace(fmt.Sprintf(model, 10, "#", ""), `"#"`, `[{"type":"document","source":{"type":"base64","data":""}}]`, 1), 3000, 10, 1},
		"no limit":              {0, 99, fmt.Sprintf(model, 64000, "hi", ""), 5, 64000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, whole(tt.counted, 10))
			b := serve(t, Config{Anthropic: up.URL, MaxCostUSD: tt.limit, Spent: run.Cost{USD: tt.spent, OutputTokens: 7}})
			status, _, answer := b.post(t, tt.body)
			var counts, maxTokens int
			for _, r := range up.requests() {
				if strings.HasSuffix(r.URI, "count_tokens?beta=true") {
					counts++
					continue
				}
				var got struct {
					MaxTokens int `json:"max_tokens"`
				}
				if err := json.Unmarshal([]byte(r.Body), &got); err != nil {
					t.Fatal(err)
				}
				maxTokens = got.MaxTokens
			}
			if counts != tt.counts || maxTokens != tt.maxTokens {
				t.Errorf("%d counts, max_tokens %d; want %d, %d", counts, maxTokens, tt.counts, tt.maxTokens)
			}
			err := b.Exhausted()
			if refused := tt.maxTokens == 0; refused {
				if status != http.StatusForbidden || !strings.Contains(answer, "permission_error") || !strings.Contains(answer, "cost limit of $") {
					t.Errorf("got %d %s", status, answer)
				}
				if fault.KindOf(err) != fault.Limit || fault.HintOf(err) == "" || b.Spent().USD != tt.spent {
					t.Errorf("Exhausted: %v; spent %+v", err, b.Spent())
				}
			} else if status != http.StatusOK || err != nil || b.Spent().OutputTokens != 17 {
				t.Errorf("got %d %s, %v, %+v", status, answer, err, b.Spent())
			}
		})
	}
}

// TestSharedBudget: many calls at once together never cost more than the
// limit, even if each costs its worst case, and none that fits is refused
// just because others run.
func TestSharedBudget(t *testing.T) {
	t.Parallel()
	const (
		calls     = 40
		limit     = 0.2
		maxTokens = 3000 // $0.03 each at the worst
	)
	for name, output := range map[string]int{"worst case": maxTokens, "cheap": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				var got struct {
					MaxTokens int `json:"max_tokens"`
				}
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				whole(1, min(output, got.MaxTokens))(w, r)
			})
			var reports []run.Cost // OnUsage is never called by two calls at once
			b := serve(t, Config{Anthropic: up.URL, MaxCostUSD: limit, OnUsage: func(c run.Cost) { reports = append(reports, c) }})
			var ok, refused int
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range calls {
				wg.Go(func() {
					status, _, _ := b.post(t, strings.Replace(requestBody(``), "100", strconv.Itoa(maxTokens), 1))
					mu.Lock()
					defer mu.Unlock()
					switch status {
					case http.StatusOK:
						ok++
					case http.StatusForbidden:
						refused++
					}
				})
			}
			wg.Wait()
			spent := b.Spent()
			if ok+refused != calls || ok < 6 || output == 10 && refused > 0 || spent.USD > limit {
				t.Errorf("%d done, %d refused, spent %+v", ok, refused, spent)
			}
			if len(reports) != ok || reports[len(reports)-1] != spent {
				t.Errorf("%d reports for %d calls", len(reports), ok)
			}
			for i := 1; i < len(reports); i++ {
				if reports[i].USD <= reports[i-1].USD {
					t.Errorf("report %d: $%f after $%f", i, reports[i].USD, reports[i-1].USD)
				}
			}
		})
	}
}

// TestReservationIsToldFirst: before the upstream sees a call it is told what
// it may cost; a call whose cost can't be stored is not forwarded.
func TestReservationIsToldFirst(t *testing.T) {
	t.Parallel()
	var told []string
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		told = append(told, "forwarded")
		whole(5, 10)(w, r)
	})
	var failure error
	tell := func(what string, c run.Cost) {
		told = append(told, fmt.Sprintf("%s, spent %t, reserved %t", what, c.USD > 1, c.Reserved.USD > 0))
	}
	b := serve(t, Config{
		Anthropic: up.URL, MaxCostUSD: 2, Spent: run.Cost{USD: 1},
		OnReserve: func(c run.Cost) error { tell("reserve", c); return failure },
		OnUsage:   func(c run.Cost) { tell("usage", c) },
	})
	b.post(t, requestBody(``))
	if want := []string{"reserve, spent false, reserved true", "forwarded", "usage, spent true, reserved false"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	told, failure = nil, errors.New("the disk is full")
	status, _, answer := b.post(t, requestBody(``))
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "could not store what the call may cost: the disk is full") || len(told) != 1 {
		t.Errorf("got %d %s, told %q", status, answer, told)
	}
	if r, _ := b.Refusal(); r.By != ByBroker {
		t.Errorf("refused %+v", r)
	}
	failure = nil
	if status, _, _ := b.post(t, requestBody(``)); status != http.StatusOK || b.budget.reserved != (run.Reservation{}) {
		t.Errorf("then %d, %+v reserved", status, b.budget.reserved)
	}
}
