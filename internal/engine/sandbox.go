package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Labels of a sandbox. Clean-up touches only its own store's.
const (
	LabelStore  = "dayclaude/store"
	LabelThread = "dayclaude/thread"
	LabelIssue  = "dayclaude/issue"
)

// idleMinutes is the dead man's switch: a sandbox whose host is gone stops.
const idleMinutes = 15

// provision finds the thread's sandbox and starts it, or makes it.
func (d *drive) provision(ctx context.Context) (run.State, error) {
	if err := d.ready(ctx); err != nil {
		return "", err
	}
	return run.Connecting, nil
}

// ready makes sure that the sandbox runs.
func (d *drive) ready(ctx context.Context) error {
	if d.sandbox != nil {
		return nil
	}
	if err := d.loadSettings(); err != nil {
		return err
	}
	name := run.SandboxName(d.thread.RepositoryID, d.thread.Ref.Number, d.thread.Generation)
	sb, err := d.Daytona.Get(ctx, name)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		d.say(run.Began, "making sandbox %s", name)
		sb, err = d.create(ctx, name)
	case err != nil:
	case sb.Labels[LabelStore] != d.Store.ID():
		err = fault.New(fault.Conflict, "the sandbox %s belongs to another store: another machine works on %s, or this one did with a store that is gone", name, d.thread.Ref).
			WithHint("wait for that machine, or begin anew beside it with --new")
	case sb.State.Failed():
		d.say(run.Began, "replacing sandbox %s, which broke", name)
		sb, err = d.replace(ctx, sb)
	case !d.networkHolds(sb):
		d.say(run.Began, "replacing sandbox %s, which has another network policy", name)
		sb, err = d.replace(ctx, sb)
	default:
		d.say(run.Began, "starting sandbox %s", name)
	}
	if err != nil {
		return err
	}
	if err := d.save(func() { d.thread.SandboxID = sb.ID }); err != nil {
		return err
	}
	if sb.State != daytona.Started {
		if err := d.start(ctx, sb); err != nil {
			return err
		}
		if sb, err = d.Daytona.Get(ctx, sb.ID); err != nil {
			return err
		}
	}
	if err := d.holdNetwork(sb); err != nil {
		return err
	}
	d.sandbox = sb
	return nil
}

// start brings a sandbox that is at rest, or on its way, to started.
func (d *drive) start(ctx context.Context, sb *daytona.Sandbox) error {
	if sb.State == daytona.Stopping || sb.State == daytona.Archiving {
		at, err := d.Daytona.Wait(ctx, sb.ID, daytona.Stopped, daytona.Archived)
		if err != nil {
			return err
		}
		sb = at
	}
	if sb.State == daytona.Stopped || sb.State == daytona.Archived || sb.State == daytona.Paused {
		if err := d.Daytona.Start(ctx, sb.ID); err != nil {
			return err
		}
	}
	_, err := d.Daytona.Wait(ctx, sb.ID, daytona.Started)
	return err
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
			LabelStore:  d.Store.ID(),
			LabelThread: d.thread.ID,
			LabelIssue:  strconv.FormatInt(d.thread.RepositoryID, 10) + "-" + strconv.Itoa(d.thread.Ref.Number),
		},
		NetworkBlockAll: block,
		Domains:         domains,
		AutoStop:        minutes(idleMinutes * time.Minute),
		AutoArchive:     minutes(d.ArchiveAfter),
		AutoDelete:      minutes(d.DeleteAfter),
	}
}

func (d *drive) create(ctx context.Context, name string) (*daytona.Sandbox, error) {
	sb, err := d.Daytona.Create(ctx, d.asked(name))
	if fault.KindOf(err) == fault.NotFound {
		return nil, fault.New(fault.NotFound, "the snapshot %s is not there: %w", d.run.Options.Snapshot, err).
			WithHint("docs/snapshots.md says how to make it; --snapshot takes another")
	}
	return sb, err
}

// replace deletes a sandbox and makes it anew under its name.
func (d *drive) replace(ctx context.Context, sb *daytona.Sandbox) (*daytona.Sandbox, error) {
	name := run.SandboxName(d.thread.RepositoryID, d.thread.Ref.Number, d.thread.Generation)
	if err := d.Daytona.Delete(ctx, sb.ID); err != nil {
		return nil, err
	}
	return d.create(ctx, name)
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

// connect gives sandboxd its orders' token and opens the tunnel, putting
// sandboxd into the sandbox if it is not there.
func (d *drive) connect(ctx context.Context) (run.State, error) {
	if err := d.reach(ctx); err != nil {
		return "", err
	}
	return run.Working, nil
}

// reach makes sure that sandboxd takes our orders and the tunnel is open.
func (d *drive) reach(ctx context.Context) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	if d.sandboxd != nil {
		return nil
	}
	d.say(run.Began, "connecting to the sandbox")
	box := d.Daytona.Toolbox(d.sandbox)
	var home string
	var preview daytona.Preview
	asking, asked := errgroup.WithContext(ctx)
	asking.Go(func() (err error) { home, err = box.HomeDir(asked); return err })
	asking.Go(func() (err error) { preview, err = d.Daytona.Preview(asked, d.sandbox.ID, api.Port); return err })
	if err := asking.Wait(); err != nil {
		return err
	}
	token, err := d.claim(ctx, box, home)
	if err != nil {
		return err
	}
	c, err := d.knock(ctx, preview, token, box, home)
	if errors.Is(err, client.ErrUnauthorized) {
		// Right after a start Daytona may still tell the token of before.
		if preview, err = d.nextPreview(ctx); err == nil {
			c, err = d.knock(ctx, preview, token, box, home)
		}
	}
	if err != nil {
		return err
	}
	d.sandboxd = c
	return d.openTunnel(ctx)
}

// claim makes the token by which sandboxd knows us, and puts its hash into the
// sandbox: whoever reads that learns nothing. A new one each time: none is
// ever stored, and a process that lost the thread can't give orders any more.
func (d *drive) claim(ctx context.Context, box *daytona.Toolbox, home string) (secret.String, error) {
	token := secret.New(rand.Text() + rand.Text())
	d.Redactor.Add(token)
	hash := sha256.Sum256([]byte(token.Reveal()))
	content, err := json.Marshal(api.Claim{TokenSHA256: hex.EncodeToString(hash[:])})
	if err != nil {
		return token, err
	}
	return token, box.Upload(ctx, daytona.File{Path: path.Join(home, api.ClaimFile), Content: content})
}

// nextPreview is the way to sandboxd once Daytona's cached answer is over.
func (d *drive) nextPreview(ctx context.Context) (daytona.Preview, error) {
	const cached = time.Second // Daytona's own
	select {
	case <-ctx.Done():
		return daytona.Preview{}, ctx.Err()
	case <-time.After(cached + 100*time.Millisecond):
	}
	return d.Daytona.Preview(ctx, d.sandbox.ID, api.Port)
}

// knock waits until sandboxd answers behind the preview, and makes sure that
// the sandbox has what a task needs.
func (d *drive) knock(ctx context.Context, preview daytona.Preview, token secret.String, box *daytona.Toolbox, home string) (*client.Client, error) {
	d.Redactor.Add(preview.Token)
	c := client.New(client.Config{BaseURL: preview.URL, Preview: preview.Token, Token: token, Log: d.Log})
	health, err := d.awaitSandboxd(ctx, c, box, home)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, tool := range slices.Sorted(maps.Keys(health.Tools)) {
		if !health.Tools[tool] {
			missing = append(missing, tool)
		}
	}
	if missing != nil {
		return nil, fault.New(fault.Sandbox, "the snapshot %s lacks %s", d.sandbox.Snapshot, strings.Join(missing, " and ")).
			WithHint("use a snapshot made from snapshot/Dockerfile.slim, or add what is missing")
	}
	return c, nil
}

const (
	sandboxdPatience   = 30 * time.Second // until sandboxd must answer
	entrypointPatience = 5 * time.Second  // until the image's own must, before it gets the host's
	healthPoll         = 20 * time.Millisecond
)

// awaitSandboxd waits until sandboxd answers. The image's entrypoint starts
// it, or we do: where nothing listens, or something that speaks another
// protocol, the host's own build is uploaded. Should both start at once, the
// second finds the port taken and leaves.
func (d *drive) awaitSandboxd(ctx context.Context, c *client.Client, box *daytona.Toolbox, home string) (api.Health, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sandboxdPatience,
		fault.New(fault.Sandbox, "sandboxd does not answer in sandbox %s", d.sandbox.Name).
			WithHint("run the command again; `--new` begins with another sandbox"))
	defer cancel()
	poll := time.NewTicker(healthPoll)
	defer poll.Stop()
	begin, uploaded := d.Now(), false
	var inside *contents // looked at when it is needed
	for {
		health, err := c.Health(ctx)
		absent := errors.Is(err, client.ErrNotListening)
		switch {
		case err == nil && health.Protocol == api.Protocol:
			return health, nil
		case ctx.Err() != nil:
			return health, context.Cause(ctx)
		case err != nil && !absent:
			return health, err
		case uploaded:
		default:
			if inside == nil {
				if inside, err = lookInto(ctx, box); err != nil {
					return health, err
				}
			}
			if absent && inside.sandboxd && d.Now().Sub(begin) < entrypointPatience {
				break // on its way
			}
			if err := d.uploadSandboxd(ctx, box, home, inside.machine, health.PID); err != nil {
				return health, err
			}
			uploaded = true
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return health, context.Cause(ctx)
		}
	}
}

// contents are what matters of a sandbox's image.
type contents struct {
	machine  string // as uname has it
	sandboxd bool   // has one on its PATH
}

func lookInto(ctx context.Context, box *daytona.Toolbox) (*contents, error) {
	said, err := box.Execute(ctx, daytona.Command{Line: "uname -m; command -v sandboxd"})
	if err != nil {
		return nil, err
	}
	machine, program, _ := strings.Cut(said.Output, "\n")
	return &contents{machine: strings.TrimSpace(machine), sandboxd: strings.TrimSpace(program) != ""}, nil
}

// architectures are uname's names in Go's.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// uploadSandboxd puts the host's build of sandboxd into the sandbox and starts
// it, in place of the process old if that is not 0.
func (d *drive) uploadSandboxd(ctx context.Context, box *daytona.Toolbox, home, machine string, old int) error {
	arch, ok := architectures[machine]
	if !ok {
		return fault.New(fault.Sandbox, "the sandbox is a %q; there is no sandboxd for it", d.clean(machine, 40)).
			WithHint("use a snapshot for x86_64 or aarch64")
	}
	binary, err := d.Sandboxd(arch)
	if err != nil {
		return err
	}
	program := path.Join(home, api.StateDir, "bin", "sandboxd")
	if err := box.Upload(ctx, daytona.File{Path: program, Content: binary}); err != nil {
		return err
	}
	line := "chmod 755 " + quote(program) + "; " + quote(program) + " >>" + quote(path.Join(home, api.StateDir, "sandboxd.log")) + " 2>&1 </dev/null"
	if old > 1 {
		line = "kill " + strconv.Itoa(old) + "; " + line
	}
	return box.Spawn(ctx, "dayclaude-sandboxd", line)
}

// quote makes a word of a POSIX shell's.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
