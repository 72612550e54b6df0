package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dayclaude/dayclaude/internal/config"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// The engines of the embedded Daytona.
const (
	engineDocker  = "docker"
	engineProcess = "process"
)

// local says which embedded Daytona is wanted. Its sandboxes are kept apart by
// space: the servers of two runs at once know nothing of each other's.
type local struct {
	space     string
	temporary bool // its sandboxes are removed when it is closed
}

// localDaytona starts the embedded Daytona. Its one snapshot is the settings':
// with Docker the image of that name.
func (a *app) localDaytona(ctx context.Context, s *config.Settings, l local, log *slog.Logger) (*devstack.Server, error) {
	engine, err := a.localEngine(ctx, s, l.space, log)
	if err != nil {
		return nil, err
	}
	server, err := devstack.New(devstack.Options{
		Engine:        engine,
		Snapshots:     []devstack.Snapshot{{Name: s.Snapshot, CPU: 2, Memory: 4, Disk: 10}},
		Log:           log,
		RemoveOnClose: l.temporary,
	})
	if err != nil {
		return nil, err
	}
	return server, server.Start(ctx)
}

func (a *app) localEngine(ctx context.Context, s *config.Settings, space string, log *slog.Logger) (devstack.Engine, error) {
	if s.LocalEngine == engineDocker {
		return dockerEngine(ctx, s.Snapshot, space)
	}
	if os.Geteuid() != 0 && !(onLoopback(s.GitHubURL) && onLoopback(s.AnthropicURL)) {
		return nil, fault.New(fault.Usage, "the process engine would run Claude as you, and whatever runs as you can read this command's keys").
			WithHint("use the docker engine, or Daytona itself")
	}
	claude, err := exec.LookPath("claude")
	if err != nil {
		return nil, fault.New(fault.Sandbox, "the process engine needs Claude Code: %w", err).
			WithHint("put `claude` on the PATH, or use the docker engine")
	}
	// Claude Code's own launcher is a link to the binary.
	if claude, err = filepath.EvalSymlinks(claude); err != nil {
		return nil, fmt.Errorf("find Claude Code: %w", err)
	}
	return process.New(process.Options{Root: filepath.Join(config.CacheDir(a.env), "sandboxes", space), Tools: []string{claude}, Log: log})
}

// onLoopback reports whether a URL leads to this machine: to stand-ins, whose
// keys are worth nothing.
func onLoopback(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// dockerEngine is Docker, if it holds the image that sandboxes are made from.
func dockerEngine(ctx context.Context, image, space string) (devstack.Engine, error) {
	engine, err := docker.New(ctx, docker.Options{Namespace: space})
	if err != nil {
		return nil, err
	}
	has, err := engine.HasImage(ctx, image)
	if err == nil && !has {
		err = fault.New(fault.Sandbox, "Docker holds no image %s", image).
			WithHint("`make image` in a checkout of dayclaude builds dayclaude-slim; --snapshot takes another")
	}
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}
