// Package sandboxes joins what Daytona says of sandboxes with what a store
// knows of the threads that they belong to: whose a sandbox is, what it cost,
// what becomes of it, and what may go.
package sandboxes

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/store"
)

// Keeper looks after the sandboxes of one store. All fields are required.
type Keeper struct {
	Store   *store.Store
	Daytona *daytona.Client
	Now     func() time.Time
}

// Sandbox is a sandbox with what the store knows of it.
type Sandbox struct {
	*daytona.Sandbox
	Owner *store.Owned // nil: this store knows no thread that owns it
}

// Ours reports whether the sandbox carries the store's label.
func (k *Keeper) Ours(s *daytona.Sandbox) bool { return s.Labels[run.LabelStore] == k.Store.ID() }

// List returns the store's sandboxes, or with all every one that the API key
// sees, page by page, in any state or in those given; it ends after the first
// error.
func (k *Keeper) List(ctx context.Context, all bool, states ...daytona.State) iter.Seq2[Sandbox, error] {
	filter := daytona.Filter{Labels: map[string]string{run.LabelStore: k.Store.ID()}, States: states}
	if all {
		filter.Labels = nil
	}
	return func(yield func(Sandbox, error) bool) {
		for s, err := range k.Daytona.List(ctx, filter) {
			var known Sandbox
			if err == nil {
				known, err = k.known(ctx, s)
			}
			if !yield(known, err) || err != nil {
				return
			}
		}
	}
}

// known adds what the store knows.
func (k *Keeper) known(ctx context.Context, s *daytona.Sandbox) (Sandbox, error) {
	if !k.Ours(s) {
		return Sandbox{Sandbox: s}, nil
	}
	owner, err := k.Store.Owned(ctx, s.Labels[run.LabelThread])
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return Sandbox{Sandbox: s, Owner: owner}, err
}

// ErrDeleted is the cause of Find's error if the sandbox that is meant has
// been there.
var ErrDeleted = errors.New("was deleted")

// Find returns the sandbox that is meant: by its id or name, by a run's id or
// the beginning of it (r_…), or by an issue (owner/repo#42 or its URL). The
// error is of kind NotFound if there is none, and of kind Usage if the run's
// sandbox is one of this machine's own (--local), which Daytona does not know.
func (k *Keeper) Find(ctx context.Context, what string) (Sandbox, error) {
	var r store.Listed
	var err error
	switch {
	case strings.HasPrefix(what, "r_"):
		r, err = k.Store.Run(ctx, what)
	case strings.ContainsAny(what, "/#"):
		ref, bad := run.ParseRef(what)
		if bad != nil {
			return Sandbox{}, fault.New(fault.Usage, "%w", bad)
		}
		r, err = k.Store.RunOf(ctx, ref)
	default:
		return k.get(ctx, what, fault.New(fault.NotFound, "there is no sandbox %s", what).
			WithHint("`dayclaude sandboxes list` shows this machine's, with --all every one that the key sees"))
	}
	if err != nil {
		return Sandbox{}, err
	}
	return k.ofRun(ctx, r)
}

// ofRun returns the sandbox of a run's thread.
func (k *Keeper) ofRun(ctx context.Context, r store.Listed) (Sandbox, error) {
	t, err := k.Store.ThreadByID(ctx, r.ThreadID)
	switch {
	case err != nil:
		return Sandbox{}, err
	case r.Options.Local != "":
		return Sandbox{}, fault.New(fault.Usage, "run %s of %s worked in a sandbox of this machine (--local), not at Daytona", r.ID, r.Ref).
			WithHint("`dayclaude runs show %s` shows the run", r.ID)
	case t.SandboxID == "":
		return Sandbox{}, fault.New(fault.NotFound, "%s has no sandbox yet", r.Ref).
			WithHint("`dayclaude runs show %s` tells how far its run is", r.ID)
	}
	gone := fault.New(fault.NotFound, "the sandbox of %s %w", r.Ref, ErrDeleted)
	return k.get(ctx, t.SandboxID, gone.WithHint("`dayclaude run-issue %s` makes another", r.Ref))
}

// get returns the sandbox with an id or name; missing is the error if there is
// none.
func (k *Keeper) get(ctx context.Context, idOrName string, missing *fault.Error) (Sandbox, error) {
	s, err := k.Daytona.Get(ctx, idOrName)
	switch {
	case err == nil && (s.State == daytona.Destroyed || s.State == daytona.Destroying):
		if !errors.Is(missing, ErrDeleted) {
			missing = fault.New(fault.NotFound, "sandbox %s %w", idOrName, ErrDeleted)
		}
		return Sandbox{}, missing
	case fault.KindOf(err) == fault.NotFound:
		return Sandbox{}, missing
	case err != nil:
		return Sandbox{}, err
	}
	return k.known(ctx, s)
}
