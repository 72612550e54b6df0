package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
)

type sandboxesSSHOptions struct {
	target
	command []string // "" for a shell
	expires time.Duration
	print   bool
	json    bool
}

func newSandboxesSSH(a *app, do func(context.Context, *sandboxesSSHOptions) error) *cobra.Command {
	o := &sandboxesSSHOptions{}
	c := &cobra.Command{
		Use: "ssh SANDBOX [-- COMMAND...]", Short: "Enter a sandbox over SSH",
		Long: `Enter a sandbox over SSH: with a shell, or to run COMMAND, whose exit code is
then dayclaude's. It takes the program ssh. The access ends with it.

--print prints the command for another program instead, such as an editor. What
it holds opens the sandbox to whoever has it until it expires. A sandbox has one
access at a time: the next one ends it.

` + targetWords,
		Args:              sandboxAndCommand,
		ValidArgsFunction: a.completeSandbox,
		RunE: func(c *cobra.Command, args []string) error {
			o.what, o.command = args[0], args[1:]
			if o.expires < time.Minute || o.expires > daytona.MaxSigned {
				return fault.New(fault.Usage, "--expires must be from 1m to 24h")
			}
			if len(o.command) > 0 && (o.print || o.json) {
				return fault.New(fault.Usage, "--print and --json run no COMMAND")
			}
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().DurationVar(&o.expires, "expires", time.Hour, "for how long one can enter: `TIME`, from 1m to 24h")
	c.Flags().BoolVar(&o.print, "print", false, "print the ssh command, don't run it")
	c.Flags().BoolVar(&o.json, "json", false, "print it as one JSON object")
	return c
}

// sshView is the documented object of sandboxes ssh --json: docs/sandboxes.md.
type sshView struct {
	ID        string    `json:"id"`
	Command   string    `json:"command"`
	Host      string    `json:"host"`
	Port      string    `json:"port"`
	User      string    `json:"user"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *app) sandboxesSSH(ctx context.Context, o *sandboxesSSHOptions) error {
	return a.withSandbox(ctx, o.target, func(k *sandboxes.Keeper, s sandboxes.Sandbox) error {
		if err := running(s); err != nil {
			return err
		}
		access, err := k.Daytona.SSHAccess(ctx, s.ID, o.expires)
		if err != nil {
			return err
		}
		to, err := parseSSH(access)
		switch {
		case err != nil:
			return err
		case o.json:
			return writeJSON(a.streams.Out, sshView{s.ID, to.command(), to.host, to.port, access.Token.Reveal(), access.ExpiresAt.UTC()})
		case o.print:
			fmt.Fprintf(a.streams.Err, "whoever has this can enter the sandbox until %s\n", expiry(access.ExpiresAt.Time))
			fmt.Fprintln(a.streams.Out, to.command())
			return nil
		}
		err = a.enter(ctx, to, o.command)
		if failed := revoke(ctx, k, s, access); failed != nil {
			fmt.Fprintf(a.streams.Err, "note: the access was not ended, it expires at %s: %v\n", expiry(access.ExpiresAt.Time), failed)
		}
		return err
	})
}

// revoke ends an access. One that can't be ended expires.
func revoke(ctx context.Context, k *sandboxes.Keeper, s sandboxes.Sandbox, access daytona.SSHAccess) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := k.Daytona.RevokeSSHAccess(ctx, s.ID, access.Token)
	if fault.KindOf(err) == fault.NotFound {
		return nil // deleted meanwhile, and its accesses with it
	}
	return err
}

// sshTo is where ssh enters a sandbox. The token is in user.
type sshTo struct{ host, port, user string }

var sshCommand = regexp.MustCompile(`^ssh (?:-p ([0-9]{1,5}) )?([A-Za-z0-9_-]+)@([A-Za-z0-9][A-Za-z0-9.:-]*)$`)

// parseSSH reads Daytona's command, of which nothing is ever run: a server may
// answer with anything.
func parseSSH(access daytona.SSHAccess) (sshTo, error) {
	m := sshCommand.FindStringSubmatch(access.Command.Reveal())
	if m == nil || m[2] != access.Token.Reveal() || strings.HasPrefix(m[2], "-") {
		return sshTo{}, fault.New(fault.Unavailable, "Daytona answered with an SSH command that is none")
	}
	to := sshTo{host: m[3], port: "22", user: m[2]}
	if m[1] != "" {
		to.port = m[1]
	}
	return to, nil
}

func (to sshTo) command() string { return "ssh -p " + to.port + " " + to.user + "@" + to.host }

// config is a file for ssh -F, so that the token is in no argument. Nothing of
// the user's goes along: keys, agent and display are no business of a sandbox.
func (to sshTo) config() string {
	return fmt.Sprintf(`Host sandbox
HostName %s
Port %s
User %s
StrictHostKeyChecking accept-new
BatchMode yes
PubkeyAuthentication no
ForwardAgent no
ForwardX11 no
LogLevel ERROR
`, to.host, to.port, to.user)
}

// enter runs ssh until it ends.
func (a *app) enter(ctx context.Context, to sshTo, command []string) error {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fault.New(fault.Failed, "there is no program ssh: %w", err).
			WithHint("install OpenSSH's client, or use `dayclaude sandboxes exec`, which needs none")
	}
	dir, err := os.MkdirTemp("", "dayclaude-ssh-") // for the user alone
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(to.config()), 0o600); err != nil {
		return err
	}
	c := exec.CommandContext(ctx, ssh, append([]string{"-F", config, "sandbox", "--"}, command...)...)
	c.Stdin, c.Stdout, c.Stderr = a.streams.In, a.streams.Out, a.streams.Err
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 5 * time.Second
	err = c.Run()
	exit := (*exec.ExitError)(nil)
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Cancelled, "ssh was stopped")
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exited(exit.ExitCode())
	}
	return err
}
