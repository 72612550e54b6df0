package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// provision finds the thread's sandbox and starts it, or makes it.
func (d *drive) provision(ctx context.Context) (run.State, error) {
	err := d.ready(ctx)
	if errors.Is(err, errStopped) {
		err = givenUp(err)
	}
	return run.Connecting, err
}

// ready makes sure that the sandbox runs. In Provisioning it is made if need
// be; later it is the one that the task was begun in.
func (d *drive) ready(ctx context.Context) error {
	if d.sandbox != nil {
		return nil
	}
	if err := d.loadSettings(); err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		sb, err := d.find(ctx)
		if err == nil {
			err = d.holdNetwork(sb)
		}
		if err == nil {
			d.sandbox = sb
			return nil
		}
		// It broke or went while it was started: what is there now decides.
		if tries > maxReplacements || !errors.Is(err, errLost) || d.run.State != run.Provisioning {
			return err
		}
		d.say(run.Notice, "%v", err)
	}
}

// find returns the thread's sandbox, started.
func (d *drive) find(ctx context.Context) (*daytona.Sandbox, error) {
	name := run.SandboxName(d.thread.RepositoryID, d.thread.Ref.Number, d.thread.Generation)
	sb, err := d.Daytona.Get(ctx, name)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		sb, err = d.another(ctx, nil, "the sandbox is gone: somebody deleted it")
	case err != nil:
	case sb.Labels[run.LabelStore] != d.Store.ID():
		err = d.held(sb)
	case sb.State.Failed():
		sb, err = d.mend(ctx, sb)
	case !d.networkHolds(sb):
		sb, err = d.another(ctx, sb, "sandbox %s has another network policy", name)
	case d.run.State != run.Provisioning && sb.ID != d.thread.SandboxID:
		err = lost("sandbox %s is another than the one that the run began in", name)
	}
	if err != nil {
		return nil, err
	}
	if err := d.adopt(sb); err != nil {
		return nil, err
	}
	if sb.State == daytona.Started {
		return sb, nil
	}
	if !d.leaving() && (d.run.State == run.Working || d.run.State == run.Harvesting) {
		return nil, wasStopped(name)
	}
	d.say(run.Began, "starting sandbox %s", name)
	return d.start(ctx, sb)
}

// adopt stores which sandbox is the thread's. A task that was begun in another
// begins anew: its name is stored first, so that no process takes the new
// sandbox for the one that the old task ran in.
func (d *drive) adopt(sb *daytona.Sandbox) error {
	if sb.ID == d.thread.SandboxID {
		return nil
	}
	if d.thread.SandboxID != "" && d.run.Task != "" {
		if err := d.save(func() { d.run.Task, d.run.LastEvent, d.run.Result = d.nextTask(), 0, nil }); err != nil {
			return err
		}
	}
	return d.save(func() { d.thread.SandboxID = sb.ID })
}

// another makes a sandbox in place of old, which may be nil, for the reason
// given; later than in Provisioning that is for retrace to decide.
func (d *drive) another(ctx context.Context, old *daytona.Sandbox, format string, args ...any) (*daytona.Sandbox, error) {
	if d.run.State != run.Provisioning {
		return nil, lost(format, args...)
	}
	name := run.SandboxName(d.thread.RepositoryID, d.thread.Ref.Number, d.thread.Generation)
	if old == nil {
		d.say(run.Began, "making sandbox %s", name)
		return d.create(ctx, name)
	}
	d.say(run.Notice, format, args...)
	d.say(run.Began, "replacing sandbox %s", name)
	if err := d.Daytona.Delete(ctx, old.ID); err != nil {
		return nil, err
	}
	return d.create(ctx, name)
}

// mend recovers a sandbox that broke, if Daytona says that it can; its files
// are then still there. Otherwise another takes its place.
func (d *drive) mend(ctx context.Context, sb *daytona.Sandbox) (*daytona.Sandbox, error) {
	why := cmp.Or(sb.ErrorReason, "Daytona gives no reason")
	if sb.Recoverable {
		d.say(run.Began, "recovering sandbox %s, which broke: %s", sb.Name, why)
		mended, err := d.Daytona.Recover(ctx, sb.ID)
		if err == nil || ctx.Err() != nil {
			return mended, err
		}
		why = err.Error()
	}
	return d.another(ctx, sb, "sandbox %s broke: %s", sb.Name, d.clean(why, 500))
}

// held is the fault of a sandbox that isn't ours: Daytona's lock on the name.
func (d *drive) held(sb *daytona.Sandbox) error {
	by := cmp.Or(d.clean(sb.Labels[run.LabelMadeBy], 100), "somebody else")
	return fault.New(fault.Conflict, "sandbox %s was made by %s at %s: another machine works on %s, or this one did with a store that is gone",
		sb.Name, by, sb.CreatedAt.UTC().Format("15:04 MST on 2 Jan 2006"), d.thread.Ref).
		WithHint("wait for that machine, or begin anew beside it with --new")
}

// start brings a sandbox that is at rest, or on its way, to started.
func (d *drive) start(ctx context.Context, sb *daytona.Sandbox) (*daytona.Sandbox, error) {
	id := sb.ID
	err := error(nil)
	if sb.State == daytona.Stopping || sb.State == daytona.Archiving {
		sb, err = d.Daytona.Wait(ctx, id, daytona.Stopped, daytona.Archived)
	}
	if err == nil && (sb.State == daytona.Stopped || sb.State == daytona.Archived || sb.State == daytona.Paused) {
		err = d.Daytona.Start(ctx, id)
	}
	if err == nil {
		sb, err = d.Daytona.Wait(ctx, id, daytona.Started)
	}
	if kind := fault.KindOf(err); kind != fault.Sandbox && kind != fault.NotFound {
		return sb, err
	}
	if now, look := d.Daytona.Get(ctx, id); look == nil && now.State == daytona.Stopped {
		f := wasStopped(now.Name)
		f.Err = errStopped
		return nil, f
	}
	return nil, lost("%v", err)
}

// asked is what the run asks Daytona for. Nothing in it is secret: whoever
// reads the sandbox's record, or its inside, finds no key.
func (d *drive) asked(name string) daytona.CreateSandbox {
	block, domains := d.network().Allowed()
	minutes := func(t time.Duration) *int { m := int(t / time.Minute); return &m }
	return daytona.CreateSandbox{
		Name:     name,
		Snapshot: d.run.Options.Snapshot,
		Labels: map[string]string{
			run.LabelStore:  d.Store.ID(),
			run.LabelThread: d.thread.ID,
			run.LabelMadeBy: d.Owner,
			run.LabelIssue:  strconv.FormatInt(d.thread.RepositoryID, 10) + "-" + strconv.Itoa(d.thread.Ref.Number),
		},
		NetworkBlockAll: block,
		Domains:         domains,
		AutoStop:        minutes(run.IdleMinutes * time.Minute),
		AutoArchive:     minutes(d.ArchiveAfter),
		AutoDelete:      minutes(d.DeleteAfter),
	}
}

func (d *drive) create(ctx context.Context, name string) (*daytona.Sandbox, error) {
	sb, err := d.Daytona.Create(ctx, d.asked(name))
	if theirs := (*daytona.Held)(nil); errors.As(err, &theirs) {
		return nil, d.held(theirs.Sandbox)
	}
	if fault.KindOf(err) == fault.NotFound {
		return nil, fault.New(fault.NotFound, "the snapshot %s is not there: %w", d.run.Options.Snapshot, err).
			WithHint("docs/snapshots.md says how to make it; --snapshot takes another")
	}
	return sb, err
}

// network is the policy that holds for the run.
func (d *drive) network() run.Network {
	if n := d.settings.Network.Network; n.Mode != "" {
		return n
	}
	return run.DefaultNetwork(d.run.Frozen.Repository.Private)
}

// networkHolds compares what Daytona granted with the policy: servers ignore
// settings that they don't know, and a sandbox that can reach more than it
// should must not get the source. One that can reach nothing is always safe.
func (d *drive) networkHolds(sb *daytona.Sandbox) bool {
	block, domains := d.network().Allowed()
	if sb.NetworkBlockAll {
		return block || domains != nil
	}
	return !block && slices.Equal(slices.Sorted(slices.Values(domains)), slices.Sorted(slices.Values(sb.Domains)))
}

// holdNetwork refuses a sandbox whose network is wider than the policy.
func (d *drive) holdNetwork(sb *daytona.Sandbox) error {
	if !d.networkHolds(sb) {
		return fault.New(fault.Sandbox, "Daytona did not apply the network policy %q to sandbox %s", d.network(), sb.Name).
			WithHint("set `network: open` in %s if that is acceptable, or use a Daytona that knows domain lists", config.RepositoryFile)
	}
	if block, _ := d.network().Allowed(); sb.NetworkBlockAll && !block {
		d.say(run.Notice, "this Daytona can't open single domains: the sandbox has no network at all")
	}
	return nil
}
