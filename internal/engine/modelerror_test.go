package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func TestModelError(t *testing.T) {
	t.Parallel()
	reset := time.Date(2026, 11, 23, 18, 0, 0, 0, time.Local)
	anthropic := func(status int, message string) broker.Refusal {
		return broker.Refusal{By: broker.ByAnthropic, Status: status, Type: "x_error", Message: message, RequestID: "req_1"}
	}
	later := anthropic(429, "slow down")
	later.RetryAfter = time.Hour
	limited := anthropic(429, "limit")
	limited.ResetsAt = reset
	// What Claude Code says of each, whatever the cause.
	login := claude.Result{Ending: claude.APIError, API: "authentication_failed", Message: "Not logged in · Please run /login"}
	for name, tt := range map[string]struct {
		claude  claude.Result
		refusal broker.Refusal
		kind    fault.Kind
		says    string
		hint    string
	}{
		"401":             {login, anthropic(401, "invalid x-api-key"), fault.Auth, "refused the credential (401 invalid x-api-key, request req_1)", "ANTHROPIC_API_KEY"},
		"402":             {login, anthropic(402, "pay"), fault.Auth, "want of credit", "add credit"},
		"no credit":       {login, anthropic(400, "Your credit balance is too low"), fault.Auth, "want of credit", "add credit"},
		"403":             {login, anthropic(403, "not yours"), fault.Auth, "403 not yours", "workspace"},
		"404":             {login, anthropic(404, "model: x"), fault.Claude, "404 model: x", "--model"},
		"413":             {login, anthropic(413, ""), fault.Claude, "413 x_error", "--new"},
		"400":             {login, anthropic(400, "bad"), fault.Claude, "400 bad", "again"},
		"429":             {login, anthropic(429, "slow down"), fault.Quota, "429 slow down", "wait"},
		"429 for long":    {login, later, fault.Quota, "429 slow down", "wait 1h0m0s, then"},
		"429 and reset":   {login, limited, fault.Parked, "18:00 on 23 November", "goes on"},
		"529":             {login, anthropic(529, "Overloaded"), fault.Claude, "529 Overloaded", "status.claude.com"},
		"nobody there":    {login, broker.Refusal{By: broker.ByNetwork, Status: 502, Message: "connection refused"}, fault.Unavailable, "connection refused", "network"},
		"broker":          {login, broker.Refusal{By: broker.ByBroker, Status: 403, Message: "tools no"}, fault.Claude, "dayclaude itself refused a model call from the sandbox (403 tools no)", "bug"},
		"broker is full":  {login, broker.Refusal{By: broker.ByBroker, Status: 429, Message: "too many"}, fault.Claude, "429 too many", "again"},
		"unseen 401":      {login, broker.Refusal{}, fault.Auth, "Not logged in", "ANTHROPIC_API_KEY"},
		"unseen billing":  {claude.Result{API: "billing_error"}, broker.Refusal{}, fault.Auth, "credit", "add credit"},
		"unseen model":    {claude.Result{API: "model_not_found"}, broker.Refusal{}, fault.Claude, "model", "--model"},
		"unseen limit":    {claude.Result{API: "rate_limit", ResetsAt: reset}, broker.Refusal{}, fault.Parked, "18:00", "goes on"},
		"unseen 429":      {claude.Result{API: "rate_limit"}, broker.Refusal{}, fault.Quota, "rate limit", "wait"},
		"unseen server":   {claude.Result{API: "server_error", Message: "oh"}, broker.Refusal{}, fault.Claude, "oh", "again"},
		"a claimed reset": {claude.Result{API: "rate_limit", ResetsAt: reset}, anthropic(529, "Overloaded"), fault.Claude, "Overloaded", "again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.claude.Ending = claude.APIError
			err := ending(&tt.claude, 5, tt.refusal)
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("%s: %v\nhint: %s", fault.KindOf(err), err, fault.HintOf(err))
			}
			if tt.refusal.By != "" && strings.Contains(err.Error(), "logged in") {
				t.Errorf("Claude Code's words, which mislead: %v", err)
			}
		})
	}
}
