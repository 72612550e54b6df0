package cmd

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

func newSandboxes(a *app) *cobra.Command {
	c := &cobra.Command{Use: "sandboxes", Aliases: []string{"sandbox"}, Short: "Look at sandboxes, enter them, and clean up"}
	c.AddCommand(
		newSandboxesList(a, a.sandboxesList), newSandboxesShow(a, a.sandboxesShow),
	)
	return c
}

// withKeeper does something with the sandboxes of this machine's store.
func (a *app) withKeeper(ctx context.Context, do func(*sandboxes.Keeper) error) (err error) {
	settings, err := a.settings(ctx, nil)
	if err != nil {
		return err
	}
	if err := settings.RequireDaytona(); err != nil {
		return err
	}
	client, err := daytona.New(daytona.Config{BaseURL: settings.DaytonaURL, Key: settings.DaytonaKey, Target: settings.DaytonaTarget, Version: Version})
	if err != nil {
		return err
	}
	db, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(&sandboxes.Keeper{Store: db, Daytona: client, Now: time.Now})
}

// target is the sandbox that a command is about.
type target struct {
	what    string // of sandboxes.Keeper.Find
	all     bool   // it may be another's
	confirm string // its name, typed beforehand
}

// targetWords is how commands that take a target explain it.
const targetWords = `SANDBOX is a sandbox's id or name, a run's id (r_…), or an issue (owner/repo#42).`

func (t *target) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&t.all, "all", false, "also a sandbox that this machine's dayclaude did not make; its name must be typed")
	f.StringVar(&t.confirm, "confirm", "", "with --all: the sandbox's name, where nobody can type it")
}

// withSandbox does something with the sandbox that is meant. One that is not
// the store's is refused, unless --all is given and its name is typed.
func (a *app) withSandbox(ctx context.Context, t target, do func(*sandboxes.Keeper, sandboxes.Sandbox) error) error {
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		s, err := k.Find(ctx, t.what)
		if err != nil {
			return err
		}
		if !k.Ours(s.Sandbox) {
			if err := a.confirm(ctx, t, untrusted.Line(cmp.Or(s.Name, s.ID), 200)); err != nil {
				return err
			}
		}
		return do(k, s)
	})
}

// confirm has the name of a sandbox typed that is not the store's.
func (a *app) confirm(ctx context.Context, t target, name string) error {
	typed := t.confirm
	switch {
	case !t.all:
		return fault.New(fault.Usage, "sandbox %s was not made by this machine's dayclaude", name).WithHint("if you mean it, add --all")
	case typed == "" && !a.streams.Asks():
		return fault.New(fault.Usage, "nobody is there to type the name of sandbox %s", name).WithHint("if you mean it, add --confirm %s", name)
	case typed == "":
		typed, _ = a.streams.AskText(ctx, "sandbox "+name+" was not made by this machine's dayclaude; type its name to go on:")
	}
	if typed != name {
		return fault.New(fault.Usage, "%q is not the name of sandbox %s: nothing was done", typed, name)
	}
	return nil
}
