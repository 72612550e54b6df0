package anthropic

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is what one request gets.
type answer struct {
	step     int // 1 is the scenario's first; 0: none
	scenario string
	Step
	call    *toolCall
	trouble bool // the step's trouble is still to be met
}

// answer chooses the scenario and the step for a request. The conversation
// itself says how far it came, so that a repeated request gets the same
// answer; only a step's trouble is counted here.
func (s *Server) answer(q *request, session string) answer {
	scenario, ok := s.scenarios.named(s.options.Scenario)
	if !ok {
		scenario, ok = s.scenarios.choose(q.Messages[0].prompt())
	}
	if !ok {
		return answer{Step: Step{Say: "No scenario matches this prompt, so nothing was done."}}
	}
	before, now, number := scenario.at(q.Messages)
	a := answer{scenario: scenario.Name, step: number}
	if complaint := unmet(before, q.results()); complaint != "" {
		complaint = fmt.Sprintf("Scenario %s, step %d: %s", scenario.Name, number-1, complaint)
		s.mu.Lock()
		s.broken = append(s.broken, complaint)
		s.mu.Unlock()
		a.Step = Step{Say: complaint}
		return a
	}
	if now == nil {
		a.Step = Step{Say: "Nothing is left to do."}
		return a
	}
	a.Step = now.fill(q)
	a.call, _ = a.Step.call(q.cwd())
	if a.call != nil && !q.offers(a.call.name) {
		a.Step, a.call = Step{Say: "This request offers no tool " + a.call.name + "."}, nil
		return a
	}
	key := session + "/" + scenario.Name + "/" + strconv.Itoa(number)
	s.mu.Lock()
	s.tries[key]++
	a.trouble = now.Times == 0 || s.tries[key] <= now.Times
	s.mu.Unlock()
	return a
}

// at finds where in the script a conversation stands: the step that was
// answered last, the next one, and its number. A later prompt begins its own
// steps if there are any for it, and otherwise goes on where the script was.
// A step whose tool was interrupted, by a kill, is taken again.
func (s *Scenario) at(conversation []message) (before, now *Step, number int) {
	steps, done, prompts := s.Steps, 0, 0
	for _, m := range conversation {
		switch {
		case m.Role == "assistant" && !slices.ContainsFunc(m.Content, block.filler):
			done++
		case slices.ContainsFunc(m.Content, block.interrupted):
			done--
		case m.prompt() != "":
			if prompts++; prompts > 1 && prompts-2 < len(s.FollowUps) {
				steps, done = s.FollowUps[prompts-2], 0
			}
		}
	}
	pick := func(i int) *Step {
		if i >= len(steps) && steps[len(steps)-1].Repeat {
			i = len(steps) - 1
		}
		if i < 0 || i >= len(steps) {
			return nil
		}
		return &steps[i]
	}
	return pick(done - 1), pick(done), done + 1
}

// What Claude Code puts into a conversation that it resumes after a kill: a
// result for the tool that was under way, and an answer to it.
func (b block) interrupted() bool {
	return b.Type == "tool_result" && strings.HasPrefix(b.text(), "[Tool call interrupted")
}

func (b block) filler() bool { return b.Type == "text" && b.Text == "No response requested." }

// fill replaces the placeholders of a step.
func (s Step) fill(q *request) Step {
	plain := strings.NewReplacer("{{cwd}}", q.cwd(), "{{model}}", q.Model)
	s.Bash = plain.Replace(s.Bash)
	if s.Write != nil {
		s.Write = &Write{Path: s.Write.Path, Content: plain.Replace(s.Write.Content)}
	}
	s.Say = plain.Replace(strings.TrimSpace(s.Say))
	if strings.Contains(s.Say, "{{results}}") {
		var all []string
		for _, m := range q.Messages {
			for _, b := range m.Content {
				if b.Type == "tool_result" {
					all = append(all, b.text())
				}
			}
		}
		s.Say = strings.ReplaceAll(s.Say, "{{results}}", strings.Join(all, "\n"))
	}
	return s
}

// unmet says what a step's tool results lack, "" if nothing.
func unmet(step *Step, results []block) string {
	if step == nil || len(results) == 0 {
		return ""
	}
	var got strings.Builder
	failed := false
	for _, b := range results {
		got.WriteString(b.text())
		failed = failed || b.IsError
	}
	switch {
	case !strings.Contains(got.String(), step.Expect):
		return fmt.Sprintf("expected %q in the tool's result, got: %s", step.Expect, got.String())
	case failed && !step.MayFail && step.Expect == "":
		return "the tool failed: " + got.String()
	}
	return ""
}

// content is one content block of a reply.
type content struct {
	Type  string         `json:"type"`
	Text  *string        `json:"text,omitempty"`
	ID    string         `json:"id,omitempty"`
	Name  string         `json:"name,omitempty"`
	Input map[string]any `json:"input,omitzero"`
}

// reply is the message object of the API.
type reply struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	Role         string    `json:"role"`
	Model        string    `json:"model"`
	Content      []content `json:"content"`
	StopReason   *string   `json:"stop_reason"`
	StopSequence *string   `json:"stop_sequence"`
	Usage        Usage     `json:"usage"`
}

// fails reports whether the answer is an error.
func (a answer) fails() bool { return a.trouble && a.Fail != 0 }

// reply makes the message that the answer is, given what the request brought
// in.
func (a answer) reply(model string, used Usage) reply {
	stop, words := "end_turn", len(a.Say)
	m := reply{ID: "msg_" + rand.Text()[:24], Type: "message", Role: "assistant", Model: model, Content: []content{}}
	if a.Say != "" {
		m.Content = append(m.Content, content{Type: "text", Text: &a.Say})
	}
	if a.call != nil {
		stop = "tool_use"
		input, _ := json.Marshal(a.call.input) // strings and booleans
		words += len(input)
		m.Content = append(m.Content, content{
			Type: "tool_use", ID: "toolu_" + rand.Text()[:24], Name: a.call.name, Input: a.call.input,
		})
	}
	if a.Stop != "" {
		stop = a.Stop
	}
	m.StopReason = &stop
	if m.Usage = used; a.InputTokens > 0 {
		m.Usage = Usage{InputTokens: a.InputTokens}
	}
	if m.Usage.OutputTokens = tokens(words); a.OutputTokens > 0 {
		m.Usage.OutputTokens = a.OutputTokens
	}
	return m
}

// send sends the answer in the form that the request asked for.
func (a answer) send(w http.ResponseWriter, r *http.Request, message reply, streamed bool) {
	if !pause(r, a.Delay) {
		return
	}
	stalls, cuts := a.trouble && a.Stall, a.trouble && a.Cut
	switch {
	case a.fails():
		a.fail(w)
	case streamed:
		message.stream(w, r, stalls, cuts)
	case stalls:
		<-r.Context().Done()
	case cuts:
		panic(http.ErrAbortHandler) // net/http's way to drop the connection
	default:
		writeJSON(w, http.StatusOK, message)
	}
}

// fail answers with the step's error.
func (a answer) fail(w http.ResponseWriter) {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.ResetsIn > 0 { // as the service tells subscriptions
		w.Header().Set("Anthropic-Ratelimit-Unified-Status", "rejected")
		w.Header().Set("Anthropic-Ratelimit-Unified-Reset", strconv.FormatInt(time.Now().Add(a.ResetsIn).Unix(), 10))
		w.Header().Set("Anthropic-Ratelimit-Unified-Representative-Claim", "five_hour")
	}
	message := a.Say
	if message == "" {
		message = "Scripted failure"
	}
	refuse(w, &apiError{a.Fail, failures[a.Fail], message})
}

// pause waits, and reports whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
