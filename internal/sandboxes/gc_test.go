package sandboxes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/store"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const hers = "dayclaude-7-1-1" // the name of the thread's sandbox

// sandbox is one that ran for a while an hour ago, of a thread whose run is
// done. The changes make it another.
func sandbox(state daytona.State, changes ...func(*sandboxes.Sandbox)) sandboxes.Sandbox {
	fifteen, week := 15, 7*24*60
	s := sandboxes.Sandbox{
		Sandbox: &daytona.Sandbox{
			ID: "s-1", Name: hers, State: state, AutoStop: &fifteen, AutoDelete: &week,
			LastActivityAt: daytona.Time{Time: noon.Add(-time.Hour)},
		},
		Owner: &store.Owned{
			Thread: &run.Thread{ID: "t_1", RepositoryID: 7, Ref: run.Ref{Number: 1}, Generation: 1, SandboxID: "s-1"},
			Run:    &run.Run{ID: "r_1", State: run.Done}, Newest: true,
		},
	}
	for _, change := range changes {
		change(&s)
	}
	return s
}

func in(state run.State) func(*sandboxes.Sandbox) {
	return func(s *sandboxes.Sandbox) { s.Owner.Run.State = state }
}

func idle(d time.Duration) func(*sandboxes.Sandbox) {
	return func(s *sandboxes.Sandbox) { s.LastActivityAt.Time = noon.Add(-d) }
}

func older(s *sandboxes.Sandbox)   { s.Owner.Newest = false }
func kept(s *sandboxes.Sandbox)    { s.Owner.Run.Options.Keep = true }
func local(s *sandboxes.Sandbox)   { s.Owner.Run.Options.Local = "docker" }
func another(s *sandboxes.Sandbox) { s.Owner.Thread.SandboxID = "s-2" }
func unnamed(s *sandboxes.Sandbox) { s.Name = "of-somebody" }
func unknown(s *sandboxes.Sandbox) { s.Owner = nil }
func mends(s *sandboxes.Sandbox)   { s.Recoverable = true }
func noRun(s *sandboxes.Sandbox)   { s.Owner.Run = nil }
func endless(s *sandboxes.Sandbox) { never := 0; s.AutoStop = &never }
func forever(s *sandboxes.Sandbox) { never := -1; s.AutoDelete = &never }
func fleeting(s *sandboxes.Sandbox) {
	s.AutoDelete = new(int)
	s.State = daytona.Started
}

func TestGC(t *testing.T) {
	t.Parallel()
	driver := &store.Held{Owner: "process 1 on host"}
	const week = 7 * 24 * time.Hour
	for name, c := range map[string]struct {
		sandbox sandboxes.Sandbox
		driver  *store.Held
		want    string // actions, then part of why
	}{
		"orphan":                      {sandbox: sandbox(daytona.Stopped, unknown), want: "delete: knows no run"},
		"orphan that runs":            {sandbox: sandbox(daytona.Started, unknown), want: "delete: knows no run"},
		"orphan that broke":           {sandbox: sandbox(daytona.Errored, unknown), want: "delete: knows no run"},
		"young orphan":                {sandbox: sandbox(daytona.Started, unknown, idle(14*time.Minute)), want: ": less than 15 minutes"},
		"orphan of a slow clock":      {sandbox: sandbox(daytona.Started, unknown, idle(-time.Hour)), want: ": less than 15 minutes"},
		"orphan on its way":           {sandbox: sandbox(daytona.Creating, unknown), want: ": on its way"},
		"orphan in an unknown state":  {sandbox: sandbox("hibernating", unknown), want: ": on its way"},
		"destroyed":                   {sandbox: sandbox(daytona.Destroyed, unknown), want: ": on its way"},
		"of a later generation's":     {sandbox: sandbox(daytona.Stopped, older), want: "delete: --new"},
		"of a generation that goes":   {sandbox: sandbox(daytona.Stopped, older, in(run.Working)), want: ": goes on with it"},
		"replaced":                    {sandbox: sandbox(daytona.Stopped, another), want: "delete: another sandbox"},
		"replaced, driven":            {sandbox: sandbox(daytona.Stopped, another), driver: driver, want: ": process 1 on host works on it"},
		"made, not yet adopted":       {sandbox: sandbox(daytona.Stopped, another, in(run.Provisioning)), want: ": goes on with it"},
		"no name to find it by":       {sandbox: sandbox(daytona.Stopped, another, unnamed, in(run.Working)), want: "delete: another sandbox"},
		"by its id":                   {sandbox: sandbox(daytona.Stopped, unnamed, in(run.Working)), want: ": goes on with it"},
		"never adopted":               {sandbox: sandbox(daytona.Stopped, func(s *sandboxes.Sandbox) { s.Owner.Thread.SandboxID = "" }), want: ": kept for the next run"},
		"beside a local one":          {sandbox: sandbox(daytona.Stopped, another, local), want: ": kept for the next run"},
		"no run":                      {sandbox: sandbox(daytona.Stopped, noRun), want: ": kept for the next run"},
		"broken":                      {sandbox: sandbox(daytona.Errored), want: "delete: broke"},
		"never built":                 {sandbox: sandbox(daytona.BuildFailed), want: "delete: broke"},
		"broken, can be mended":       {sandbox: sandbox(daytona.Errored, mends), want: "delete: broke"},
		"broken, of a run that waits": {sandbox: sandbox(daytona.Errored, mends, in(run.Parked)), want: ": goes on with it"},
		"broken, of a killed run":     {sandbox: sandbox(daytona.Errored, endless, in(run.Working)), want: ": goes on with it"},
		"done":                        {sandbox: sandbox(daytona.Stopped), want: ": kept for the next run"},
		"archived":                    {sandbox: sandbox(daytona.Archived), want: ": kept for the next run"},
		"waits":                       {sandbox: sandbox(daytona.Stopped, in(run.Parked)), want: ": goes on with it"},
		"runs for nobody":             {sandbox: sandbox(daytona.Started), want: "stop: nobody works on it"},
		"runs for a killed run":       {sandbox: sandbox(daytona.Started, in(run.Working)), want: "stop: nobody works on it"},
		"runs, driven":                {sandbox: sandbox(daytona.Started, in(run.Working)), driver: driver, want: ": works on it"},
		"runs, was just used":         {sandbox: sandbox(daytona.Started, idle(time.Minute)), want: ": less than 15 minutes"},
		"runs, kept":                  {sandbox: sandbox(daytona.Started, kept), want: ": kept for the next run"},
		"never stops":                 {sandbox: sandbox(daytona.Stopped, endless), want: "set_auto_stop: never stop"},
		"never stops, kept":           {sandbox: sandbox(daytona.Started, endless, kept), want: "set_auto_stop: never stop"},
		"never stops, and runs":       {sandbox: sandbox(daytona.Started, endless), want: "set_auto_stop stop: nobody works on it"},
		"its time is over":            {sandbox: sandbox(daytona.Archived, idle(week+16*time.Minute)), want: "delete: its time is over"},
		"its time is nearly over":     {sandbox: sandbox(daytona.Archived, idle(week+14*time.Minute)), want: ": kept for the next run"},
		"over, forgotten":             {sandbox: sandbox(daytona.Archived, idle(week+time.Hour), in(run.Working)), want: "delete: its time is over"},
		"over, but waits":             {sandbox: sandbox(daytona.Archived, idle(week+time.Hour), in(run.Parked)), want: ": goes on with it"},
		"over, but runs":              {sandbox: sandbox(daytona.Started, idle(week+time.Hour)), want: "stop: nobody works on it"},
		"is to stay for ever":         {sandbox: sandbox(daytona.Archived, idle(100*week), forever), want: ": kept for the next run"},
		"goes when it stops":          {sandbox: sandbox(daytona.Started, fleeting), want: "stop: nobody works on it"},
	} {
		got := sandboxes.GC(c.sandbox, c.driver, noon)
		if do, why, _ := strings.Cut(c.want, ":"); acts(got) != do || !strings.Contains(got.Why, strings.TrimSpace(why)) {
			t.Errorf("%s: %s: %s, want %s", name, acts(got), got.Why, c.want)
		}
	}
}

func acts(v sandboxes.Verdict) string { return strings.Trim(fmt.Sprint(v.Do), "[]") }

func TestChoice(t *testing.T) {
	t.Parallel()
	driver := &store.Held{Owner: "process 1 on host"}
	for name, c := range map[string]struct {
		choice  sandboxes.Choice
		sandbox sandboxes.Sandbox
		driver  *store.Held
		goes    bool
	}{
		"stopped":             {sandbox: sandbox(daytona.Stopped), goes: true},
		"archived":            {sandbox: sandbox(daytona.Archived), goes: true},
		"broken":              {sandbox: sandbox(daytona.Errored), goes: true},
		"orphan":              {sandbox: sandbox(daytona.Stopped, unknown), goes: true},
		"started":             {sandbox: sandbox(daytona.Started)},
		"on its way":          {sandbox: sandbox(daytona.Stopping)},
		"in an unknown state": {sandbox: sandbox("hibernating")},
		"waits":               {sandbox: sandbox(daytona.Stopped, in(run.Parked))},
		"killed":              {sandbox: sandbox(daytona.Errored, in(run.Working))},
		"driven":              {sandbox: sandbox(daytona.Stopped), driver: driver},
		"old":                 {choice: sandboxes.Choice{OlderThan: 59 * time.Minute}, sandbox: sandbox(daytona.Stopped), goes: true},
		"not so old":          {choice: sandboxes.Choice{OlderThan: 61 * time.Minute}, sandbox: sandbox(daytona.Stopped)},
		"chosen state":        {choice: sandboxes.Choice{States: []daytona.State{daytona.Started}}, sandbox: sandbox(daytona.Started), goes: true},
		"another state":       {choice: sandboxes.Choice{States: []daytona.State{daytona.Errored}}, sandbox: sandbox(daytona.Stopped)},
		"chosen, but driven":  {choice: sandboxes.Choice{States: []daytona.State{daytona.Started}}, sandbox: sandbox(daytona.Started), driver: driver},
		"chosen, but goes on": {choice: sandboxes.Choice{States: []daytona.State{daytona.Started}}, sandbox: sandbox(daytona.Started, in(run.Working))},
	} {
		got := c.choice.Rule(c.sandbox, c.driver, noon)
		if goes := slices.Equal(got.Do, []sandboxes.Action{sandboxes.Delete}); goes != c.goes || !goes && len(got.Do) > 0 || got.Why == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
