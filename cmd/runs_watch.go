package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

type runsWatchOptions struct {
	id string // "" for the one run that goes on
	showing
}

func newRunsWatch(a *app, do func(context.Context, *runsWatchOptions) error) *cobra.Command {
	o := &runsWatchOptions{}
	c := &cobra.Command{
		Use: "watch [RUN]", Short: "Watch a run that another process drives",
		Long: `Watch a run that another process drives, as run-issue shows it, until it ends.
The exit code is the run's.

RUN is the beginning of its id, or owner/repo#42 for the issue's newest run.
Without it the one run is watched that has not ended.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.id = strings.Join(args, "")
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	return c
}

func (a *app) runsWatch(ctx context.Context, o *runsWatchOptions) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := a.unfinished(ctx, s, o)
	if err != nil {
		return err
	}
	return a.watch(ctx, s, r, o.showing)
}

// unfinished finds the run that is meant: without an id the only one that has
// not ended. Of several it prints the list.
func (a *app) unfinished(ctx context.Context, s *store.Store, o *runsWatchOptions) (store.Listed, error) {
	if o.id != "" {
		return findRun(ctx, s, o.id)
	}
	runs, err := s.Unfinished(ctx, 30)
	switch {
	case err != nil:
		return store.Listed{}, err
	case len(runs) == 0:
		return store.Listed{}, fault.New(fault.NotFound, "no run is under way").WithHint("`dayclaude runs list` shows those that ended")
	case len(runs) == 1:
		return runs[0], nil
	}
	if !o.json {
		a.listRuns(a.streams.Err, runs)
	}
	return store.Listed{}, fault.New(fault.Usage, "%d runs have not ended", len(runs)).
		WithHint("name one of them, such as `dayclaude runs watch %s`", runs[0].ID)
}

// watch shows a run until it ends, and then what it came to.
func (a *app) watch(ctx context.Context, s *store.Store, r store.Listed, how showing) error {
	view := a.view(r.Ref, how)
	defer view.Close()
	r, err := follow(ctx, s, r, func(e run.Entry) error { view.Show(e); return nil })
	view.Close()
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Cancelled, "no longer watching; run %s goes on", r.ID)
	} else if err != nil {
		return err
	}
	t, err := s.ThreadByID(ctx, r.ThreadID)
	if err != nil {
		return err
	}
	return a.told(&engine.Report{Thread: t, Run: r.Run}, problemOf(r.Run), how.json)
}

// offerToWatch asks, where another process works on the issue and somebody
// sits at the terminal, whether to watch that.
func (a *app) offerToWatch(ctx context.Context, ref run.Ref, err error, how showing) error {
	if held := (*store.Held)(nil); !errors.As(err, &held) || how.json || !a.streams.Asks() {
		return err
	}
	a.printError(err, false)
	if !a.streams.Ask(ctx, "Watch it?") {
		return &toldError{err}
	}
	return a.runsWatch(ctx, &runsWatchOptions{id: ref.String(), showing: how})
}

// problemOf is the error that a stored run ended with, nil if it ended well.
func problemOf(r *run.Run) error {
	if r.Outcome == nil {
		return nil
	}
	return r.Outcome.Problem.Err()
}

// How a stored run is followed.
const (
	pollEvery = 300 * time.Millisecond
	// silence is how long a lease that ran out is waited for: a machine that
	// wakes up renews it.
	silence = 15 * time.Second
)

// follow shows a run's entries as they are stored, from the first one on, until
// the run ends or waits. One that nobody drives any more is errLeft.
func follow(ctx context.Context, s *store.Store, r store.Listed, show func(run.Entry) error) (store.Listed, error) {
	var last int64
	var silent time.Time // since when the lease has run out
	waiting := ctx.Done()
	ctx = context.WithoutCancel(ctx)
	for {
		// In this order: who lets go of a run has stored its end, and who
		// stored its end has stored all entries.
		held, err := s.Holder(ctx, r.ThreadID)
		if err != nil {
			return r, err
		}
		now, err := s.Run(ctx, r.ID)
		if err != nil {
			return r, err
		}
		r = now
		if last, err = pages(ctx, s, r.ID, last, show); err != nil {
			return r, err
		}
		switch {
		case r.State.Final(), r.State == run.Parked && held == nil:
			return r, nil
		case held == nil || ownerIsDead(held.Owner):
			return r, left(r, held)
		case time.Now().Before(held.Until):
			silent = time.Time{}
		case silent.IsZero():
			silent = time.Now()
		case time.Since(silent) > silence:
			return r, left(r, held)
		}
		select {
		case <-waiting:
			return r, context.Canceled
		case <-time.After(pollEvery):
		}
	}
}

// pages shows a run's entries after a number, and returns the last one's.
func pages(ctx context.Context, s *store.Store, runID string, last int64, show func(run.Entry) error) (int64, error) {
	const page = 500
	for {
		entries, err := s.Entries(ctx, runID, last, page)
		if err != nil {
			return last, err
		}
		for _, e := range entries {
			last = e.Number
			if err := show(e); err != nil {
				return last, err
			}
		}
		if len(entries) < page {
			return last, nil
		}
	}
}

// errLeft is the cause of left's error.
var errLeft = errors.New("nobody drives the run")

// left is the error of a run that nobody drives any more. held drove it last,
// if that is known.
func left(r store.Listed, held *store.Held) error {
	who := "nobody works on it any more"
	switch {
	case held == nil:
	case ownerIsDead(held.Owner):
		who = held.Owner + " is gone"
	default:
		who = held.Owner + " has given no sign of life since " + held.Until.Local().Format("15:04:05 on 2 January")
	}
	return &fault.Error{
		Kind:    fault.Failed,
		Message: fmt.Sprintf("%s: %s; run %s was left while %s", r.Ref, who, r.ID, r.State),
		Hint:    fmt.Sprintf("`dayclaude run-issue %s` goes on with it; `dayclaude runs cancel %[1]s` ends it", r.Ref),
		Err:     errLeft,
	}
}

// withRun opens the store and has do look at the run that is meant.
func (a *app) withRun(ctx context.Context, id string, do func(*store.Store, store.Listed) error) error {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := findRun(ctx, s, id)
	if err != nil {
		return err
	}
	return do(s, r)
}

// findRun returns the run that is meant by the beginning of its id, or the
// newest run of the issue that is meant.
func findRun(ctx context.Context, s *store.Store, id string) (store.Listed, error) {
	if !strings.ContainsAny(id, "/#") {
		return s.Run(ctx, id)
	}
	ref, err := run.ParseRef(id)
	if err != nil {
		return store.Listed{}, fault.New(fault.Usage, "%w", err)
	}
	return s.RunOf(ctx, ref)
}
