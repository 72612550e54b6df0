// Package e2e runs the real command line against the embedded GitHub, Daytona
// and Messages API, with the real Claude Code in the sandbox, or a light one.
//
//	func TestMain(m *testing.M) { e2e.Main(m) }
//
//	s := e2e.New(t, e2e.Options{Engine: e2e.Docker})
//	ref := s.Shop(github.Issue{Title: demo.IssueTitle, Body: demo.IssueBody})
//	r := s.Run("run-issue", ref, "--json")
//
// The command line is the test binary itself, executed anew: its secrets and
// settings come from the environment alone, its files lie below the stack's
// own directory.
package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/cmd"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/devstack/lightclaude"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
	"github.com/dayclaude/dayclaude/snapshot"
)

// mainVariable makes the test binary be the command line.
const mainVariable = "DAYCLAUDE_E2E_MAIN"

// Main is the TestMain of a package whose tests use this one.
func Main(m *testing.M) {
	BecomeCommand()
	// Toxiproxy leaves pipes of connections behind that were reset.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

// BecomeCommand runs the command line, or the light Claude, and exits, if that
// is what this process was started for. Main calls it; a TestMain of another
// kind does so first.
func BecomeCommand() {
	if lightclaude.Called() {
		os.Exit(lightclaude.Main())
	}
	if os.Getenv(mainVariable) == "1" {
		options := []cmd.Option{doomed(os.Getenv(dieVariable))}
		if where := os.Getenv(momentsVariable); where != "" {
			options = append(options, telling(where))
		}
		if every, err := time.ParseDuration(os.Getenv(touchVariable)); err == nil {
			options = append(options, cmd.WithTouchEvery(every))
		}
		os.Exit(cmd.Main(options...))
	}
}

// The engines of the embedded Daytona.
const (
	Docker  = "docker"
	Process = "process"
)

// Engines lists both, for tests that hold on either.
var Engines = [...]string{Docker, Process}

// Snapshot is the name of the embedded Daytona's one snapshot.
const Snapshot = testenv.Image

// User is the GitHub login whose token the command line has.
const User = "demo"

// Options say what a stack is made of.
type Options struct {
	Engine string // Docker or Process; required
	// Light puts package lightclaude in Claude Code's place, on the process
	// engine: a run then takes a second.
	Light bool
	// Bare leaves Claude Code away, on the process engine.
	Bare bool
	// Disk is how large the process engine's disk is, as "64m"; "" for this
	// machine's own. It takes root.
	Disk string
	// Scenario forces one of the Messages API by name; without it the issue's
	// text chooses.
	Scenario  string
	Anthropic anthropic.Options // Key and Scenario are set by New
	GitHub    github.Options
	Daytona   daytona.Options // Engine, Key and Log are set by New; Snapshots unless given
}

// Stack is the three services and one user's machine.
type Stack struct {
	GitHub    *github.Server
	Anthropic *anthropic.Server
	Daytona   *daytona.Server

	// Env is the environment of the command line; tests may change it.
	Env map[string]string
	// Dir is the user's home. State is below it: see StateDir.
	Dir string
	// Canaries are the secrets by the name of their variable. Each holds the
	// word CANARY: none may be seen anywhere.
	Canaries map[string]string

	t    testing.TB
	disk string // where Options.Disk is mounted
}

// canary makes a secret that can be told from all others.
func canary(prefix string) string { return prefix + "CANARY" + rand.Text() }

// New starts the services for the length of the test. Sandboxes that are left
// at its end are removed.
func New(t testing.TB, o Options) *Stack {
	t.Helper()
	if _, err := snapshot.Sandboxd(runtime.GOARCH); err != nil {
		testenv.Missing(t, "%v (tests run with -tags embed_sandboxd)", err)
	}
	s := &Stack{t: t, Dir: t.TempDir(), Canaries: map[string]string{
		"GITHUB_TOKEN":      canary("ghp_"),
		"ANTHROPIC_API_KEY": canary("sk-ant-"),
		"DAYTONA_API_KEY":   canary("dtn_"),
	}}
	s.startGitHub(o.GitHub)
	s.startAnthropic(o)
	s.startDaytona(o)
	s.Env = map[string]string{
		mainVariable:         "1",
		"PATH":               os.Getenv("PATH"),
		"HOME":               s.Dir,
		"TMPDIR":             s.Dir,
		"XDG_STATE_HOME":     filepath.Join(s.Dir, "state"),
		"XDG_CONFIG_HOME":    filepath.Join(s.Dir, "config"),
		"XDG_CACHE_HOME":     filepath.Join(s.Dir, "cache"),
		"GITHUB_API_URL":     s.GitHub.APIURL(),
		"DAYTONA_API_URL":    s.Daytona.URL(),
		"ANTHROPIC_BASE_URL": s.Anthropic.URL(),
		"DAYCLAUDE_SNAPSHOT": Snapshot,
	}
	for name, value := range s.Canaries {
		s.Env[name] = value
	}
	return s
}

// StateDir is where the command line keeps its store and what runs leave.
func (s *Stack) StateDir() string { return filepath.Join(s.Env["XDG_STATE_HOME"], "dayclaude") }

func (s *Stack) startGitHub(o github.Options) {
	s.t.Helper()
	var err error
	if s.GitHub, err = github.New(o); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.check("close the embedded GitHub", s.GitHub.Close()) })
	if err := s.GitHub.Start(); err != nil {
		s.t.Fatal(err)
	}
	token := github.Token{Value: secret.New(s.Canaries["GITHUB_TOKEN"]), Login: User, Scopes: []string{"repo"}}
	if err := s.GitHub.AddToken(token); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Stack) startAnthropic(o Options) {
	s.t.Helper()
	o.Anthropic.Key, o.Anthropic.Scenario = secret.New(s.Canaries["ANTHROPIC_API_KEY"]), o.Scenario
	var err error
	if s.Anthropic, err = anthropic.New(o.Anthropic); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.check("close the Messages API", s.Anthropic.Close()) })
	if err := s.Anthropic.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Stack) startDaytona(o Options) {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	engine, err := s.engine(o, log)
	if err != nil {
		s.t.Fatal(err)
	}
	opts := o.Daytona
	opts.Engine, opts.Key, opts.Log, opts.RemoveOnClose = engine, s.Canaries["DAYTONA_API_KEY"], log, true
	if opts.Snapshots == nil {
		opts.Snapshots = []daytona.Snapshot{{Name: Snapshot, CPU: 2, Memory: 4, Disk: 10}}
	}
	s.Daytona, err = daytona.New(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.check("close the embedded Daytona", s.Daytona.Close(ctx))
	})
	if err := s.Daytona.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Stack) engine(o Options, log *slog.Logger) (daytona.Engine, error) {
	switch o.Engine {
	case Docker:
		testenv.Docker(s.t)
		return docker.New(s.t.Context(), docker.Options{Namespace: "dayclaude-e2e-" + strings.ToLower(rand.Text()[:10])})
	case Process:
		root, err := os.MkdirTemp("", "dayclaude-e2e-") // not below t.TempDir: other users must reach it
		if err != nil {
			return nil, err
		}
		s.t.Cleanup(func() { s.check("remove the process engine's root", os.RemoveAll(root)) })
		if err := os.Chmod(root, 0o711); err != nil {
			return nil, err
		}
		if o.Disk != "" {
			s.smallDisk(root, o.Disk)
		}
		var tools []string
		if !o.Bare {
			tools = append(tools, s.claude(o.Light))
		}
		return process.New(process.Options{Root: root, Tools: tools, Log: log})
	}
	return nil, fmt.Errorf("no engine is named %q", o.Engine)
}

// claude is the path of the program that sandboxes find as claude. The light
// one is the test binary under another name.
func (s *Stack) claude(light bool) string {
	s.t.Helper()
	if !light {
		return testenv.Claude(s.t)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), lightclaude.Name)
	if err := os.Symlink(self, path); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// check fails the test for an error of a part that the test did not ask for.
func (s *Stack) check(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

// Add makes a repository of the user's with one issue and returns the issue's
// REF. The owner is the user unless the repository names another.
func (s *Stack) Add(r github.Repository, i github.Issue) (ref string) {
	s.t.Helper()
	if r.Owner == "" {
		r.Owner = User
	}
	if err := s.GitHub.AddRepository(r); err != nil {
		s.t.Fatal(err)
	}
	number, err := s.GitHub.AddIssue(r.Owner+"/"+r.Name, i)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%s/%s#%d", r.Owner, r.Name, number)
}

// Shop makes the demo's repository with an issue. The zero Issue is the
// demo's own.
func (s *Stack) Shop(i github.Issue) (ref string) {
	s.t.Helper()
	if i.Title == "" {
		i.Title, i.Body = demo.IssueTitle, demo.IssueBody
	}
	i.Number, i.Author = demo.IssueNumber, "ann"
	return s.Add(github.Repository{Owner: demo.Owner, Name: demo.Repository, Files: demo.Shop()}, i)
}
