package engine

import (
	"cmp"
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
	"github.com/dayclaude/dayclaude/internal/notice"
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
	LabelMadeBy = "dayclaude/made-by" // for people: the process and its machine
)

// idleMinutes is the dead man's switch: a sandbox whose host is gone stops.
const idleMinutes = 15

// provision finds the thread's sandbox and starts it, or makes it.
func (d *drive) provision(ctx context.Context) (run.State, error) {
	err := d.ready(ctx)
	if errors.Is(err, errStopped) {
		err = givenUp(err)
	}
	return run.Connecting, err
}

// Causes of what was met by a run whose sandbox is not there any more or can't
// be used, and by one whose sandbox did not come up because it was stopped.
var (
	errLost    = errors.New("the sandbox is lost")
	errStopped = errors.New("the sandbox was stopped")
)

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
	case sb.Labels[LabelStore] != d.Store.ID():
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

func lost(format string, args ...any) error {
	f := fault.New(fault.Sandbox, format, args...).WithHint("run the command again: it makes a new sandbox")
	f.Err = errLost
	return f
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
	by := cmp.Or(d.clean(sb.Labels[LabelMadeBy], 100), "somebody else")
	return fault.New(fault.Conflict, "sandbox %s was made by %s at %s: another machine works on %s, or this one did with a store that is gone",
		sb.Name, by, sb.CreatedAt.UTC().Format("15:04 MST on 2 Jan 2006"), d.thread.Ref).
		WithHint("wait for that machine, or begin anew beside it with --new")
}

// giveTask gives sandboxd the run's task. A sandbox does one at a time: what an
// earlier run left under way, because its sandbox was out of reach when it
// ended, is ended first.
func (d *drive) giveTask(ctx context.Context) (api.Status, error) {
	status, err := d.sandboxd.CreateTask(ctx, d.task())
	for earlier := d.run; fault.KindOf(err) == fault.Conflict; {
		before, none := d.Store.Before(ctx, earlier)
		if none != nil {
			break
		}
		if earlier = before; earlier.Task == "" {
			continue
		}
		if ended := d.endTask(ctx, earlier.Task); ended != nil && fault.KindOf(ended) != fault.NotFound {
			return status, ended
		}
		status, err = d.sandboxd.CreateTask(ctx, d.task())
	}
	return status, err
}

// endTask cancels a task and waits for its end.
func (d *drive) endTask(ctx context.Context, id string) error {
	status, err := d.sandboxd.Cancel(ctx, id)
	for err == nil && status.Phase != api.PhaseEnded {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second / 10):
		}
		status, err = d.sandboxd.Task(ctx, id)
	}
	return err
}

// Bounds of a run's returns to an earlier state, so that it ends where
// something keeps breaking or stopping its sandbox.
const (
	maxReplacements = 2
	maxReturns      = 10
	maxStops        = 4 // while it is sought: as soon as it runs
)

// retrace decides what follows a step that failed, and may have because its
// sandbox is not what it was. A sandbox that stopped is started again, one
// that is lost is replaced, and a way to it that broke is sought anew; the
// steps that were done find what they did. Anything else is a problem.
func (d *drive) retrace(ctx context.Context, problem error) (run.State, error) {
	if ctx.Err() != nil || !slices.Contains([]run.State{run.Connecting, run.Working, run.Harvesting}, d.run.State) ||
		!retryable(problem) && !slices.Contains([]fault.Kind{fault.Sandbox, fault.NotFound}, fault.KindOf(problem)) ||
		d.run.State == run.Working && d.run.Result != nil {
		return "", problem
	}
	next, most := run.Connecting, maxReturns
	sb, err := d.Daytona.Get(ctx, d.thread.SandboxID)
	switch {
	case errors.Is(problem, errLost):
		next, most = run.Provisioning, maxReplacements
	case fault.KindOf(err) == fault.NotFound, err == nil && (sb.State == daytona.Destroyed || sb.State == daytona.Destroying):
		next, most, problem = run.Provisioning, maxReplacements, lost("the sandbox is gone: somebody deleted it")
	case err == nil && sb.State.Failed():
		next, most, problem = run.Provisioning, maxReplacements, lost("the sandbox broke: %s", d.clean(sb.ErrorReason, 500))
	case err == nil && sb.State != daytona.Started:
		problem = wasStopped(sb.Name)
		if d.run.State == run.Connecting {
			next = run.Provisioning
		}
	case err != nil || !retryable(problem):
		return "", problem
	}
	if !d.run.State.CanBecome(next) {
		return "", problem
	}
	returns, err := d.returns(ctx, next)
	if err != nil {
		return "", err
	}
	if returns >= most {
		return "", givenUp(problem)
	}
	d.say(run.Notice, "going back to %s: %v", next, problem)
	d.disconnect()
	d.sandbox = nil
	return next, nil
}

func givenUp(problem error) error {
	return fault.New(fault.Sandbox, "something keeps ending the sandbox, and the run gave up: %w", problem).
		WithHint("find out in Daytona's dashboard what ends it; the same command then goes on with the work")
}

func wasStopped(name string) *fault.Error {
	return fault.New(fault.Sandbox, "sandbox %s was stopped", name).WithHint("run the command again: it starts it and goes on")
}

// returns counts how often the run has gone back to a state.
func (d *drive) returns(ctx context.Context, to run.State) (n int, err error) {
	steps, err := d.Store.Steps(ctx, d.run.ID)
	for i := 1; i < len(steps); i++ {
		from := steps[i-1].State
		if steps[i].State == to && from != to && slices.Index(run.Active, from) > slices.Index(run.Active, to) {
			n++
		}
	}
	return n, err
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
			LabelStore:  d.Store.ID(),
			LabelThread: d.thread.ID,
			LabelMadeBy: d.Owner,
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

// connect gives sandboxd its orders' token and opens the tunnel, putting
// sandboxd into the sandbox if it is not there.
func (d *drive) connect(ctx context.Context) (run.State, error) {
	if err := d.reach(ctx); err != nil {
		return "", err
	}
	return run.Working, nil
}

// reachPatience is for a way to the sandbox that broke: Daytona's proxy may be
// away for two minutes.
const reachPatience = 3 * time.Minute

// reach makes sure that sandboxd takes our orders and the tunnel is open.
func (d *drive) reach(ctx context.Context) error {
	const way = "the way to the sandbox"
	began, pause, stops := d.Now(), 250*time.Millisecond, 0
	for tries := 1; ; tries++ {
		err := d.seek(ctx)
		if err == nil {
			notice.Back(ctx, way, d.Now())
			return nil
		}
		ended := daytona.NotRunning(err) || errors.Is(err, client.ErrNotStarted) || errors.Is(err, errStopped)
		if ended {
			stops++
		}
		switch {
		case ctx.Err() != nil || !ended && !retryable(err) || tries >= 3 && d.Now().Sub(began) > reachPatience:
			return err
		case stops >= maxStops:
			return givenUp(err)
		case tries > 2:
			notice.Away(ctx, way, began, err, reachPatience)
		}
		d.disconnect()
		d.sandbox = nil // it may have stopped
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

// seek is one attempt to reach sandboxd.
func (d *drive) seek(ctx context.Context) error {
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
	poll := time.NewTicker(healthPoll)
	defer poll.Stop()
	begin, uploaded := d.Now(), false
	until := begin.Add(sandboxdPatience)
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
		case d.Now().After(until):
			return health, fault.New(fault.Sandbox, "sandboxd does not answer in sandbox %s", d.sandbox.Name).
				WithHint("run the command again; `--new` begins with another sandbox")
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
			uploaded, until = true, d.Now().Add(sandboxdPatience) // the way there may be slow
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
	said, err := box.Execute(ctx, daytona.Command{Line: "uname -m; command -v sandboxd", Again: true})
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
