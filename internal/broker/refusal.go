package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Source is who kept a model call from being answered.
type Source string

// The sources of refusals.
const (
	ByAnthropic Source = "anthropic" // its API answered with an error
	ByBroker    Source = "broker"    // the call was not forwarded
	ByNetwork   Source = "network"   // no answer came, or none that can be used
)

// Refusal is why a model call was not answered. Claude Code's own account of
// it misleads: behind a dummy token every 401 is "Not logged in".
type Refusal struct {
	By        Source
	Status    int       // as Claude Code saw it
	Type      string    // the error's type as the API names it, as "overloaded_error"; may be empty
	Message   string    // in the words of whoever refused; one line, cleaned, without the credential
	RequestID string    // what Anthropic's support asks for; may be empty
	ResetsAt  time.Time // when the subscription's usage limit resets; zero if that is not it
}

// Refusal returns why the last model call failed, false if it did not.
func (b *Broker) Refusal() (Refusal, bool) {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	return b.refused, b.refused.By != ""
}

// note remembers why a model call fails, before the caller learns it. What
// Anthropic said stays until a call succeeds: whatever else a sandbox sends
// that the broker refuses, it is not why Claude failed, since a call that
// Anthropic answered had passed the broker.
func (b *Broker) note(r Refusal) {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	if r.By != ByBroker || b.refused.By == "" || b.refused.By == ByBroker {
		b.refused = r
	}
}

// answered forgets the refusals before a call that succeeded.
func (b *Broker) answered() {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	b.refused = Refusal{}
}

// refuseCall answers a model call that was not forwarded, or got no answer.
func (b *Broker) refuseCall(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil { // else nobody is there who could fail by it
		b.note(b.refusalOf(err))
	}
	b.refuse(w, r, err)
}

func (b *Broker) refusalOf(err error) Refusal {
	if own := (*refusal)(nil); errors.As(err, &own) {
		return Refusal{By: ByBroker, Status: own.status, Type: own.kind, Message: untrusted.Line(own.message, maxWords)}
	}
	var call *url.Error // its text begins with the method and URL
	if errors.As(err, &call) {
		err = call.Err
	}
	words := err.Error()
	if errors.Is(err, context.Canceled) {
		words = fmt.Sprintf("it said nothing for %s", b.idle)
	}
	return Refusal{By: ByNetwork, Status: http.StatusBadGateway, Message: untrusted.Line(b.redactor.Redact(words), maxWords)}
}

// maxWords bounds a refusal's message, in bytes.
const maxWords = 1000

// refusalIn reads the API's error from its answer, which is redacted already.
func refusalIn(resp *http.Response, body string) Refusal {
	var said struct {
		Error struct{ Type, Message string } `json:"error"`
		ID    string                         `json:"request_id"`
	}
	r := Refusal{By: ByAnthropic, Status: resp.StatusCode}
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		said.Error.Message = body // a proxy's, say
	}
	r.Type, r.Message = untrusted.Line(said.Error.Type, 60), untrusted.Line(said.Error.Message, maxWords)
	if r.RequestID = untrusted.Line(resp.Header.Get("Request-Id"), 80); r.RequestID == "" {
		r.RequestID = untrusted.Line(said.ID, 80)
	}
	if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Anthropic-Ratelimit-Unified-Status") == "rejected" {
		const year10000 = 253402300800
		if at, err := strconv.ParseInt(resp.Header.Get("Anthropic-Ratelimit-Unified-Reset"), 10, 64); err == nil && at > 0 && at < year10000 {
			r.ResetsAt = time.Unix(at, 0).UTC()
		}
	}
	return r
}
