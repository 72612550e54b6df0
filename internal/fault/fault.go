// Package fault gives an error a kind, which decides the exit code, and a
// hint, which says what to do next. Adapters attach both where the cause is
// known; the command line prints them once, at the top.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind is the class of a fault as users meet it: in the exit code, in the
// "kind" of --json errors, and in the store.
type Kind string

// The kinds. What each means for the exit code is in ExitCode.
const (
	Failed      Kind = "failed"       // something went wrong that has no kind of its own
	Usage       Kind = "usage"        // the command line or a settings file is wrong
	Unchanged   Kind = "unchanged"    // the run ended without a change
	Auth        Kind = "auth"         // a credential is missing, wrong or lacks a permission
	Limit       Kind = "limit"        // a limit or budget of the run was reached
	Refused     Kind = "refused"      // the gate refused the changeset
	NotAdmitted Kind = "not_admitted" // the actor, issue or repository may not start a run
	Parked      Kind = "parked"       // the run waits for something and can go on later
	Cancelled   Kind = "cancelled"    // a person stopped the run
	NotFound    Kind = "not_found"    // what was asked for does not exist, or is hidden
	Conflict    Kind = "conflict"     // somebody else holds it, or it changed meanwhile
	Quota       Kind = "quota"        // a service's quota or rate limit was reached
	Unavailable Kind = "unavailable"  // a service did not answer, or answered that it is down
	Sandbox     Kind = "sandbox"      // the sandbox failed, vanished or lacks a tool
	Claude      Kind = "claude"       // Claude Code or its API failed
)

// Error is a failure with a kind and, where known, the next step.
// Message is lower case without a full stop; Hint is a whole phrase.
// Neither ever holds a secret.
type Error struct {
	Kind    Kind
	Message string
	Hint    string
	Err     error // the cause for errors.Is and As, or nil
}

// Error says the message, which already holds the cause's words.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind. The format may wrap a cause with %w.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns the error with the next step set.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the outermost kind in err's chain. A cancelled context
// without a kind counts as Cancelled; anything else unknown is Failed.
func KindOf(err error) Kind {
	var f *Error
	switch {
	case errors.As(err, &f):
		return f.Kind
	case errors.Is(err, context.Canceled):
		return Cancelled
	}
	return Failed
}

// HintOf returns the first hint in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		var f *Error
		if !errors.As(err, &f) {
			return ""
		}
		if f.Hint != "" {
			return f.Hint
		}
		err = f.Err
	}
	return ""
}

// ExitCode is the process's exit code for err; docs/exit-codes.md lists them.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	switch KindOf(err) {
	case Usage:
		return 2
	case Unchanged:
		return 3
	case Auth:
		return 4
	case Limit:
		return 5
	case Refused:
		return 6
	case NotAdmitted:
		return 7
	case Parked:
		return 8
	case Cancelled:
		return 130
	}
	return 1
}
