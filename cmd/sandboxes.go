package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

func newSandboxes(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "sandboxes", Aliases: []string{"sandbox"}, Short: "Look at sandboxes, enter them, and clean up",
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			c.SetContext(notice.With(c.Context(), func(text string) { fmt.Fprintln(a.streams.Err, "note:", text) }))
		},
	}
	c.AddCommand(
		newSandboxesList(a, a.sandboxesList), newSandboxesShow(a, a.sandboxesShow),
		newSandboxesStop(a, a.sandboxesStop), newSandboxesStart(a, a.sandboxesStart), newSandboxesDelete(a, a.sandboxesDelete),
		newSandboxesSSH(a, a.sandboxesSSH), newSandboxesPreview(a, a.sandboxesPreview),
		newSandboxesCp(a, a.sandboxesCp), newSandboxesExec(a, a.sandboxesExec), newSandboxesLogs(a, a.sandboxesLogs),
		newSandboxesGC(a, a.sandboxesGC), newSandboxesCleanup(a, a.sandboxesCleanup),
	)
	return c
}

// withKeeper does something with the sandboxes of this machine's store.
func (a *app) withKeeper(ctx context.Context, do func(*sandboxes.Keeper) error) (err error) {
	client, _, err := a.daytonaClient(ctx)
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
	f.StringVar(&t.confirm, "confirm", "", "with --all: the sandbox's `NAME`, where nobody can type it")
}

// withSandbox does something with the sandbox that is meant. One that is not
// the store's is refused, unless --all is given and its name is typed.
func (a *app) withSandbox(ctx context.Context, t target, do func(*sandboxes.Keeper, sandboxes.Sandbox) error) error {
	return a.withKeeper(ctx, func(k *sandboxes.Keeper) error {
		s, err := a.find(ctx, k, t)
		if err != nil {
			return err
		}
		return do(k, s)
	})
}

// find is withSandbox's first half.
func (a *app) find(ctx context.Context, k *sandboxes.Keeper, t target) (sandboxes.Sandbox, error) {
	s, err := k.Find(ctx, t.what)
	if err == nil && !k.Ours(s.Sandbox) {
		err = a.confirm(ctx, t, s)
	}
	return s, err
}

// nameOf is a sandbox's name as it is shown and typed; some have only an id.
func nameOf(s sandboxes.Sandbox) string { return untrusted.Line(cmp.Or(s.Name, s.ID), 200) }

// foreign is the fault of a sandbox that is not the store's.
func foreign(s sandboxes.Sandbox) error {
	return fault.New(fault.Usage, "sandbox %s was not made by this machine's dayclaude", nameOf(s)).WithHint("if you mean it, add --all")
}

// confirm has the name of a sandbox typed that is not the store's.
func (a *app) confirm(ctx context.Context, t target, s sandboxes.Sandbox) error {
	typed, name := t.confirm, nameOf(s)
	switch {
	case !t.all:
		return foreign(s)
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

// running refuses a sandbox that does not run.
func running(s sandboxes.Sandbox) error {
	if s.State == daytona.Started {
		return nil
	}
	return fault.New(fault.Sandbox, "sandbox %s is %s, and must be started for that", nameOf(s), untrusted.Line(string(s.State), 40)).
		WithHint("`dayclaude sandboxes start %s` starts it", nameOf(s))
}
