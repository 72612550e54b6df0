package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dayclaude/dayclaude/internal/notice"
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
	// RetryAfter is how long to wait in the words of the API; 0 if it said nothing of that.
	RetryAfter time.Duration
}

// Refusal returns why the last model call failed, false if it did not.
func (b *Broker) Refusal() (Refusal, bool) {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	return b.refused, b.refused.By != ""
}

// patience is about how long Claude Code tries a call anew: ten times, in 175
// to 190 seconds (measured). A call that fails slowly is not tried for longer.
const patience = 3 * time.Minute

const service = "Anthropic"

// note remembers why a model call fails, before the caller learns it, and tells
// the user of an outage. What Anthropic said stays until a call succeeds:
// whatever else a sandbox sends that the broker refuses, it is not why Claude
// failed, since a call that Anthropic answered had passed the broker.
func (b *Broker) note(ctx context.Context, r Refusal) {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	if r.By != ByBroker || b.refused.By == "" || b.refused.By == ByBroker {
		b.refused = r
	}
	if r.By == ByBroker || r.By == ByAnthropic && r.Status < http.StatusInternalServerError {
		return
	}
	if b.failing.IsZero() { // a single failure is not worth a word of ours: Claude Code tells of it
		b.failing = b.cfg.Now()
		return
	}
	why := fmt.Errorf("%s does not answer: %s", service, r.Message)
	if r.By == ByAnthropic {
		why = fmt.Errorf("%s is in trouble: %d %s", service, r.Status, cmp.Or(r.Message, r.Type))
	}
	notice.Away(ctx, service, b.failing, why, patience)
}

// answered forgets the refusals before a call that succeeded.
func (b *Broker) answered(ctx context.Context) {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	b.refused, b.failing = Refusal{}, time.Time{}
	notice.Back(ctx, service, b.cfg.Now())
}

// overdue reports whether the upstream has failed for so long that there is no
// use in trying again.
func (b *Broker) overdue() bool {
	b.refusedMu.Lock()
	defer b.refusedMu.Unlock()
	return !b.failing.IsZero() && b.cfg.Now().Sub(b.failing) >= patience
}

// refuseCall answers a model call that was not forwarded, or got no answer.
func (b *Broker) refuseCall(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil { // else nobody is there who could fail by it
		b.note(r.Context(), b.refusalOf(err))
	}
	if b.overdue() {
		w.Header().Set("X-Should-Retry", "false")
	}
	b.refuse(w, r, err)
}

func (b *Broker) refusalOf(err error) Refusal {
	if own := (*refusal)(nil); errors.As(err, &own) {
		return Refusal{By: ByBroker, Status: own.status, Type: own.kind, Message: untrusted.Line(own.message, maxWords)}
	}
	return Refusal{By: ByNetwork, Status: http.StatusBadGateway, Message: untrusted.Line(b.redactor.Redact(wordsOf(err)), maxWords)}
}

// wordsOf is an error of a request without what it begins with, the method and
// the URL.
func wordsOf(err error) string {
	if call, ok := errors.AsType[*url.Error](err); ok {
		err = call.Err
	}
	return fmt.Sprint(err)
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
	r.ResetsAt, r.RetryAfter = usageReset(resp), retryAfter(resp)
	return r
}

// usageReset is when the subscription's usage limit resets; zero if that is
// not why the API refused.
func usageReset(resp *http.Response) time.Time {
	const year10000 = 253402300800
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Anthropic-Ratelimit-Unified-Status") != "rejected" {
		return time.Time{}
	}
	at, err := strconv.ParseInt(resp.Header.Get("Anthropic-Ratelimit-Unified-Reset"), 10, 64)
	if err != nil || at <= 0 || at >= year10000 {
		return time.Time{}
	}
	return time.Unix(at, 0).UTC()
}

// retryAfter is what the header of that name says, in the form that the API
// uses: seconds.
func retryAfter(resp *http.Response) time.Duration {
	const year = 365 * 24 * 3600
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > year {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
