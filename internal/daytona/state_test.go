package daytona

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// enum reads the values that a schema of api.json lets a field have.
func enum(t *testing.T, schema string) []string {
	t.Helper()
	dir := os.Getenv("DAYCLAUDE_OPENAPI")
	if dir == "" {
		testenv.Missing(t, "DAYCLAUDE_OPENAPI names no folder with Daytona's api.json")
	}
	data, err := os.ReadFile(filepath.Join(dir, "api.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	return document.Components.Schemas[schema].Enum
}

// The states are spelled, and all there, as api.json has them.
func TestStatesAreDaytonas(t *testing.T) {
	t.Parallel()
	var ours []string
	for s := range states {
		ours = append(ours, string(s))
	}
	theirs := enum(t, "SandboxState")
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("ours  %v\ntheirs %v", ours, theirs)
	}
	snapshots := enum(t, "SnapshotState")
	for _, s := range []SnapshotState{SnapshotActive, SnapshotInactive, SnapshotError, SnapshotFailed, SnapshotRemoving} {
		if !slices.Contains(snapshots, string(s)) {
			t.Errorf("%s is not among %v", s, snapshots)
		}
	}
	desired := enum(t, "SandboxDesiredState")
	for _, s := range []State{Started, Stopped, Archived, Destroyed} { // what change waits to be heard
		if !slices.Contains(desired, string(s)) || !s.AtRest() {
			t.Errorf("%s cannot be desired", s)
		}
	}
}

// What moves comes to rest, what rests can be left, and nothing follows the
// end.
func TestStatesHangTogether(t *testing.T) {
	t.Parallel()
	for s, known := range states {
		for _, next := range known.follows {
			if _, ok := states[next]; !ok || next == s {
				t.Errorf("%s is said to become %q", s, next)
			}
		}
		if !known.rest && !slices.ContainsFunc(known.follows, State.AtRest) && !slices.Contains(known.follows, Unknown) {
			t.Errorf("%s never comes to rest", s)
		}
		if !known.rest && !slices.ContainsFunc(known.follows, State.Failed) {
			t.Errorf("%s cannot fail", s)
		}
		if final := len(s.Follows()) == 0; final != (s == Destroyed) {
			t.Errorf("%s: final is %v", s, final)
		}
		if s.Failed() && !s.AtRest() {
			t.Errorf("%s is broken and moves", s)
		}
	}
	for _, s := range []State{"", "hibernating"} {
		if s.AtRest() || s.Failed() || len(s.Follows()) > 0 {
			t.Errorf("%q is known", s)
		}
	}
}
