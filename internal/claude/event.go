package claude

import "time"

// Event is one thing Claude did, bounded and reduced from Claude Code's own
// stream: what a person following along wants to see.
type Event struct {
	Kind EventKind `json:"kind"`
	Text string    `json:"text,omitempty"` // Said: the words, at most 8 KiB
	// Tool and Summary: what a ToolCall does ("Edit", "src/cart.go"), and for a
	// ToolResult the head of what it gave; Failed marks an error result.
	Tool    string `json:"tool,omitempty"`
	Summary string `json:"summary,omitempty"` // at most 500 bytes
	Failed  bool   `json:"failed,omitempty"`
	// Begin: the session and versions.
	SessionID string `json:"session_id,omitempty"`
	Model     string `json:"model,omitempty"`
	Version   string `json:"version,omitempty"`
	// Retry: the attempt about to be made, why, and after how long.
	Attempt int           `json:"attempt,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	// UsageLimit: when the subscription's limit resets.
	ResetsAt time.Time `json:"resets_at,omitzero"`
	// Usage so far, where the event carries it.
	InputTokens  int64 `json:"input_tokens,omitempty"`
	OutputTokens int64 `json:"output_tokens,omitempty"`
}

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	Begin      EventKind = "begin"
	Said       EventKind = "said"
	ToolCall   EventKind = "tool_call"
	ToolResult EventKind = "tool_result"
	Retry      EventKind = "retry"
	Denied     EventKind = "denied"
	UsageLimit EventKind = "usage_limit"
)

// Ending is how a Claude process ended.
type Ending string

// The endings. Only Answered means that the answer is a final one.
const (
	Answered   Ending = "answered"
	APIError   Ending = "api_error"   // Result.API says which
	MaxTurns   Ending = "max_turns"   //
	Budget     Ending = "budget"      // Claude Code's own budget
	Execution  Ending = "execution"   // error_during_execution and unknown error results
	NoResult   Ending = "no_result"   // the process ended without a result event
	Killed     Ending = "killed"      // by a signal that we did not send
	Cancelled  Ending = "cancelled"   // by us
	NotStarted Ending = "not_started" // refused its flags or its credentials before any request
)

// Result is how a Claude process ended and what it came to.
type Result struct {
	Ending    Ending `json:"ending"`
	Answer    string `json:"answer,omitempty"`  // the last result's text, at most 64 KiB
	API       string `json:"api,omitempty"`     // with APIError: authentication_failed, rate_limit, model_not_found, …
	Message   string `json:"message,omitempty"` // the error in Claude's or the service's words, at most 4 KiB
	SessionID string `json:"session_id,omitempty"`
	Turns     int    `json:"turns"`
	ExitCode  int    `json:"exit_code"`
	// ResetsAt is when the usage limit that ended the run resets; zero if it
	// was not one, or not said.
	ResetsAt     time.Time     `json:"resets_at,omitzero"`
	InputTokens  int64         `json:"input_tokens"` // with cache reads and writes
	OutputTokens int64         `json:"output_tokens"`
	CostUSD      float64       `json:"cost_usd"` // Claude Code's own figure
	Duration     time.Duration `json:"duration"`
}
