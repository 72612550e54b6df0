package engine

import (
	"context"

	"github.com/dayclaude/dayclaude/internal/run"
)

// merge brings the changes up to where the base stands now, if they conflict
// with it.
func (d *drive) merge(context.Context) (run.State, error) {
	return run.Gating, nil
}
