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

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/sandboxd/client"
	"github.com/dayclaude/dayclaude/internal/secret"
)

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
	began, wait, stops, said := d.Now(), 250*time.Millisecond, 0, false
	for tries := 1; ; tries++ {
		err := d.seek(ctx, &said)
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
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// seek is one attempt to reach sandboxd. The first one that begins is said.
func (d *drive) seek(ctx context.Context, said *bool) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	if d.sandboxd != nil {
		return nil
	}
	if !*said {
		*said = true
		d.say(run.Began, "connecting to the sandbox")
	}
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
	if err := pause.For(ctx, cached+100*time.Millisecond); err != nil {
		return daytona.Preview{}, err
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
	line := "chmod 755 " + daytona.Quote(program) + "; " + daytona.Quote(program) + " >>" + daytona.Quote(path.Join(home, api.StateDir, "sandboxd.log")) + " 2>&1 </dev/null"
	if old > 1 {
		line = "kill " + strconv.Itoa(old) + "; " + line
	}
	return box.Spawn(ctx, "dayclaude-sandboxd", line)
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
		if err := pause.For(ctx, time.Second/10); err != nil {
			return err
		}
		status, err = d.sandboxd.Task(ctx, id)
	}
	return err
}
