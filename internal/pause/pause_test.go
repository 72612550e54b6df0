package pause_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/pause"
)

func TestFor(t *testing.T) {
	t.Parallel()
	if err := pause.For(t.Context(), time.Millisecond); err != nil {
		t.Errorf("a pause that ends by itself: %v", err)
	}
	why := errors.New("asked to stop")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(why)
	if err := pause.For(ctx, time.Hour); !errors.Is(err, why) {
		t.Errorf("a pause that is ended: %v, want its cause", err)
	}
}
