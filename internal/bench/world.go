package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
	"github.com/dayclaude/dayclaude/snapshot"
)

// The embedded Daytona's engines.
const (
	engineDocker  = "docker"
	engineProcess = "process"
)

const image = testenv.Image

var model = anthropic.DefaultModels[0]

// world is the stand-ins with the demo issue, as new.
type world struct {
	dir        string
	hub        *github.Server
	model      *anthropic.Server
	sandboxes  *daytona.Server
	token, key secret.String
	closes     []func(context.Context) error
}

func newWorld(ctx context.Context, engine string) (_ *world, err error) {
	w := &world{token: secret.New("ghp_" + rand.Text()), key: secret.New("sk-ant-bench-" + rand.Text())}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(context.WithoutCancel(ctx)))
		}
	}()
	if w.dir, err = os.MkdirTemp("", "dayclaude-bench-"); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, func(context.Context) error { return os.RemoveAll(w.dir) })
	if err := os.Chmod(w.dir, 0o711); err != nil { // the process engine's users pass through
		return nil, err
	}
	if w.hub, err = github.New(github.Options{}); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, func(context.Context) error { return w.hub.Close() })
	if w.model, err = anthropic.New(anthropic.Options{Key: w.key}); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, func(context.Context) error { return w.model.Close() })
	if err := w.fill(); err != nil {
		return nil, err
	}
	sandboxes, err := newEngine(ctx, engine, w.dir)
	if err != nil {
		return nil, err
	}
	w.sandboxes, err = daytona.New(daytona.Options{
		Engine: sandboxes, Snapshots: []daytona.Snapshot{{Name: image, CPU: 2, Memory: 4, Disk: 10}}, RemoveOnClose: true,
	})
	if err != nil {
		return nil, errors.Join(err, sandboxes.Close())
	}
	w.closes = append(w.closes, w.sandboxes.Close)
	return w, w.sandboxes.Start(ctx)
}

// fill starts GitHub and the Messages API and puts the issue there.
func (w *world) fill() error {
	if err := errors.Join(w.hub.Start(), w.model.Start()); err != nil {
		return err
	}
	if err := w.hub.AddRepository(github.Repository{Owner: demo.Owner, Name: demo.Repository, Files: unsettled{demo.Shop()}}); err != nil {
		return err
	}
	_, err := w.hub.AddIssue(demo.Owner+"/"+demo.Repository, github.Issue{
		Number: demo.IssueNumber, Title: demo.IssueTitle, Body: demo.IssueBody, Author: frozen.Issue.Author,
	})
	return errors.Join(err, w.hub.AddToken(github.Token{Value: w.token, Login: demo.Owner, Scopes: []string{"repo"}}))
}

// unsettled is a tree without dayclaude's settings: the check in them would be
// more work than Claude's alone.
type unsettled struct{ fs.FS }

func (u unsettled) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(u.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ".github" }), err
}

// close ends everything, in the opposite order of its beginning.
func (w *world) close(ctx context.Context) error {
	var errs []error
	for i := len(w.closes) - 1; i >= 0; i-- {
		errs = append(errs, w.closes[i](ctx))
	}
	return errors.Join(errs...)
}

func newEngine(ctx context.Context, engine, dir string) (daytona.Engine, error) {
	if engine == engineDocker {
		return docker.New(ctx, docker.Options{Namespace: "dayclaude-bench-" + strings.ToLower(rand.Text()[:8])})
	}
	program, err := findClaude()
	if err != nil {
		return nil, err
	}
	return process.New(process.Options{Root: filepath.Join(dir, "sandboxes"), Tools: []string{program}})
}

// findClaude returns the path of the pinned Claude Code.
func findClaude() (string, error) {
	path := filepath.Join(testenv.Root(), ".cache", "claude-code-"+snapshot.ClaudeCodeVersion(), "claude")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run `make claude`", err)
	}
	return path, nil
}
