// Package pause waits for a while, as every call does that is tried again.
package pause

import (
	"context"
	"time"
)

// For waits for d, or for the context's end, whose cause it then returns.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
