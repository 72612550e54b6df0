package anthropic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// pieceBytes is the size of the pieces in which words are streamed.
const pieceBytes = 48

// stream sends a message as server-sent events: message_start, then for each
// block its start, deltas and stop, then message_delta and message_stop. A
// stalled stream stops after its first word; a cut one breaks off there.
func (m reply) stream(w http.ResponseWriter, r *http.Request, stalls, cuts bool) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	events := sse{w, http.NewResponseController(w)}

	start := m
	start.Content, start.StopReason = []content{}, nil
	start.Usage.OutputTokens = 1
	events.send("message_start", map[string]any{"message": start})
	events.send("ping", map[string]any{})
	for i, block := range m.Content {
		first, delta, whole := block.parts()
		events.send("content_block_start", map[string]any{"index": i, "content_block": first})
		for piece := range pieces(whole) {
			events.send("content_block_delta", map[string]any{"index": i, "delta": delta(piece)})
			if stalls {
				<-r.Context().Done()
				return
			}
			if cuts {
				panic(http.ErrAbortHandler)
			}
		}
		events.send("content_block_stop", map[string]any{"index": i})
	}
	if stalls {
		<-r.Context().Done()
		return
	}
	events.send("message_delta", map[string]any{
		"delta": map[string]any{"stop_reason": m.StopReason, "stop_sequence": nil},
		"usage": m.Usage,
	})
	events.send("message_stop", map[string]any{})
}

// parts are a block as it starts, how a piece of it is sent, and all that is
// sent in pieces.
func (c content) parts() (start content, delta func(string) map[string]any, whole string) {
	if c.Type == "tool_use" {
		input, _ := json.Marshal(c.Input) // strings and booleans
		c.Input = map[string]any{}
		return c, func(s string) map[string]any {
			return map[string]any{"type": "input_json_delta", "partial_json": s}
		}, string(input)
	}
	whole, empty := *c.Text, ""
	c.Text = &empty
	return c, func(s string) map[string]any { return map[string]any{"type": "text_delta", "text": s} }, whole
}

// pieces cuts a text between its runes.
func pieces(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			end := min(pieceBytes, len(s))
			for end < len(s) && !utf8.RuneStart(s[end]) {
				end++
			}
			if !yield(s[:end]) {
				return
			}
			s = s[end:]
		}
	}
}

// sse writes server-sent events. A client that is gone shows in the request's
// context; writing to it does no harm.
type sse struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e sse) send(name string, data map[string]any) {
	data["type"] = name
	text, _ := json.Marshal(data) // nothing in it can fail
	fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", name, text)
	_ = e.control.Flush()
}
