package lightclaude

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What a call asks for, as Claude Code does.
const (
	maxTokens = 128_000
	apiVer    = "2023-06-01"
	oauthBeta = "oauth-2025-04-20"
)

// Pauses before retries: a tenth of Claude Code's, unless the environment has
// RealPauses. A limit that is further away than patience is not waited for.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 3200 * time.Millisecond
	patience     = time.Minute
)

// RealPauses is the variable that makes pauses as long as Claude Code's.
const RealPauses = "LIGHT_REAL_PAUSES"

// callError is a call that failed.
type callError struct {
	status     int // 0: no answer came, or none that was whole
	message    string
	retryAfter time.Duration
	resetsAt   int64 // of a subscription's limit, in Unix seconds; 0: it is not one
}

func (e *callError) Error() string { return e.message }

// word is the error in one word, as retries tell it.
func (e *callError) word() string {
	switch e.status {
	case 0:
		return "unknown"
	case 529:
		return "overloaded"
	}
	kind, _ := e.told("")
	return kind
}

// told is the error as the end of a run tells it.
func (e *callError) told(model string) (kind, text string) {
	switch {
	case e.status == 0:
		return "server_error", "API Error: " + e.message
	case e.status == 400 && strings.Contains(strings.ToLower(e.message), "credit balance"), e.status == 402:
		return "billing_error", "Credit balance is too low"
	case e.status == 401:
		return "authentication_failed", "Not logged in · Please run /login"
	case e.status == 403:
		return "authentication_failed", "Failed to authenticate. API Error: 403 " + e.message
	case e.status == 404:
		return "model_not_found", "There's an issue with the selected model (" + model + "). It may not exist or you may not have access to it. Run --model to pick a different model."
	case e.resetsAt > 0:
		return "rate_limit", "You've hit your 5-hour limit · resets " + time.Unix(e.resetsAt, 0).UTC().Format("3:04pm (MST)")
	case e.status == 429:
		return "rate_limit", "API Error: Request rejected (429) · " + e.message
	case e.status == 529:
		return "server_error", "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment."
	case e.status >= 500:
		return "server_error", fmt.Sprintf("API Error: %d %s", e.status, e.message)
	}
	return "invalid_request", fmt.Sprintf("API Error: %d %s", e.status, e.message)
}

// again reports whether another attempt may help.
func (e *callError) again() bool {
	switch e.status {
	case 0, 401, 408, 409:
		return true
	case 429:
		return e.resetsAt == 0 && e.retryAfter <= patience
	}
	return e.status >= 500
}

// ask calls the model until it answers or another attempt is pointless. Each
// retry is told of.
func (t *turn) ask(ctx context.Context) (*message, error) {
	pause, longest := firstPause, longestPause
	if os.Getenv(RealPauses) != "" {
		pause, longest = 10*pause, 10*longest
	}
	for n := 1; ; n++ {
		answer, err := t.call(ctx)
		failed, ok := errors.AsType[*callError](err)
		if !ok || !failed.again() || n > t.maxRetries || ctx.Err() != nil {
			return answer, err
		}
		wait := max(pause, failed.retryAfter)
		pause = min(2*pause, longest)
		status := any(failed.status)
		if failed.status == 0 {
			status = nil
		}
		t.say(object{
			"type": "system", "subtype": "api_retry", "attempt": n, "max_retries": t.maxRetries,
			"retry_delay_ms": wait.Milliseconds(), "error_status": status, "error": failed.word(),
		})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// call calls the model once.
func (t *turn) call(ctx context.Context) (*message, error) {
	body, err := json.Marshal(t.request())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+"/v1/messages?beta=true", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "claude-cli/" + Version,
		"Anthropic-Version": apiVer, "X-Claude-Code-Session-Id": t.session.id, "X-Api-Key": t.key,
	} {
		r.Header.Set(name, value)
	}
	if t.token != "" {
		r.Header.Del("X-Api-Key")
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	if t.oauth {
		r.Header.Set("Anthropic-Beta", oauthBeta)
	}
	resp, err := t.client.Do(r)
	if err != nil {
		return nil, unanswered(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, t.refusal(resp)
	}
	answer, err := readStream(resp.Body)
	if err != nil {
		return nil, unanswered(err)
	}
	return answer, nil
}

func unanswered(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return &callError{message: "Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)"}
	} else if errors.Is(err, context.DeadlineExceeded) {
		return &callError{message: "Request timed out. Check your internet connection and proxy settings"}
	}
	return &callError{message: "Connection dropped (ECONNRESET). Check the gateway set in ANTHROPIC_BASE_URL, then try again."}
}

// refusal is an answer that is an error.
func (t *turn) refusal(resp *http.Response) error {
	e := &callError{status: resp.StatusCode, message: resp.Status}
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what came is what counts
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		e.message = said.Error.Message
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	if t.oauth && resp.Header.Get("Anthropic-Ratelimit-Unified-Status") == "rejected" {
		e.resetsAt, _ = strconv.ParseInt(resp.Header.Get("Anthropic-Ratelimit-Unified-Reset"), 10, 64)
	}
	return e
}

// request is a call's body.
func (t *turn) request() object {
	cached := &cacheControl{Type: "ephemeral"}
	system := "You are a light stand-in for Claude Code.\n\n# Environment\n - Primary working directory: " + t.dir + "\n\n" + t.system
	messages := make([]object, len(t.session.conversation))
	for i, m := range t.session.conversation {
		content := m.Content
		if i == len(messages)-1 {
			content = slices.Clone(content)
			content[len(content)-1].Cache = cached
		}
		messages[i] = object{"role": m.Role, "content": content}
	}
	tools := make([]object, len(t.tools))
	for i, name := range t.tools {
		tools[i] = object{"name": name, "description": name, "input_schema": object{"type": "object"}}
	}
	return object{
		"model": t.model, "max_tokens": maxTokens, "stream": true, "tools": tools, "messages": messages,
		"system": []block{{Type: "text", Text: system, Cache: cached}},
	}
}

// streamEvent is any of a streamed answer's events.
type streamEvent struct {
	Type    string  `json:"type"`
	Message message `json:"message"`       // message_start
	Block   block   `json:"content_block"` // content_block_start
	Delta   struct {
		Text string `json:"text"`
		JSON string `json:"partial_json"`
	} `json:"delta"`
	Usage *usage `json:"usage"` // message_delta
}

// readStream puts an answer together. One that does not come to its end is an
// error.
func readStream(r io.Reader) (*message, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	var answer message
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e streamEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return nil, err
		}
		switch last := len(answer.Content) - 1; e.Type {
		case "message_start":
			answer = e.Message
		case "content_block_start":
			e.Block.Input = nil // it comes in pieces
			answer.Content = append(answer.Content, e.Block)
		case "content_block_delta":
			if last < 0 {
				return nil, io.ErrUnexpectedEOF
			}
			answer.Content[last].Text += e.Delta.Text
			answer.Content[last].Input = append(answer.Content[last].Input, e.Delta.JSON...)
		case "message_delta":
			if e.Usage != nil {
				answer.Usage = e.Usage
			}
		case "message_stop":
			return &answer, nil
		}
	}
	return nil, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}
