package engine

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// openTunnel opens the tunnel to sandboxd and lends the keys' use through it,
// until disconnect. A tunnel that is cut is opened again.
func (d *drive) openTunnel(ctx context.Context) error {
	if err := d.openBroker(ctx); err != nil {
		return err
	}
	first, err := d.sandboxd.Tunnel(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	keeping.Go(func() { d.keepTunnel(ctx, first) })
	d.tunnel = func() { cancel(); keeping.Wait() }
	return nil
}

// openBroker makes the broker for this run, if there is none yet.
func (d *drive) openBroker(ctx context.Context) error {
	if d.broker != nil {
		return nil
	}
	if err := d.countLost(ctx); err != nil {
		return err
	}
	f, o := d.run.Frozen, d.run.Options
	spent := d.run.Cost
	spent.USD = spent.ModelUSD // the limit is on tokens; the sandbox counts beside them
	b, err := broker.New(broker.Config{
		Anthropic:    d.AnthropicURL,
		Credential:   d.Credential,
		Models:       []string{o.Model},
		MaxCostUSD:   o.MaxCostUSD,
		Spent:        spent,
		GitURL:       f.WebURL,
		GitToken:     d.gitToken,
		Repositories: append([]string{f.Repository.FullName()}, d.settings.Read...),
		Log:          d.Log,
		OnReserve:    d.reserve,
		OnUsage:      d.spend,
	})
	d.broker = b
	return err
}

// countLost counts what the model calls may have cost whose process was killed
// before it saw the end of them.
func (d *drive) countLost(ctx context.Context) error {
	if d.run.Cost.Reserved == (run.Reservation{}) {
		return nil
	}
	attempts, err := d.Store.Attempts(ctx, d.run.ID)
	if err != nil {
		return err
	}
	lived := d.Now()
	if n := len(attempts); n > 1 { // it gave its last sign of life at most leaseRenew before its end
		lived = attempts[n-2].SeenAt.Add(leaseRenew)
	}
	lost := d.run.Cost.Reserved.By(lived)
	d.say(run.Notice, "the process before ended amid a model call; the $%.2f that it may have cost count as spent", lost)
	return d.save(func() {
		c := &d.run.Cost
		c.USD, c.ModelUSD, c.Reserved = c.USD+lost, c.ModelUSD+lost, run.Reservation{}
	})
}

// reserve stores what a call may cost before it is forwarded. If that can't be
// stored, the drive ends.
func (d *drive) reserve(c run.Cost) error {
	err := d.save(func() { d.count(c) })
	if err != nil {
		d.lose(err)
	}
	return err
}

// spend stores what a call cost, and logs it if it did cost something.
func (d *drive) spend(c run.Cost) {
	before := d.cost()
	if c.InputTokens == before.InputTokens && c.OutputTokens == before.OutputTokens {
		d.append(func() { d.count(c) })
		return
	}
	entry := run.Entry{Kind: run.Spent, Cost: &run.Cost{}}
	d.append(func() {
		d.count(c)
		*entry.Cost = d.run.Cost
		entry.Cost.Reserved = run.Reservation{}
	}, entry)
}

func (d *drive) cost() run.Cost {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.run.Cost
}

// count takes over what the broker reports: the run's tokens so far, and what
// is reserved. d.mu is held.
func (d *drive) count(c run.Cost) {
	c.ModelUSD, c.SandboxSeconds = c.USD, d.run.Cost.SandboxSeconds
	c.USD += d.run.Cost.USD - d.run.Cost.ModelUSD
	d.run.Cost = c
}

// keepTunnel serves the broker on the tunnel until ctx is done, dialling anew
// with growing pauses whenever it breaks. It says so, but not for ever: the
// sandbox may break it on purpose.
func (d *drive) keepTunnel(ctx context.Context, l net.Listener) {
	const longest, mostSaid = 10 * time.Second, 10
	said := 0
	for wait := time.Duration(0); ; {
		if l != nil {
			err := d.serveBroker(ctx, l)
			wait = 100 * time.Millisecond
			if said++; ctx.Err() == nil && said <= mostSaid {
				d.say(run.Notice, "opening the tunnel again: %s", untrusted.Line(err.Error(), 300))
			}
		}
		if pause.For(ctx, wait) != nil {
			return
		}
		var err error
		if l, err = d.sandboxd.Tunnel(ctx); err != nil {
			l, wait = nil, min(2*max(wait, 100*time.Millisecond), longest)
			d.Log.Debug("tunnel not opened", "error", err)
		}
	}
}

// lastCalls is how long the calls of a tunnel that ended may take to end too.
const lastCalls = 5 * time.Second

// serveBroker answers the streams of one tunnel until it or ctx ends, and
// returns why. What its calls cost is then counted.
func (d *drive) serveBroker(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: d.broker,
		// Else the server answers OPTIONS * itself.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            30 * time.Second,
		IdleTimeout:                  5 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		BaseContext:                  func(net.Listener) context.Context { return ctx },
		ErrorLog:                     slog.NewLogLogger(d.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	err := server.Serve(l)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCalls)
	defer cancel()
	_ = server.Shutdown(last) // waits, as Close does not
	server.Close()
	return err
}

// disconnect ends the tunnel and its calls, and forgets the sandbox's address.
func (d *drive) disconnect() {
	if d.tunnel != nil {
		d.tunnel()
	}
	d.tunnel, d.sandboxd = nil, nil
}

// tellMisuse says so if the sandbox asked for much that it is not lent.
func (d *drive) tellMisuse() {
	const usual = 100 // as many the broker logs
	if d.broker == nil || d.broker.Refused() <= usual {
		return
	}
	d.say(run.Notice, "%d requests from the sandbox were refused, which is many: --verbose tells the first of them", d.broker.Refused())
}

// gitToken is the credential for fetching a repository that the broker allows.
// Whoever writes the repository's settings chooses what is in `read`: of other
// owners they get what is public, whatever else the token can read.
func (d *drive) gitToken(_ context.Context, repository string) (secret.String, error) {
	if owner, _, _ := strings.Cut(repository, "/"); !strings.EqualFold(owner, d.run.Frozen.Repository.Owner) {
		return secret.String{}, nil
	}
	return d.GitToken, nil
}
