package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/devstack/demo"
	"github.com/dayclaude/dayclaude/internal/prompt"
	"github.com/dayclaude/dayclaude/internal/run"
)

// runs compares run-issue on the demo issue with Claude Code started by hand
// in a clone that is there already, on the same script. It also tells how much
// memory run-issue took at most: only the command itself, since the stand-ins
// are in this process.
func runs(ctx context.Context, o options, engine string) ([]row, error) {
	const aimMemory = 64 << 20
	var peak int64
	inWorld := func(do func(context.Context, *world) (time.Duration, error)) timed {
		return func(ctx context.Context) (took time.Duration, err error) {
			w, err := newWorld(ctx, engine)
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, w.close(context.WithoutCancel(ctx))) }()
			return do(ctx, w)
		}
	}
	ours := inWorld(func(ctx context.Context, w *world) (time.Duration, error) {
		took, memory, err := w.runIssue(ctx, o.program, o.verbose)
		peak = max(peak, memory)
		return took, err
	})
	baseline := inWorld(func(ctx context.Context, w *world) (time.Duration, error) { return w.direct(ctx, engine) })
	c, err := compare(ctx, o.rounds, ours, baseline)
	if err != nil {
		return nil, err
	}
	against, aim := "`docker run` of the same Claude", time.Second
	if engine == engineProcess {
		against, aim = "the same Claude as a process", 300*time.Millisecond
	}
	return []row{
		c.row(fmt.Sprintf("run-issue, %s engine, against %s", engine, against), aim, 10*time.Millisecond),
		{
			what: fmt.Sprintf("peak memory of run-issue, %s engine", engine), ours: mebibytes(peak),
			aim: "at most " + mebibytes(aimMemory), met: peak <= aimMemory,
		},
	}, nil
}

// runIssue solves the issue with the program and returns the time it took and
// the most memory it held, in bytes.
func (w *world) runIssue(ctx context.Context, program string, verbose bool) (time.Duration, int64, error) {
	ref := run.Ref{Owner: demo.Owner, Repo: demo.Repository, Number: demo.IssueNumber}
	c := exec.CommandContext(ctx, program, "run-issue", ref.String())
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir,
		"DAYTONA_API_URL=" + w.sandboxes.URL(), "DAYTONA_API_KEY=" + w.sandboxes.Key(),
		"GITHUB_API_URL=" + w.hub.APIURL(), "GITHUB_TOKEN=" + w.token.Reveal(),
		"ANTHROPIC_BASE_URL=" + w.model.URL(), "ANTHROPIC_API_KEY=" + w.key.Reveal(),
		"DAYCLAUDE_SNAPSHOT=" + image,
	}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	begin := time.Now()
	if verbose {
		c.Args = append(c.Args, "--verbose")
		c.Stderr = &stamped{begin: begin}
	}
	if err := c.Start(); err != nil {
		return 0, 0, err
	}
	over, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- watchMemory(c.Process.Pid, over) }()
	err := c.Wait()
	took := time.Since(begin)
	close(over)
	memory := <-peak
	if err != nil {
		return 0, 0, fmt.Errorf("run-issue: %w\n%s", err, said.Bytes())
	}
	pulls, err := w.hub.Pulls(ref.FullName())
	if err != nil || len(pulls) != 1 {
		return 0, 0, fmt.Errorf("run-issue made %d pull requests: %w\n%s", len(pulls), err, said.Bytes())
	}
	return took, memory, nil
}

// stamped prints lines with the time since begin.
type stamped struct {
	begin time.Time
	rest  []byte
}

func (s *stamped) Write(p []byte) (int, error) {
	now := time.Since(s.begin)
	s.rest = append(s.rest, p...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		fmt.Fprintf(os.Stderr, "%6d ms  %s\n", now.Milliseconds(), line)
		s.rest = rest
	}
}

// watchMemory returns the process's high-water mark in bytes, as last seen
// before its end. A child's rusage would not do: it counts the moment before
// exec, when the child is its parent.
func watchMemory(pid int, over <-chan struct{}) (peak int64) {
	often := time.NewTicker(5 * time.Millisecond)
	defer often.Stop()
	for {
		select {
		case <-over:
			return peak
		case <-often.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		_, mark, _ := strings.Cut(string(status), "VmHWM:")
		mark, _, _ = strings.Cut(mark, "kB")
		if kb, err := strconv.ParseInt(strings.TrimSpace(mark), 10, 64); err == nil {
			peak = max(peak, kb<<10)
		}
	}
}

// direct starts Claude Code by hand in a clone of the repository, as run-issue
// does in the sandbox, and returns the time until it has gone.
func (w *world) direct(ctx context.Context, engine string) (time.Duration, error) {
	clone, home := filepath.Join(w.dir, "work", demo.Repository), filepath.Join(w.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return 0, err
	}
	url := w.hub.URL() + "/" + demo.Owner + "/" + demo.Repository + ".git"
	if out, err := exec.CommandContext(ctx, "git", "clone", "--quiet", url, clone).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("git clone: %w: %s", err, out)
	}
	program, err := findClaude()
	if err != nil {
		return 0, err
	}
	inv := claude.Invocation{
		Path: program, Dir: clone, Home: home, Env: []string{"PATH=" + os.Getenv("PATH")},
		System: prompt.System(), Model: model, MaxTurns: 100, SessionID: uuid.NewString(), BaseURL: w.model.URL(),
		APITimeout: 10 * time.Minute, MaxRetries: 4,
	}
	line, env := inv.Command()
	env = append(env, "ANTHROPIC_API_KEY="+w.key.Reveal())
	if engine == engineDocker {
		line, env = inContainer(line, env, w.dir, clone), os.Environ()
	}
	c := exec.CommandContext(ctx, line[0], line[1:]...)
	c.Dir, c.Env, c.Stdin = clone, env, strings.NewReader(prompt.Task(prompt.Input{Frozen: frozen}))
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	begin := time.Now()
	err = c.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", line[0], err, said.Bytes())
	}
	if out, err := exec.CommandContext(ctx, "git", "-C", clone, "diff", "--exit-code").CombinedOutput(); err == nil {
		return 0, fmt.Errorf("claude changed nothing: %s\n%s", out, said.Bytes())
	}
	return took, nil
}

// inContainer is the command line that runs line in a container of the slim
// image, on the host's network and with dir in the same place.
func inContainer(line, env []string, dir, workdir string) []string {
	docker := []string{
		"docker", "run", "--rm", "--interactive", "--name", "dayclaude-bench-" + strings.ToLower(rand.Text()), "--network", "host",
		"--user", fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "--volume", dir + ":" + dir, "--workdir", workdir,
	}
	for _, variable := range env {
		docker = append(docker, "--env", variable)
	}
	return append(append(docker, "--entrypoint", "claude", image), line[1:]...)
}

// frozen is the demo issue as run-issue finds it.
var frozen = run.Frozen{
	Repository: run.Repository{Owner: demo.Owner, Name: demo.Repository, DefaultBranch: "main"},
	Issue:      run.Issue{Number: demo.IssueNumber, Title: demo.IssueTitle, Body: demo.IssueBody, Author: "ann"},
	Base:       "main",
}
