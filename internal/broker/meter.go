package broker

import (
	"bytes"
	"encoding/json"
	"time"
)

// meter reads the usage from an answer as its bytes pass.
type meter struct {
	stream bool // server-sent events; else one JSON object
	usage  usage
	begun  bool // the prompt's tokens are known
	done   bool // the usage is final

	kept []byte // the line, or the object, so far
	skip bool   // what is kept grew too large: the rest of it is ignored
}

// Bounds of what a meter keeps. The events that carry usage are small.
const (
	maxEvent  = 1 << 20
	maxAnswer = 8 << 20
)

// Write never fails.
func (m *meter) Write(p []byte) (int, error) {
	n := len(p)
	if !m.stream {
		m.keep(p, maxAnswer)
		return n, nil
	}
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		m.keep(line, maxEvent)
		if ended {
			if !m.skip {
				m.line(m.kept)
			}
			m.kept, m.skip = m.kept[:0], false
		}
		p = rest
	}
	return n, nil
}

func (m *meter) keep(p []byte, most int) {
	if m.skip = m.skip || len(m.kept)+len(p) > most; !m.skip {
		m.kept = append(m.kept, p...)
	}
}

// line reads one line of server-sent events. The figures of message_delta
// are totals, and replace those of message_start.
func (m *meter) line(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok || !bytes.Contains(data, []byte(`"message_`)) {
		return
	}
	usage := m.usage
	var event struct {
		Type    string `json:"type"`
		Message struct {
			Usage any `json:"usage"`
		} `json:"message"`
		Usage any `json:"usage"`
	}
	event.Message.Usage, event.Usage = &usage, &usage
	if json.Unmarshal(data, &event) != nil {
		return
	}
	switch event.Type {
	case "message_start":
		m.usage, m.begun = usage.bounded(), true
	case "message_delta":
		m.usage = usage.bounded()
	case "message_stop":
		m.done = m.begun
	}
}

// end is called when the answer has ended.
func (m *meter) end() {
	if m.stream || m.skip {
		return
	}
	var answer struct {
		Type  string `json:"type"`
		Usage *usage `json:"usage"`
	}
	if json.Unmarshal(m.kept, &answer) == nil && answer.Type == "message" && answer.Usage != nil {
		m.usage, m.begun, m.done = answer.Usage.bounded(), true, true
	}
}

// What no model exceeds, and how long it may write on after the connection is
// cut.
const (
	tokensPerSecond = 500
	allowance       = 10 * time.Second
)

// charge is what a call that was forwarded is charged. If its answer was cut
// before the final figures, nobody tells what it came to, and thinking need
// not even show in the stream. Then the prompt counts as announced, or else
// as the most expensive way of reading it, and the answer as the most that
// any model can have written in that time, up to max_tokens.
func (m *meter) charge(c *call, prompt int64, took time.Duration) usage {
	if m.done {
		return m.usage
	}
	written := int64((took + allowance).Seconds() * tokensPerSecond)
	answer := max(m.usage.Output, min(c.maxTokens, written))
	if !m.begun {
		return c.worst(prompt, answer)
	}
	u := m.usage
	u.Output = answer
	return u
}
