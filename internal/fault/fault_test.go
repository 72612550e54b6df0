package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestErrorKeepsItsCause(t *testing.T) {
	err := New(NotFound, "read %s: %w", "it", io.EOF).WithHint("look at %s", "that")
	if err.Error() != "read it: EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("error %q, is EOF %v", err, errors.Is(err, io.EOF))
	}
	wrapped := fmt.Errorf("outside: %w", New(Auth, "step: %w", err))
	if KindOf(wrapped) != Auth {
		t.Errorf("kind = %s, want the outermost", KindOf(wrapped))
	}
	if HintOf(wrapped) != "look at that" {
		t.Errorf("hint = %q, want the first in the chain", HintOf(wrapped))
	}
	if HintOf(io.EOF) != "" || HintOf(nil) != "" {
		t.Error("a hint from nowhere")
	}
}

func TestExitCode(t *testing.T) {
	for kind, want := range map[Kind]int{
		Failed: 1, Usage: 2, Unchanged: 3, Auth: 4, Limit: 5, Refused: 6, NotAdmitted: 7, Parked: 8, Cancelled: 130,
		NotFound: 1, Conflict: 1, Quota: 1, Unavailable: 1, Sandbox: 1, Claude: 1,
	} {
		if got := ExitCode(fmt.Errorf("around: %w", New(kind, "x"))); got != want {
			t.Errorf("ExitCode(%s) = %d, want %d", kind, got, want)
		}
	}
	for err, want := range map[error]int{nil: 0, io.EOF: 1, fmt.Errorf("x: %w", context.Canceled): 130, context.DeadlineExceeded: 1} {
		if got := ExitCode(err); got != want {
			t.Errorf("ExitCode(%v) = %d, want %d", err, got, want)
		}
	}
}
