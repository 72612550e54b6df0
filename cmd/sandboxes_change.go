package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/internal/term"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// sandboxesChangeOptions are those of stop, start and delete.
type sandboxesChangeOptions struct {
	whats []string
	target
	deletes bool
	force   bool // although a run is at work in it
	yes     bool // without a question
	json    bool
}

type changing = func(context.Context, *sandboxesChangeOptions) error

func newSandboxesStop(a *app, do changing) *cobra.Command {
	o := &sandboxesChangeOptions{}
	c := newChange(a, o, do, "stop", "Stop sandboxes; their files stay", `Stop sandboxes and wait until they are. Processes end, files stay: the next run
on the issue, or start, goes on with them. One in which a run is at work is left
alone: runs cancel ends the run, and brings its work to safety first.`)
	c.Flags().BoolVar(&o.force, "force", false, "stop it although a run is at work in it")
	c.Flags().BoolVar(&o.yes, "yes", false, "don't ask where stopping it deletes it (delete_after 0)")
	return c
}

func newSandboxesStart(a *app, do changing) *cobra.Command {
	o := &sandboxesChangeOptions{}
	return newChange(a, o, do, "start", "Start sandboxes", `Start sandboxes that are stopped or archived, and wait until they are. A broken
one is mended, if Daytona can. A sandbox that runs costs money until it stops,
which it does by itself when nothing happens in it.`)
}

func newSandboxesDelete(a *app, do changing) *cobra.Command {
	o := &sandboxesChangeOptions{deletes: true}
	c := newChange(a, o, do, "delete", "Delete sandboxes with all that is in them", `Delete sandboxes and wait until they are gone, with their files and Claude's
session; the next run on the issue makes another. What a run has published, or
kept on this machine, stays. One in which a run is at work is left alone.`)
	c.Flags().BoolVar(&o.force, "force", false, "delete it although a run is at work in it")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	return c
}

func newChange(a *app, o *sandboxesChangeOptions, do changing, verb, short, long string) *cobra.Command {
	c := &cobra.Command{
		Use: verb + " SANDBOX...", Short: short, Long: long + "\n\n" + targetWords,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s takes at least one SANDBOX", c.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.completeSandboxes,
		RunE: func(c *cobra.Command, args []string) error {
			o.whats = args
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON array")
	return c
}

// changed is the documented object of stop, start and delete --json:
// docs/sandboxes.md.
type changed struct {
	ID      string        `json:"id"`
	Name    string        `json:"name"`
	State   daytona.State `json:"state"`
	Changed bool          `json:"changed"` // false: it was so before
}

// changer brings a sandbox to another state, or finds it there.
type changer = func(*sandboxes.Keeper, sandboxes.Sandbox) (changed, error)

// changeEach changes each of the sandboxes that are meant. It goes on after an
// error.
func (a *app) changeEach(ctx context.Context, o *sandboxesChangeOptions, change changer) error {
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		done, errs := []changed{}, []error(nil)
		for _, what := range o.whats {
			if ctx.Err() != nil {
				break
			}
			c, err := a.changeOne(ctx, k, o, what, change)
			if errs = append(errs, err); err != nil {
				continue
			}
			done = append(done, c)
			if !o.json {
				fmt.Fprintln(a.streams.Out, c)
			}
		}
		if o.json {
			errs = append(errs, writeJSON(a.streams.Out, done))
		}
		return errors.Join(errs...)
	})
}

func (a *app) changeOne(ctx context.Context, k *sandboxes.Keeper, o *sandboxesChangeOptions, what string, change changer) (changed, error) {
	one := o.target
	one.what = what
	s, err := a.find(ctx, k, one)
	if o.deletes && errors.Is(err, sandboxes.ErrDeleted) {
		return changed{Name: what, State: daytona.Destroyed}, nil
	} else if err != nil {
		return changed{}, err
	}
	c, err := change(k, s)
	c.ID, c.Name = untrusted.Line(s.ID, 100), nameOf(s)
	return c, err
}

// String is what is printed of it.
func (c changed) String() string {
	verb, state := "was already", string(c.State)
	if c.Changed {
		verb = "is"
	}
	if c.State == daytona.Destroyed {
		state = "deleted"
	}
	return c.Name + " " + verb + " " + state
}

func (a *app) sandboxesStop(ctx context.Context, o *sandboxesChangeOptions) error {
	return a.changeEach(ctx, o, func(k *sandboxes.Keeper, s sandboxes.Sandbox) (changed, error) {
		switch {
		case s.State == daytona.Stopped || s.State == daytona.Archived || s.State == daytona.Paused:
			return changed{State: s.State}, nil
		case s.State.Failed():
			return changed{}, broken(s)
		}
		return a.endOne(ctx, k, o, s, "stopping", func(ctx context.Context) (*daytona.Sandbox, error) {
			if err := k.Daytona.Stop(ctx, s.ID); err != nil {
				return nil, err
			}
			return k.Daytona.Wait(ctx, s.ID, daytona.Stopped, daytona.Archived, daytona.Destroyed)
		})
	})
}

func (a *app) sandboxesStart(ctx context.Context, o *sandboxesChangeOptions) error {
	return a.changeEach(ctx, o, func(k *sandboxes.Keeper, s sandboxes.Sandbox) (changed, error) {
		switch {
		case s.State == daytona.Started:
			return changed{State: s.State}, nil
		case s.State.Failed() && s.Recoverable:
			return a.change(ctx, k, o, s, "mending", func(ctx context.Context) (*daytona.Sandbox, error) {
				return k.Daytona.Recover(ctx, s.ID)
			})
		case s.State.Failed():
			return changed{}, broken(s)
		}
		return a.change(ctx, k, o, s, "starting", func(ctx context.Context) (*daytona.Sandbox, error) {
			if err := k.Daytona.Start(ctx, s.ID); err != nil {
				return nil, err
			}
			return k.Daytona.Wait(ctx, s.ID, daytona.Started)
		})
	})
}

func (a *app) sandboxesDelete(ctx context.Context, o *sandboxesChangeOptions) error {
	return a.changeEach(ctx, o, func(k *sandboxes.Keeper, s sandboxes.Sandbox) (changed, error) {
		return a.endOne(ctx, k, o, s, "deleting", func(ctx context.Context) (*daytona.Sandbox, error) {
			if err := k.Daytona.Delete(ctx, s.ID); err != nil {
				return nil, err
			}
			return k.Daytona.Wait(ctx, s.ID, daytona.Destroyed)
		})
	})
}

// change shows a change while it goes on.
func (a *app) change(ctx context.Context, k *sandboxes.Keeper, o *sandboxesChangeOptions, s sandboxes.Sandbox, doing string, do func(context.Context) (*daytona.Sandbox, error)) (changed, error) {
	var view term.View = notices{a.streams.Err}
	if !o.json {
		view = a.streams.NewView(nameOf(s), false)
	}
	defer view.Close()
	view.Show(run.Entry{Kind: run.Began, Time: time.Now(), Text: doing + " sandbox " + nameOf(s)})
	now, err := do(notice.With(ctx, func(text string) { view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: text}) }))
	view.Show(run.Entry{Kind: run.Ended, Time: time.Now(), Failed: err != nil})
	switch {
	case ctx.Err() != nil:
		return changed{}, fault.New(fault.Cancelled, "no longer waiting: Daytona may still be %s sandbox %s", doing, nameOf(s))
	case fault.KindOf(err) == fault.Sandbox: // it broke over it, mostly
		if now, e := k.Daytona.Get(ctx, s.ID); e == nil && now.State.Failed() {
			err = broken(sandboxes.Sandbox{Sandbox: now})
		}
		return changed{}, err
	case err != nil:
		return changed{}, err
	}
	return changed{State: daytona.State(untrusted.Line(string(now.State), 40)), Changed: true}, nil
}

// broken is the fault of a sandbox that does nothing any more.
func broken(s sandboxes.Sandbox) error {
	reason := untrusted.Line(s.ErrorReason, 500)
	if reason == "" {
		reason = "Daytona gives no reason"
	}
	f := fault.New(fault.Sandbox, "sandbox %s is broken: %s", nameOf(s), reason)
	if s.Recoverable {
		return f.WithHint("`dayclaude sandboxes start %s` has Daytona mend it", nameOf(s))
	}
	return f.WithHint("`dayclaude sandboxes delete %s` deletes it; the next run makes another", nameOf(s))
}

// endOne ends a sandbox, if no run is at work in it, or begins to be; before
// something is lost it asks.
func (a *app) endOne(ctx context.Context, k *sandboxes.Keeper, o *sandboxesChangeOptions, s sandboxes.Sandbox, doing string, end func(context.Context) (*daytona.Sandbox, error)) (changed, error) {
	if own := s.Owner; own != nil && alive(own.Held) && !o.force {
		return changed{}, inUse(s, own.Held)
	}
	if o.deletes || sandboxes.Ephemeral(s.Sandbox) {
		if err := a.askToDelete(ctx, o, s); err != nil {
			return changed{}, err
		}
	}
	if s.Owner == nil || o.force {
		return a.change(ctx, k, o, s, doing, end)
	}
	process, err := leaseOwner()
	if err != nil {
		return changed{}, err
	}
	var c changed
	err = k.Store.Hold(ctx, s.Owner.Thread.ID, store.CleanUp+process, endLease, ownerIsDead, func() (err error) {
		c, err = a.change(ctx, k, o, s, doing, end)
		return err
	})
	if held := (*store.Held)(nil); errors.As(err, &held) {
		return changed{}, inUse(s, held)
	}
	return c, err
}

// endLease keeps runs away from a sandbox while it is stopped or deleted. A
// run waits for that; it is not renewed.
const endLease = 5 * time.Minute

// inUse is the fault of a sandbox that somebody works in.
func inUse(s sandboxes.Sandbox, held *store.Held) error {
	f := fault.New(fault.Conflict, "sandbox %s is in use: %w", nameOf(s), held)
	if held.CleansUp() {
		return f.WithHint("try again in a moment")
	}
	return f.WithHint("`dayclaude runs cancel %s` ends the run and saves its work; --force loses what was not saved yet", s.Owner.Thread.Ref)
}

// askToDelete asks, unless that was answered beforehand.
func (a *app) askToDelete(ctx context.Context, o *sandboxesChangeOptions, s sandboxes.Sandbox) error {
	switch {
	case o.yes:
		return nil
	case !a.streams.Asks():
		return fault.New(fault.Usage, "nobody is there to be asked whether to delete sandbox %s", nameOf(s)).WithHint("if you mean it, add --yes")
	}
	fmt.Fprintln(a.streams.Err, whatIsLost(s))
	answer, _ := a.streams.AskText(ctx, "delete sandbox "+nameOf(s)+", with its files and Claude's session? [y/N]")
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return fault.New(fault.Cancelled, "sandbox %s was left as it is", nameOf(s))
	}
	return nil
}

// whatIsLost says whether a sandbox holds work that is nowhere else.
func whatIsLost(s sandboxes.Sandbox) string {
	if s.Owner == nil || s.Owner.Run == nil {
		return "no run that this machine knows of worked in it"
	}
	r := s.Owner.Run
	which := "run " + r.ID + " of " + s.Owner.Thread.Ref.String()
	switch {
	case r.State == run.Parked:
		return which + " waits, and begins anew without it"
	case !r.State.Final():
		return which + " was left while " + string(r.State) + ": what it did since is nowhere else"
	case r.Outcome != nil && r.Outcome.URL != "":
		return "the work of " + which + " is in " + r.Outcome.URL
	case r.Outcome != nil && r.Outcome.PatchFile != "":
		return "the work of " + which + " is in " + r.Outcome.PatchFile
	case r.State == run.Unchanged:
		return which + " changed nothing"
	}
	return "the work of " + which + " (" + string(r.State) + ") is nowhere else"
}
