package cmd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/term"
)

type sandboxesPreviewOptions struct {
	target
	port    int
	expires time.Duration
	json    bool
}

func newSandboxesPreview(a *app, do func(context.Context, *sandboxesPreviewOptions) error) *cobra.Command {
	o := &sandboxesPreviewOptions{}
	c := &cobra.Command{
		Use: "preview SANDBOX PORT", Short: "Print a URL that opens a port of a sandbox",
		Long: `Print a URL that opens what listens on a port of a sandbox, in a browser say.
It needs no key and no login: whoever has it can open the port until it
expires.

` + targetWords,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%s takes a SANDBOX and a PORT, not %d arguments", c.CommandPath(), len(args))
			}
			return nil
		},
		ValidArgsFunction: a.completeSandbox,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			o.what = args[0]
			if o.port, err = strconv.Atoi(args[1]); err != nil || o.port < 1 || o.port > 65535 {
				return fault.New(fault.Usage, "%q is not a port: it is a number from 1 to 65535", args[1])
			}
			if o.expires < time.Second || o.expires > daytona.MaxSigned {
				return fault.New(fault.Usage, "--expires must be from 1s to 24h")
			}
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().DurationVar(&o.expires, "expires", time.Hour, "for how long it can be opened: `TIME`, from 1s to 24h")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// previewView is the documented object of sandboxes preview --json:
// docs/sandboxes.md.
type previewView struct {
	ID        string    `json:"id"`
	Port      int       `json:"port"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (a *app) sandboxesPreview(ctx context.Context, o *sandboxesPreviewOptions) error {
	return a.withSandbox(ctx, o.target, func(k *sandboxes.Keeper, s sandboxes.Sandbox) error {
		if err := running(s); err != nil {
			return err
		}
		p, err := k.Daytona.SignedPreview(ctx, s.ID, o.port, o.expires)
		if err != nil {
			return err
		}
		if o.json {
			return writeJSON(a.streams.Out, previewView{s.ID, o.port, p.URL.Reveal(), p.ExpiresAt.UTC()})
		}
		fmt.Fprintf(a.streams.Err, "whoever has this URL can open it until %s (%s)\n", expiry(p.ExpiresAt), term.Span(o.expires))
		fmt.Fprintln(a.streams.Out, p.URL.Reveal())
		return nil
	})
}

// expiry is a time of today or of the next days.
func expiry(at time.Time) string { return at.Local().Format("15:04 on 2 January") }
