package cmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

type demoOptions struct {
	engine  string
	verbose bool
}

func newDemo(a *app, do func(context.Context, *demoOptions) error) *cobra.Command {
	o := &demoOptions{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Solve a demo issue on embedded services, without any account",
		Long: `Solve a demo issue on embedded services, without any account.

A GitHub, a Daytona and a scripted Messages API are started on loopback; the
real Claude Code fixes a real bug in a small program. Docker runs the sandbox if
an engine answers and holds the image dayclaude-slim (make image), else plain
processes do, which isolate nothing and take Claude Code from the PATH.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch o.engine {
			case "auto", engineDocker, engineProcess:
				return do(c.Context(), o)
			}
			return fault.New(fault.Usage, "--engine is auto, docker or process, not %q", o.engine)
		},
	}
	c.Flags().StringVar(&o.engine, "engine", "auto", "docker, process, or auto")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print everything that happens, line by line")
	return c
}

// demo starts the stand-ins, runs run-issue's own path against them, and
// shows what came of it.
func (a *app) demo(ctx context.Context, o *demoOptions) error {
	dir, err := os.MkdirTemp("", "dayclaude-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // the process engine's users pass through
		return err
	}
	hub, model, settings, err := demoServices(ctx)
	if err != nil {
		return err
	}
	defer hub.Close()
	defer model.Close()
	if settings.LocalEngine, err = demoEngine(ctx, o.engine, settings.Snapshot); err != nil {
		return err
	}
	fmt.Fprintf(a.streams.Err, "demo: an embedded GitHub, Daytona (%s engine) and scripted Messages API on loopback; keys and accounts are made up\n", settings.LocalEngine)

	// The demo's own state, so that it always begins anew and leaves nothing.
	private := &app{streams: a.streams, env: func(name string) string {
		switch name {
		case "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME": // apart: the store's directory is private
			return filepath.Join(dir, name)
		}
		return a.env(name)
	}}
	db, err := private.openStore(ctx)
	if err != nil {
		return err
	}
	w, err := private.wire(ctx, settings, db, wireOptions{local: &local{space: "dayclaude-demo-" + strings.ToLower(rand.Text()[:8]), temporary: true}, verbose: o.verbose})
	if err != nil {
		return err
	}
	defer w.close()
	ref := run.Ref{Owner: demo.Owner, Repo: demo.Repository, Number: demo.IssueNumber}
	view := a.streams.NewView("run-issue "+ref.String(), o.verbose)
	defer view.Close()
	if w.notice != "" {
		view.Show(run.Entry{Kind: run.Notice, Time: time.Now(), Text: w.notice})
	}
	report, err := w.engine.Run(ctx, engine.Request{Ref: ref, Observe: view.Show, Options: run.Options{
		Snapshot: settings.Snapshot, Model: settings.Model, MaxTurns: settings.MaxTurns, MaxCostUSD: settings.MaxCost, Timeout: 5 * time.Minute,
	}})
	view.Close()
	if err != nil {
		return err
	}
	return a.showDemo(ctx, dir, hub, report)
}

// demoServices starts GitHub and the Messages API, with the demo repository
// and its issue, and returns settings that point to them.
func demoServices(ctx context.Context) (_ *github.Server, _ *anthropic.Server, _ *config.Settings, err error) {
	settings, err := config.Load(ctx, config.Sources{Env: func(string) string { return "" }}) // the defaults
	if err != nil {
		return nil, nil, nil, err
	}
	token, key := secret.New("ghp_"+rand.Text()), secret.New("sk-ant-demo-"+rand.Text())
	hub, err := github.New(github.Options{})
	if err != nil {
		return nil, nil, nil, err
	}
	model, err := anthropic.New(anthropic.Options{Key: key})
	if err != nil {
		return nil, nil, nil, errors.Join(err, hub.Close())
	}
	fullName := demo.Owner + "/" + demo.Repository
	for _, step := range []func() error{
		hub.Start,
		model.Start,
		func() error {
			return hub.AddRepository(github.Repository{Owner: demo.Owner, Name: demo.Repository, Files: demo.Shop()})
		},
		func() error {
			_, err := hub.AddIssue(fullName, github.Issue{Number: demo.IssueNumber, Title: demo.IssueTitle, Body: demo.IssueBody, Author: "ann"})
			return err
		},
		func() error {
			return hub.AddToken(github.Token{Value: token, Login: demo.Owner, Scopes: []string{"repo"}})
		},
	} {
		if err := step(); err != nil {
			return nil, nil, nil, errors.Join(err, hub.Close(), model.Close())
		}
	}
	settings.GitHubURL, settings.GitHubToken = hub.APIURL(), token
	settings.AnthropicURL, settings.AnthropicKey, settings.Model = model.URL(), key, anthropic.DefaultModels[0]
	settings.MaxTurns, settings.ArchiveAfter, settings.DeleteAfter = 50, time.Hour, time.Hour
	return hub, model, settings, nil
}

// demoEngine chooses Docker if it can run the demo, else processes.
func demoEngine(ctx context.Context, asked, image string) (string, error) {
	if asked != "auto" {
		return asked, nil
	}
	if exec.CommandContext(ctx, "docker", "image", "inspect", image).Run() == nil {
		return engineDocker, nil
	}
	if _, err := exec.LookPath("claude"); err != nil {
		return "", fault.New(fault.Failed, "the demo needs Docker with the image %s, or Claude Code on the PATH", image).
			WithHint("`make demo` in a checkout of dayclaude sets up either")
	}
	return engineProcess, nil
}

// showDemo prints the pull request, its diff, and the repository's own test on
// its branch.
func (a *app) showDemo(ctx context.Context, dir string, hub *github.Server, report *engine.Report) error {
	fullName := demo.Owner + "/" + demo.Repository
	pulls, err := hub.Pulls(fullName)
	if err != nil {
		return err
	}
	if len(pulls) != 1 {
		return fmt.Errorf("the demo should have opened one pull request, not %d", len(pulls))
	}
	pull, out := pulls[0], a.streams.Out
	clone := filepath.Join(dir, "clone")
	if _, err := git(ctx, "", "clone", "--quiet", "--branch", pull.Head, hub.URL()+"/"+fullName+".git", clone); err != nil {
		return err
	}
	diff, err := git(ctx, clone, "diff", "origin/"+pull.Base, "HEAD")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\n\n%s\n\n%s\n\n%s", report.Run.Outcome.URL, pull.Title, visible(pull.Body), diff)

	test := exec.CommandContext(ctx, "bash", "tests/run.sh")
	test.Dir = clone
	said, err := test.CombinedOutput()
	fmt.Fprintf(out, "\n$ bash tests/run.sh    # on the branch %s\n%s", pull.Head, said)
	if err != nil {
		return fmt.Errorf("the repository's test on the branch: %w", err)
	}
	return nil
}

// visible is a body as GitHub shows it: without the hidden line at its end.
func visible(body string) string {
	shown, _, _ := strings.Cut(body, "<!-- dayclaude ")
	return strings.TrimSpace(shown)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir = dir
	var failed bytes.Buffer
	c.Stderr = &failed
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(failed.String()))
	}
	return string(out), nil
}
