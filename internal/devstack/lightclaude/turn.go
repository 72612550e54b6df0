package lightclaude

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/google/uuid"
)

// object is a JSON object.
type object = map[string]any

// turn is what one process does: it answers one prompt.
type turn struct {
	*options
	session *session
	client  *http.Client

	calls  int // of the model
	used   usage
	answer string
}

// begin opens the session and puts the prompt into it.
func begin(o *options) (*turn, error) {
	s, err := openSession(o)
	if err != nil {
		return nil, err
	}
	t := &turn{options: o, session: s, client: &http.Client{Transport: &http.Transport{}}}
	return t, s.keep(message{Role: "user", Content: blocks{{Type: "text", Text: o.prompt}}})
}

// Interruptions: in a tool's time Claude Code tells of it, in a call's not.
var (
	errInTool = errors.New("interrupted in a tool")
	errInCall = errors.New("interrupted in a call")
)

// run answers the prompt and returns the exit code.
func (t *turn) run(ctx context.Context) int {
	defer t.client.CloseIdleConnections()
	defer t.session.file.Close()
	t.say(object{
		"type": "system", "subtype": "init", "cwd": t.dir, "tools": t.tools, "model": t.model,
		"permissionMode": "bypassPermissions", "claude_code_version": Version,
	})
	err := t.work(ctx)
	failed, ok := errors.AsType[*callError](err)
	switch {
	case err == nil:
		t.end(object{"subtype": "success", "is_error": false, "terminal_reason": "completed", "result": t.answer})
	case errors.Is(err, errInCall):
		return 0
	case errors.Is(err, errInTool):
		t.end(object{"subtype": "error_during_execution", "is_error": true, "errors": []string{"Request was aborted"}})
		return 0
	case errors.Is(err, errMaxTurns):
		t.calls++
		t.end(object{
			"subtype": "error_max_turns", "is_error": true, "terminal_reason": "max_turns",
			"errors": []string{fmt.Sprintf("Reached maximum number of turns (%d)", t.maxTurns)},
		})
		return 1
	case ok:
		t.fail(failed)
		return 1
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var errMaxTurns = errors.New("no turn is left")

// work calls the model and carries out what it asks for, until it answers.
func (t *turn) work(ctx context.Context) error {
	for {
		answer, err := t.ask(ctx)
		if ctx.Err() != nil {
			return errInCall
		} else if err != nil {
			return err
		}
		t.calls++
		t.used.add(answer.Usage)
		if err := t.session.keep(*answer); err != nil {
			return err
		}
		var results, words blocks
		for i, part := range answer.parts() {
			t.say(object{"type": "assistant", "message": part})
			if b := answer.Content[i]; b.Type == "tool_use" {
				results = append(results, t.use(ctx, b))
			} else {
				words = append(words, b)
			}
		}
		if ctx.Err() != nil {
			return errInTool
		}
		if results == nil {
			t.answer = words.text()
			return nil
		}
		given := message{Role: "user", Content: results}
		if err := t.session.keep(given); err != nil {
			return err
		}
		t.say(object{"type": "user", "message": given})
		if t.calls == t.maxTurns {
			return errMaxTurns
		}
	}
}

func (b blocks) text() string {
	var all strings.Builder
	for _, part := range b {
		all.WriteString(part.Text)
	}
	return all.String()
}

func (u *usage) add(more *usage) {
	if more == nil {
		return
	}
	u.Input += more.Input
	u.CacheWrite += more.CacheWrite
	u.CacheRead += more.CacheRead
	u.Output += more.Output
}

// fail tells of a call that failed for good.
func (t *turn) fail(e *callError) {
	if e.resetsAt > 0 {
		t.say(object{"type": "rate_limit_event", "rate_limit_info": object{"status": "rejected", "resetsAt": e.resetsAt}})
	}
	kind, text := e.told(t.model)
	t.say(object{
		"type": "assistant", "error": kind,
		"message": message{ID: uuid.NewString(), Role: "assistant", Content: blocks{{Type: "text", Text: text}}},
	})
	t.calls++
	t.end(object{"subtype": "success", "is_error": true, "terminal_reason": "api_error", "result": text})
}

// end says how it ended and what was used.
func (t *turn) end(how object) {
	how["type"], how["num_turns"], how["total_cost_usd"] = "result", t.calls, 0
	how["model_usage_since_last_result"] = object{t.model: object{
		"inputTokens": t.used.Input, "cacheReadInputTokens": t.used.CacheRead,
		"cacheCreationInputTokens": t.used.CacheWrite, "outputTokens": t.used.Output,
	}}
	t.say(how)
}

// say writes one line of the stream. Nobody is left to hear of it when that
// fails.
func (t *turn) say(o object) {
	o["session_id"], o["uuid"] = t.session.id, uuid.NewString()
	text, _ := json.Marshal(o) // nothing in it can fail
	_, _ = os.Stdout.Write(append(text, '\n'))
}
