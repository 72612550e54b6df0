package run

import "time"

// Merge is what became of a run's changes when a branch had moved that they
// are to stand on, or to be merged into.
type Merge struct {
	Branch   string `json:"branch"`         // that moved
	Onto     string `json:"onto"`           // the commit it stands at
	Ancestor string `json:"ancestor"`       // commit: what leads from it to the changes goes onto that
	From     string `json:"from,omitempty"` // the task that made them; "" if no sandbox was needed
	// Turn says that Claude may solve conflicts, until Deadline.
	Turn     bool      `json:"turn,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`

	Ended     bool     `json:"ended,omitempty"`
	Merged    bool     `json:"merged,omitempty"`    // the merged changes are published, not those from before
	Conflicts []string `json:"conflicts,omitempty"` // paths
	Problem   Problem  `json:"problem,omitzero"`    // why conflicts were not solved, or not looked for
}
