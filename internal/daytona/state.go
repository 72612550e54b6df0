package daytona

import "slices"

// State is a sandbox's state, spelled as the API spells it. Servers newer than
// this client may answer with others; those count as in motion.
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

// states is the whole table: which states are at rest, and what may follow
// each, as the platform of v0.190 has it. Creating goes by way of Unknown when
// a machine is found; a machine may start, stop or lose a sandbox by itself.
// What polls may miss what is short.
var states = map[State]struct {
	rest    bool
	follows []State
}{
	Creating:         {follows: []State{PullingSnapshot, Unknown, Started, Errored}},
	PendingBuild:     {follows: []State{BuildingSnapshot, Unknown, BuildFailed, Destroyed}},
	BuildingSnapshot: {follows: []State{Unknown, BuildFailed}},
	PullingSnapshot:  {follows: []State{Unknown, Creating, Started, Errored}},
	Unknown:          {follows: []State{Creating, PullingSnapshot, Started, Errored}},
	Starting:         {follows: []State{Started, PullingSnapshot, Unknown, Errored}},
	Restoring:        {follows: []State{Started, PullingSnapshot, Unknown, Errored}},
	Resuming:         {follows: []State{Started, Unknown, Errored}},
	Stopping:         {follows: []State{Stopped, Destroying, Errored}}, // destroying: with AutoDelete 0
	Pausing:          {follows: []State{Paused, Started, Errored}},
	Archiving:        {follows: []State{Archived, Starting, Restoring, Errored}}, // a start calls it back
	Resizing:         {follows: []State{Started, Stopped, Errored}},
	Snapshotting:     {follows: []State{Started, Stopped, Errored}},
	Forking:          {follows: []State{Started, Stopped, Errored}},
	Destroying:       {follows: []State{Destroyed, Errored}},

	Started:     {rest: true, follows: []State{Stopping, Stopped, Pausing, Resizing, Snapshotting, Forking, Destroying, Destroyed, Errored}},
	Stopped:     {rest: true, follows: []State{Starting, Started, Restoring, Archiving, Resizing, Snapshotting, Destroying, Destroyed, Errored}},
	Paused:      {rest: true, follows: []State{Resuming, Stopping, Destroying, Destroyed, Errored}},
	Archived:    {rest: true, follows: []State{Restoring, Destroying, Destroyed, Errored}},
	Errored:     {rest: true, follows: []State{Stopped, Archived, Starting, Started, Destroying, Destroyed}}, // by Recover or Delete
	BuildFailed: {rest: true, follows: []State{Destroying, Destroyed}},
	Destroyed:   {rest: true},
}

// AtRest reports whether the sandbox stays in this state until something is
// asked of it, or an interval is over.
func (s State) AtRest() bool { return states[s].rest }

// Failed reports whether the sandbox is broken; it does not mend itself.
func (s State) Failed() bool { return s == Errored || s == BuildFailed }

// Follows returns the states that may come next: none after Destroyed, and none
// after a state that this client does not know, which may become any.
func (s State) Follows() []State { return slices.Clone(states[s].follows) }

// gone reports whether the sandbox's name is, or is about to be, free again.
func (s State) gone() bool { return s == Destroying || s == Destroyed }
