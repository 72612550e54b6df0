package daytona

import (
	"cmp"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// State is a sandbox's state, spelled as the API spells it. Servers newer than
// this client may answer with others.
type State string

// The states of api.json, version 0.205.1.
const (
	Creating         State = "creating"
	Restoring        State = "restoring"
	Destroyed        State = "destroyed"
	Destroying       State = "destroying"
	Started          State = "started"
	Stopped          State = "stopped"
	Starting         State = "starting"
	Stopping         State = "stopping"
	Errored          State = "error"
	BuildFailed      State = "build_failed"
	PendingBuild     State = "pending_build"
	BuildingSnapshot State = "building_snapshot"
	Unknown          State = "unknown"
	PullingSnapshot  State = "pulling_snapshot"
	Archived         State = "archived"
	Archiving        State = "archiving"
	Resizing         State = "resizing"
	Snapshotting     State = "snapshotting"
	Forking          State = "forking"
	Pausing          State = "pausing"
	Paused           State = "paused"
	Resuming         State = "resuming"
)

// Failed reports whether the sandbox is broken; it does not mend itself.
func (s State) Failed() bool { return s == Errored || s == BuildFailed }

// AtRest reports whether the sandbox stays in this state until something is
// asked of it. States that this client does not know count as in motion.
func (s State) AtRest() bool {
	switch s {
	case Started, Stopped, Paused, Archived, Destroyed:
		return true
	}
	return s.Failed()
}

// gone reports whether the sandbox's name is, or is about to be, free again.
func (s State) gone() bool { return s == Destroying || s == Destroyed }

// failure is the error of a sandbox that is broken: its own reason in it.
func (s *Sandbox) failure() error {
	f := fault.New(fault.Sandbox, "sandbox %s is in state %s: %s",
		clean(cmp.Or(s.Name, s.ID)), clean(string(s.State)), cmp.Or(clean(s.ErrorReason), "Daytona gives no reason"))
	return f.WithHint("run the command again: it makes a new sandbox; if the image is missing, docs/snapshots.md says how to make it")
}
