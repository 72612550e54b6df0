package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/term"
)

// showing says how a run is shown.
type showing struct {
	json    bool // one object at the end
	verbose bool // every entry, a line each
}

func (s *showing) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&s.json, "json", false, "print one JSON object at the end")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print everything that happens, line by line")
}

// job is a run that this process is to drive.
type job struct {
	ref   run.Ref
	local string // engine of the embedded Daytona; "" for the settings' Daytona
	fresh bool   // not the run that is there
	showing
}

// settings loads the settings; flags may be nil.
func (a *app) settings(ctx context.Context, flags *pflag.FlagSet) (*config.Settings, error) {
	return config.Load(ctx, config.Sources{Flags: flags, Env: a.env, File: config.FilePath(a.env), Keyring: config.Keyring})
}

// drive wires an engine, has do drive a run on it, and shows what happens. An
// unfinished run stays where it began: on this machine or at Daytona.
func (a *app) drive(ctx context.Context, settings *config.Settings, j job,
	do func(context.Context, *engine.Engine, func(run.Entry)) (*engine.Report, error)) (*engine.Report, error) {
	db, err := a.openStore(ctx)
	if err != nil {
		return nil, err
	}
	if err := j.settle(ctx, db, settings); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	wiring := wireOptions{verbose: j.verbose}
	if j.local != "" {
		settings.LocalEngine = j.local
		wiring.local = &local{space: localSpace(j.ref)}
	}
	w, err := a.wire(ctx, settings, db, wiring)
	if err != nil {
		return nil, err
	}
	defer w.close()

	view := a.view(j.ref, j.showing)
	defer view.Close()
	if w.notice != "" {
		view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: w.notice})
	}
	interrupted := context.AfterFunc(ctx, func() {
		view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: "stopping: the work so far is collected; Ctrl-C again leaves at once"})
	})
	defer interrupted()
	defer a.setFarewell("left at once: `dayclaude runs list` shows the run, `dayclaude run-issue " + j.ref.String() + "` goes on with it")()
	return do(ctx, w.engine, view.Show)
}

// settle finds out where the job's run is, and whether anything is missing to
// drive it. A run that another process drives is a fault of kind Conflict.
func (j *job) settle(ctx context.Context, db *store.Store, settings *config.Settings) error {
	r, err := db.RunOf(ctx, j.ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return settings.Require(j.local != "")
	case err != nil:
		return err
	}
	held, err := driver(ctx, db, r)
	if err != nil {
		return err
	} else if held != nil {
		return engine.Busy(r.Ref, held)
	}
	if !j.fresh && !r.State.Final() {
		j.local, settings.Snapshot = r.Options.Local, r.Options.Snapshot
	}
	return settings.Require(j.local != "")
}

// driver is the living process that drives the run, nil if there is none.
func driver(ctx context.Context, db *store.Store, r store.Listed) (*store.Held, error) {
	held, err := db.Holder(ctx, r.ThreadID)
	if err != nil || !alive(held) {
		return nil, err
	}
	return held, nil
}

// alive reports whether a lease's holder, which may be nil, still drives.
func alive(held *store.Held) bool {
	return held != nil && !held.CleansUp() && !ownerIsDead(held.Owner) && !time.Now().After(held.Until)
}

// view is where a run's entries are shown.
func (a *app) view(ref run.Ref, how showing) term.View {
	if how.json && !how.verbose {
		return notices{a.streams.Err}
	}
	return a.streams.NewView(ref.String(), how.verbose)
}

// notices is the view of --json: no progress, but what the user should know,
// such as what a run waits for.
type notices struct{ err io.Writer }

func (n notices) Show(e run.Entry) {
	if e.Kind == run.Notice {
		fmt.Fprintln(n.err, term.Line(e))
	}
}

func (notices) Close() {}

// localSpace is where --local keeps an issue's sandboxes: the next run on it
// finds them there.
func localSpace(ref run.Ref) string {
	return strings.ToLower(fmt.Sprintf("dayclaude-%s-%s-%d", ref.Owner, ref.Repo, ref.Number))
}
