// Package doctor finds out whether the services that dayclaude needs do what
// it needs of them, by using them.
package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// LabelDoctor marks a sandbox that a doctor made, beside the store's label.
const LabelDoctor = "dayclaude/doctor"

// Intervals of the doctor's sandbox, in minutes: should all cleaning up fail,
// Daytona does it.
const (
	stopAfter   = 5
	deleteAfter = 60
)

// Deep goes through the life of one sandbox, with everything that dayclaude
// ever asks of Daytona. All fields are required.
type Deep struct {
	Daytona  *daytona.Client
	Name     string // of the sandbox; see NewName
	StoreID  string
	Snapshot string
	Web      *http.Client // for previews; it follows no redirects
	Now      func() time.Time
	Begin    func(step string)
	Done     func(Step) // each step, in order
}

// NewName is the name of a sandbox for a doctor.
func NewName() string { return "dayclaude-doctor-" + strings.ToLower(rand.Text()[:10]) }

// Result is how a step went.
type Result string

// The results.
const (
	OK      Result = "ok"
	Skipped Result = "skipped" // Detail says why
	Failed  Result = "failed"  // Err says why
)

// Step is one thing that was looked at.
type Step struct {
	Name   string
	Result Result
	Detail string // for people, cleaned
	Err    error
	Took   time.Duration
}

// Steps are the names of all steps.
func Steps() []string {
	var names []string
	for _, c := range append(checks(), remove) {
		names = append(names, c.name)
	}
	return names
}

// check is one step.
type check struct {
	name  string
	needs string        // the step without which it makes no sense; "": none
	live  bool          // it needs a sandbox that runs
	limit time.Duration // default stepLimit
	do    func(*exam, context.Context) (detail string, err error)
}

// stepLimit bounds a step that says nothing else.
const stepLimit = 2 * time.Minute

// checks are the steps, but for the last one, which is remove.
func checks() []check {
	return []check{
		{name: "server", do: (*exam).server},
		{name: "key", do: (*exam).key},
		{name: "snapshot", do: (*exam).snapshot},
		{name: "create", limit: 20 * time.Minute, do: (*exam).create},
		{name: "list", needs: "create", do: (*exam).list},
		{name: "labels", needs: "create", do: (*exam).labels},
		{name: "intervals", needs: "create", do: (*exam).intervals},
		{name: "network", needs: "create", do: (*exam).network},
		{name: "commands", needs: "create", live: true, do: (*exam).commands},
		{name: "files", needs: "create", live: true, do: (*exam).files},
		{name: "git", needs: "create", live: true, do: (*exam).git},
		{name: "session", needs: "create", live: true, do: (*exam).session},
		{name: "terminal", needs: "create", live: true, do: (*exam).terminal},
		{name: "preview", needs: "create", live: true, do: (*exam).preview},
		{name: "signed", needs: "preview", live: true, do: (*exam).signed},
		{name: "ssh", needs: "create", live: true, do: (*exam).ssh},
		{name: "stop", needs: "create", live: true, limit: 5 * time.Minute, do: (*exam).stop},
		{name: "start", needs: "stop", limit: 5 * time.Minute, do: (*exam).start},
		{name: "archive", needs: "start", live: true, limit: 15 * time.Minute, do: (*exam).archive},
		{name: "restore", needs: "archive", limit: 10 * time.Minute, do: (*exam).start},
	}
}

// remove is the last step. It is always done, also after an end by force.
var remove = check{name: "delete", limit: 5 * time.Minute, do: (*exam).remove}

// exam is one Run.
type exam struct {
	*Deep
	made    bool             // a sandbox may be there
	sandbox *daytona.Sandbox // as it was last seen; nil: none was seen
	box     *daytona.Toolbox
	gateway bool   // for SSH
	dir     string // in the sandbox, for what the steps leave
	kept    string // what a file has in it that is to outlive stops
	port    int    // of what the preview shows
	word    string // what that says; "": what the image started is not known
	door    daytona.Preview
	down    string // why nothing can be done in the sandbox; "": it runs

	results map[string]Result
}

// skip is the error of a step that found out that it can't look.
type skip string

func (s skip) Error() string { return string(s) }

// Run goes through the steps and returns the first step's error that failed, or
// a fault of kind Cancelled if ctx ended.
// A step that fails does not keep those from going on that can. The sandbox is
// deleted, however it ends: after an error, the end of ctx or a panic.
func (d *Deep) Run(ctx context.Context) (err error) {
	e := &exam{Deep: d, results: make(map[string]Result)}
	defer func() { err = cmp.Or(err, e.step(context.WithoutCancel(ctx), remove)) }()
	for _, c := range checks() {
		err = cmp.Or(err, e.step(ctx, c))
		if ctx.Err() != nil {
			return cmp.Or(err, error(fault.New(fault.Cancelled, "stopped by hand before all was examined")))
		}
	}
	return err
}

// step does one step, tells of it, and returns why it failed.
func (e *exam) step(ctx context.Context, c check) error {
	s := Step{Name: c.name}
	switch {
	case c.needs != "" && e.results[c.needs] != OK:
		s.Result, s.Detail = Skipped, fmt.Sprintf("it needs %q", c.needs)
	case c.live && e.down != "":
		s.Result, s.Detail = Skipped, e.down
	default:
		e.Begin(c.name)
		s = e.look(ctx, c)
	}
	e.results[c.name] = s.Result
	e.Done(s)
	if s.Result == Failed && e.sandbox != nil && ctx.Err() == nil {
		e.examine(ctx)
	}
	return s.Err
}

// look does a step within its time.
func (e *exam) look(ctx context.Context, c check) Step {
	limit := cmp.Or(c.limit, stepLimit)
	within, cancel := context.WithTimeoutCause(ctx, limit, fault.New(fault.Unavailable, "not done within %s", limit))
	defer cancel()
	began := e.Now()
	detail, err := c.do(e, within)
	s := Step{Name: c.name, Result: OK, Detail: detail, Took: e.Now().Sub(began)}
	why := skip("")
	switch {
	case errors.As(err, &why):
		s.Result, s.Detail = Skipped, string(why)
	case err != nil && ctx.Err() != nil:
		s.Result, s.Detail = Skipped, "stopped by hand"
	case err != nil:
		s.Result, s.Err = Failed, err
	}
	return s
}

// examine finds out, after a step that failed, whether others can go on.
func (e *exam) examine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	s, err := e.Daytona.Get(ctx, e.sandbox.ID)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		e.down = "the sandbox is gone"
	case err == nil && s.State != daytona.Started:
		e.down = "the sandbox is in state " + line(string(s.State))
	}
}

// ours are the labels of the doctor's sandbox.
func (d *Deep) ours() map[string]string {
	return map[string]string{run.LabelStore: d.StoreID, LabelDoctor: "true"}
}

// wrong is the error of an answer that is not what it should be.
func wrong(format string, args ...any) error { return fault.New(fault.Failed, format, args...) }

// refused wants an error of a kind; any other is returned.
func refused(err error, kind fault.Kind, what string) error {
	switch {
	case err == nil:
		return wrong("%s was not refused", what)
	case fault.KindOf(err) == kind:
		return nil
	}
	return err
}

// line is a text from outside as a part of a line.
func line(s string) string { return untrusted.Line(s, 120) }
