package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/config"
	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/hub"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
	"github.com/dayclaude/dayclaude/snapshot"
)

// wireOptions say how the parts are put together.
type wireOptions struct {
	local   *local // the embedded Daytona instead of the settings' one; may be nil
	verbose bool
}

// wired is an engine with all that it stands on.
type wired struct {
	engine *engine.Engine
	notice string // something the user must read first, or ""
	closes []func() error
	log    *slog.Logger
}

func (w *wired) close() {
	for i := len(w.closes) - 1; i >= 0; i-- {
		if err := w.closes[i](); err != nil {
			w.log.Warn("not closed cleanly", "error", err)
		}
	}
}

// wire makes the engine on the store from the settings. It is the one place
// that knows which part stands on which. The store is closed with it, also if
// it can't be made.
func (a *app) wire(ctx context.Context, s *config.Settings, db *store.Store, o wireOptions) (_ *wired, err error) {
	redactor := secret.NewRedactor(s.DaytonaKey, s.GitHubToken, s.AnthropicKey, s.AnthropicOAuth)
	logged := redactor.Writer(a.streams.Err)
	w := &wired{log: newLog(logged, o.verbose)}
	w.closes = append(w.closes, logged.Close, db.Close)
	defer func() {
		if err != nil {
			w.close()
		}
	}()

	if o.local != nil {
		server, err := a.localDaytona(ctx, s, *o.local, w.log)
		if err != nil {
			return nil, err
		}
		w.closes = append(w.closes, func() error { return server.Close(context.WithoutCancel(ctx)) })
		w.notice = server.Notice()
		s.DaytonaURL, s.DaytonaKey = server.URL(), secret.New(server.Key())
		redactor.Add(s.DaytonaKey)
	}
	github, err := hub.New(hub.Config{APIURL: s.GitHubURL, Token: s.GitHubToken, UserAgent: "dayclaude/" + Version, Log: w.log})
	if err != nil {
		return nil, err
	}
	sandboxes, err := daytona.New(daytona.Config{BaseURL: s.DaytonaURL, Key: s.DaytonaKey, Target: s.DaytonaTarget, Version: Version, Log: w.log})
	if err != nil {
		return nil, err
	}
	credential := broker.Credential{APIKey: s.AnthropicKey}
	if s.AnthropicKey.IsZero() {
		credential.OAuth = s.AnthropicOAuth
	}
	owner, err := leaseOwner()
	if err != nil {
		return nil, err
	}
	w.engine = engine.New(engine.Config{
		Store: db, Hub: github, Daytona: sandboxes,
		AnthropicURL: s.AnthropicURL, Credential: credential, GitToken: s.GitHubToken,
		Sandboxd: snapshot.Sandboxd, Redactor: redactor, Dir: filepath.Join(config.StateDir(a.env), "runs"),
		Owner: owner, Dead: ownerIsDead, Checkpoint: a.checkpoint, TouchEvery: a.touchEvery, Version: Version,
		HarvestEvery: s.HarvestEvery,
		ArchiveAfter: s.ArchiveAfter, DeleteAfter: s.DeleteAfter,
		Now: time.Now, Log: w.log,
	})
	return w, nil
}

// daytonaClient is a client of the settings' Daytona, for what needs no engine.
func (a *app) daytonaClient(ctx context.Context) (*daytona.Client, *config.Settings, error) {
	s, err := a.settings(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := s.RequireDaytona(); err != nil {
		return nil, nil, err
	}
	client, err := daytona.New(daytona.Config{BaseURL: s.DaytonaURL, Key: s.DaytonaKey, Target: s.DaytonaTarget, Version: Version})
	return client, s, err
}

// newLog writes errors, and with verbose everything.
func newLog(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelError
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// leaseOwner names this process to whoever meets its lease.
func leaseOwner() (string, error) {
	host, err := os.Hostname()
	return fmt.Sprintf("process %d on %s", os.Getpid(), host), err
}

// ownerIsDead reports whether the owner was a process of this machine that is
// gone. A process elsewhere may live.
func ownerIsDead(owner string) bool {
	host, err := os.Hostname()
	pid, at, found := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(owner, store.CleanUp), "process "), " on ")
	if err != nil || !found || at != host {
		return false
	}
	var n int
	if _, err := fmt.Sscanf(pid, "%d", &n); err != nil {
		return false
	}
	return errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
}
