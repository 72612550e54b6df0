package engine

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// modelError is the fault of a model call that failed for good. The broker saw
// why; what Claude says of it comes from the sandbox, and misleads: to Claude
// Code every 401 is "Not logged in". r is zero if no broker of this process
// saw the call.
func modelError(c *claude.Result, r broker.Refusal) error {
	switch r.By {
	case broker.ByAnthropic:
		return refusedByAnthropic(r)
	case broker.ByNetwork:
		return fault.New(fault.Unavailable, "no answer came from Anthropic: %s", r.Message).
			WithHint("check the network and https://status.claude.com, then run the command again")
	case broker.ByBroker:
		f := fault.New(fault.Claude, "dayclaude itself refused a model call from the sandbox (%s)", words(r))
		if r.Status == http.StatusTooManyRequests || r.Status == http.StatusRequestEntityTooLarge {
			return f.WithHint("run the command again; if it stays, give the run less to do at once")
		}
		return f.WithHint("Claude Code by itself makes no such call: either something in the repository or the issue made it, " +
			"see `dayclaude runs logs`, or it is a bug of dayclaude")
	}
	return toldByClaude(c)
}

// refusedByAnthropic goes by the API's status.
// https://docs.claude.com/en/api/errors
func refusedByAnthropic(r broker.Refusal) error {
	said := words(r)
	switch {
	case r.Status == http.StatusUnauthorized:
		return fault.New(fault.Auth, "Anthropic refused the credential (%s)", said).
			WithHint("set ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN) to one that is valid")
	case r.Status == http.StatusPaymentRequired, strings.Contains(r.Message, "credit balance"):
		return fault.New(fault.Auth, "Anthropic refused for want of credit (%s)", said).WithHint("add credit to the account")
	case r.Status == http.StatusForbidden:
		return fault.New(fault.Auth, "Anthropic does not let the credential do this (%s)", said).
			WithHint("use a key whose workspace may call the Messages API with this model")
	case r.Status == http.StatusNotFound:
		return fault.New(fault.Claude, "Anthropic does not offer the model to this credential (%s)", said).WithHint("--model takes another")
	case r.Status == http.StatusRequestEntityTooLarge:
		return fault.New(fault.Claude, "the conversation grew too large for Anthropic's API (%s)", said).
			WithHint("give the run less to do at once; --new begins another session")
	case !r.ResetsAt.IsZero():
		return parked(r.ResetsAt)
	case r.Status == http.StatusTooManyRequests:
		wait := "a while"
		if r.RetryAfter > 0 {
			wait = r.RetryAfter.String()
		}
		return fault.New(fault.Quota, "Anthropic's rate limit is reached (%s)", said).WithHint("wait %s, then run the command again", wait)
	case r.Status >= 500:
		return fault.New(fault.Claude, "Anthropic's API is in trouble (%s)", said).
			WithHint("see https://status.claude.com, then run the command again")
	}
	return fault.New(fault.Claude, "Anthropic refused the call (%s)", said).WithHint("run the command again")
}

// parked makes the run wait for the subscription's usage limit.
func parked(until time.Time) error {
	return fault.New(fault.Parked, "Claude's usage limit is reached; it resets at %s", until.Local().Format("15:04 on 2 January")).
		WithHint("run the same command then: it goes on with this session")
}

// words are those of whoever refused, with the status.
func words(r broker.Refusal) string {
	said := strings.TrimSpace(fmt.Sprint(r.Status, " ", cmp.Or(r.Message, r.Type)))
	if r.RequestID != "" {
		said += ", request " + r.RequestID
	}
	return said
}

// toldByClaude goes by Claude Code's own account.
func toldByClaude(c *claude.Result) error {
	said := strings.TrimSpace(c.API + ": " + c.Message)
	switch c.API {
	case "authentication_failed":
		return fault.New(fault.Auth, "Anthropic refused the credential: %s", said).
			WithHint("set ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN) to one that is valid")
	case "billing_error":
		return fault.New(fault.Auth, "Anthropic refused for want of credit: %s", said).WithHint("add credit to the account")
	case "model_not_found":
		return fault.New(fault.Claude, "Anthropic does not know the model: %s", said).WithHint("--model takes another")
	case "rate_limit":
		if !c.ResetsAt.IsZero() {
			return parked(c.ResetsAt)
		}
		return fault.New(fault.Quota, "Anthropic's rate limit: %s", said).WithHint("wait a while, then run the command again")
	}
	return fault.New(fault.Claude, "Anthropic's API failed: %s", said).WithHint("run the command again when it is back")
}
