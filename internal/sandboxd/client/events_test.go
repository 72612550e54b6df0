package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

const ending = `{"number":%d,"phase":"ended","ended":{"id":"t","phase":"ended","events":%[1]d}}`

func sse(events ...string) string {
	var out strings.Builder
	for i, e := range events {
		fmt.Fprintf(&out, ": \n\nid: %d\ndata: %s\n\n", i+1, e)
	}
	return out.String()
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	started, said := `{"number":1,"phase":"clone","started":true}`, `{"number":2,"phase":"claude","claude":{"kind":"said","text":"hi"}}`
	end := fmt.Sprintf(ending, 3)
	for name, test := range map[string]struct {
		stream string
		after  int64
		seen   int
		kind   fault.Kind // "" for success
	}{
		"whole":           {sse(started, said, end), 0, 3, ""},
		"resumed":         {sse(said, end), 1, 2, ""},
		"after the end":   {sse(started, said, end) + "garbage", 0, 3, ""},
		"cut":             {sse(started, said), 0, 2, fault.Unavailable},
		"cut in a line":   {sse(started) + "data: {", 0, 1, fault.Unavailable},
		"gap":             {sse(started, end), 0, 1, fault.Sandbox},
		"twice":           {sse(started, started), 0, 1, fault.Sandbox},
		"from the start":  {sse(started, said, end), 1, 0, fault.Sandbox},
		"not JSON":        {sse("x"), 0, 0, fault.Sandbox},
		"two things":      {sse(`{"number":1,"phase":"clone","started":true,"output":"x"}`), 0, 0, fault.Sandbox},
		"nothing":         {sse(`{"number":1,"phase":"clone"}`), 0, 0, fault.Sandbox},
		"unknown phase":   {sse(`{"number":1,"phase":"x","started":true}`), 0, 0, fault.Sandbox},
		"another's end":   {sse(`{"number":1,"phase":"ended","ended":{"id":"u","phase":"ended"}}`), 0, 0, fault.Sandbox},
		"end of no phase": {sse(`{"number":1,"phase":"ended","ended":{"id":"t"}}`), 0, 0, fault.Sandbox},
		"endless line":    {"data: " + strings.Repeat("x", maxLine), 0, 0, fault.Sandbox},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := 0
			err := readEvents(strings.NewReader(test.stream), "t", test.after, func(api.Event) error { seen++; return nil })
			if seen != test.seen || (err == nil) != (test.kind == "") || err != nil && fault.KindOf(err) != test.kind {
				t.Errorf("%d events, %v", seen, err)
			}
		})
	}
	enough := errors.New("enough")
	if err := readEvents(strings.NewReader(sse(started, said, end)), "t", 0, func(api.Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("yield's error came back as %v", err)
	}
}

// FuzzReadEvents: whatever a sandbox sends, and however it comes in parts, the
// events are in order, bounded and end with the task, or the error says why.
func FuzzReadEvents(f *testing.F) {
	f.Add(sse(`{"number":1,"phase":"setup","output":"x"}`, fmt.Sprintf(ending, 2)), int64(0))
	f.Add(sse(`{"number":1,"phase":"ended","ended":{"id":"t","phase":"ended","conflicts":["a","\xff"],"missing":[`+strings.Repeat(`"x",`, 30)+`""],"check":{"tail":"x"},"failure":{"phase":"merge"}}}`), int64(0))
	f.Add("id: 1\r\ndata: {}\r\n\r\n", int64(7))
	f.Add("data: "+strings.Repeat("[", 10_000), int64(0))
	f.Add(`data: {"number":`+strings.Repeat("1", 10_000)+"}\n", int64(0))
	f.Add(`data: {"time":"`+strings.Repeat("1", 10_000)+"\"}\n", int64(0))
	f.Add(sse(`{"number":-9223372036854775808,"phase":"claude","claude":{"kind":"said","text":"\xff\u0000"}}`), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, stream string, after int64) {
		read := func(r io.Reader) (seen []api.Event, err error) {
			err = readEvents(r, "t", after, func(e api.Event) error { seen = append(seen, e); return nil })
			return seen, err
		}
		seen, err := read(strings.NewReader(stream))
		parts, errParts := read(iotest.HalfReader(strings.NewReader(stream)))
		if !reflect.DeepEqual(seen, parts) || fmt.Sprint(err) != fmt.Sprint(errParts) {
			t.Errorf("in parts %+v, %v; whole %+v, %v", parts, errParts, seen, err)
		}
		for i, e := range seen {
			if e.Number != after+int64(i)+1 || (e.Ended != nil) != (err == nil && i == len(seen)-1) {
				t.Errorf("event %d of %d is %+v", i, len(seen), e)
			}
			held(t, e.Output, maxMessage)
			if c := e.Claude; c != nil {
				held(t, c.Text, maxSaid)
				held(t, c.Summary, maxSummary)
				for _, word := range []string{string(c.Kind), c.Tool, c.SessionID, c.Model, c.Version, c.Reason} {
					held(t, word, maxWord)
				}
			}
			if e.Ended != nil {
				heldStatus(t, e.Ended)
			}
		}
		if err == nil && len(seen) == 0 {
			t.Error("an end without the event of it")
		}
		if kind := fault.KindOf(err); err != nil && (kind != fault.Sandbox && kind != fault.Unavailable || len(err.Error()) > maxMessage+maxWord) {
			t.Errorf("%s: %.100s… of %d bytes", kind, err, len(err.Error()))
		}
	})
}

func held(t *testing.T, text string, most int) {
	t.Helper()
	if len(text) > most || !utf8.ValidString(text) {
		t.Errorf("%d bytes, at most %d of UTF-8 are allowed: %.100q", len(text), most, text)
	}
}

func heldStatus(t *testing.T, s *api.Status) {
	t.Helper()
	if s.ID != "t" {
		t.Errorf("the end of task %q", s.ID)
	}
	held(t, s.Base, maxWord)
	if len(s.Conflicts) > api.MaxPaths || len(s.Notes) > maxNotes {
		t.Errorf("%d conflicts, %d notes", len(s.Conflicts), len(s.Notes))
	}
	for _, path := range s.Conflicts {
		held(t, path, maxConflict)
	}
	for _, note := range s.Notes {
		held(t, note, maxNote)
	}
	if f := s.Failure; f != nil {
		held(t, f.Kind, maxWord)
		held(t, f.Message, maxMessage)
	}
	if s.Check != nil {
		held(t, s.Check.Tail, maxTail)
	}
	if r := s.Claude; r != nil {
		held(t, r.Answer, maxFinalWords)
		held(t, r.Message, maxMessage)
		for _, word := range []string{string(r.Ending), r.API, r.SessionID} {
			held(t, word, maxWord)
		}
		if min(int64(r.Turns), r.InputTokens, r.OutputTokens, int64(r.Duration)) < 0 || r.CostUSD < 0 {
			t.Errorf("negative figures: %+v", r)
		}
	}
}
