package run

import "slices"

// State is where a run stands. It is stored before its effect is announced.
type State string

// The states, in the order of a run that goes well. The engine has one step
// for each that is not final; every step looks before it acts.
const (
	Queued       State = "queued"       // created, nothing done yet
	Freezing     State = "freezing"     // admit the actor, freeze issue and settings, say "working" on the issue
	Provisioning State = "provisioning" // find, start or make the sandbox
	Connecting   State = "connecting"   // sandboxd answers, is claimed, the tunnel is open
	Working      State = "working"      // the task runs: clone, setup, Claude, check
	Harvesting   State = "harvesting"   // changeset and transcript come to the host
	Merging      State = "merging"      // if the base moved and conflicts, Claude gets one more turn
	Gating       State = "gating"       // the changeset is held against the policy
	Committing   State = "committing"   // one commit and its branch, through GitHub's Git Data API
	Publishing   State = "publishing"   // the pull request
	Reporting    State = "reporting"    // the outcome is stored; the comment tells it
	Settling     State = "settling"     // the sandbox is stopped, kept or deleted

	Done        State = "done"         // a pull request (or, with --dry-run, a patch)
	Unchanged   State = "unchanged"    // Claude's answer, no change
	Failed      State = "failed"       // something broke
	Limited     State = "limited"      // a limit or budget was reached
	Refused     State = "refused"      // the gate refused the changeset
	NotAdmitted State = "not_admitted" // nothing was started
	Cancelled   State = "cancelled"    // a person stopped it
	Parked      State = "parked"       // waits for a usage limit to reset, then goes on
)

// transitions is the whole table: what may follow each state. Reporting and
// Settling stand for every way out, so each active state leads to Reporting;
// which final state follows is the stored outcome's. A run whose work broke off
// goes by way of Harvesting, so that what there is gets published as a draft.
var transitions = map[State][]State{
	Queued:       {Freezing, Reporting},
	Freezing:     {Provisioning, Merging, Reporting, NotAdmitted}, // Merging: an earlier run's work is taken over
	Provisioning: {Connecting, Harvesting, Reporting},
	Connecting:   {Working, Provisioning, Harvesting, Reporting},
	Working:      {Harvesting, Connecting, Provisioning, Parked, Reporting},
	Harvesting:   {Merging, Connecting, Provisioning, Reporting},
	Merging:      {Gating, Connecting, Provisioning, Reporting},
	Gating:       {Committing, Reporting},
	Committing:   {Publishing, Reporting},
	Publishing:   {Reporting},
	Reporting:    {Settling},
	Settling:     {Done, Unchanged, Failed, Limited, Refused, NotAdmitted, Cancelled},
	Parked:       {Provisioning, Harvesting, Reporting},
}

// Active lists the states that have a step, in the order of a run that goes
// well.
var Active = []State{
	Queued, Freezing, Provisioning, Connecting, Working, Harvesting,
	Merging, Gating, Committing, Publishing, Reporting, Settling,
}

// Final reports whether nothing follows s.
func (s State) Final() bool { return len(transitions[s]) == 0 }

// Known reports whether s is one of the states above.
func (s State) Known() bool {
	if _, ok := transitions[s]; ok {
		return true
	}
	return slices.Contains(transitions[Settling], s)
}

// CanBecome reports whether the table lets next follow s.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }
