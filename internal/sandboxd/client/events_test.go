package client

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

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

func FuzzReadEvents(f *testing.F) {
	f.Add(sse(`{"number":1,"phase":"setup","output":"x"}`, fmt.Sprintf(ending, 2)), int64(0))
	f.Add("id: 1\r\ndata: {}\r\n\r\n", int64(7))
	f.Add("data: "+strings.Repeat("[", 10_000), int64(0))
	f.Fuzz(func(t *testing.T, stream string, after int64) {
		number := after
		err := readEvents(strings.NewReader(stream), "t", after, func(e api.Event) error {
			if number++; e.Number != number {
				t.Errorf("event %d as number %d", e.Number, number)
			}
			if len(e.Output) > maxMessage || e.Claude != nil && len(e.Claude.Text) > maxSaid {
				t.Error("an event past its bounds")
			}
			return nil
		})
		if err != nil && errors.Is(err, io.EOF) && fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%v", err)
		}
	})
}
