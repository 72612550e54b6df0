package cmd

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxes"
	"github.com/dayclaude/dayclaude/internal/term"
	"github.com/dayclaude/dayclaude/internal/transfer"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

type sandboxesCpOptions struct {
	target
	upload        bool
	local, remote string
	maxSize       byteSize
	json          bool
}

func newSandboxesCp(a *app, do func(context.Context, *sandboxesCpOptions) error) *cobra.Command {
	o := &sandboxesCpOptions{maxSize: 4 << 30}
	c := &cobra.Command{
		Use: "cp SRC DST", Short: "Copy files and folders to a sandbox or out of one",
		Long: `Copy a file or a folder, by the rules of docker cp. One of SRC and DST is
SANDBOX:PATH, the other a path on this machine; one that holds a colon is written
./like:this. In the sandbox, a PATH is below the home directory unless it begins
with a slash. A DST that is a folder gets the copy inside; with a SRC that ends in
/. it gets what is in the folder.

The permissions of files are kept, their times and owners are not. Links in a
folder stay links; on this machine those that lead out of it are left out.

` + targetWords,
		Example: `  dayclaude sandboxes cp octo/shop#42:shop/report.html .
  dayclaude sandboxes cp data/ octo/shop#42:data`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%s takes SRC and DST", c.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.completeCp,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.sides(args[0], args[1]); err != nil {
				return err
			}
			return do(c.Context(), o)
		},
	}
	o.addFlags(c.Flags())
	c.Flags().Var(&o.maxSize, "max-size", "copy at most that much out of a sandbox: `SIZE`, such as 500M or 2G")
	c.Flags().BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// completeCp offers sandboxes for a word that is no path yet.
func (a *app) completeCp(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 1 || strings.ContainsAny(typed, ":") || strings.HasPrefix(typed, ".") || strings.HasPrefix(typed, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	offers, _ := a.completeSandboxes(c, nil, typed)
	for i, offer := range offers {
		name, says, described := strings.Cut(offer, "\t")
		if offers[i] = name + ":"; described {
			offers[i] += "\t" + says
		}
	}
	return offers, cobra.ShellCompDirectiveNoSpace
}

// sides finds out which way it goes.
func (o *sandboxesCpOptions) sides(from, to string) error {
	source, sourcePath, out := inSandbox(from)
	target, targetPath, in := inSandbox(to)
	switch {
	case out && in:
		return fault.New(fault.Usage, "both %s and %s are in a sandbox", from, to).WithHint("copy to this machine first; a path with a colon in it is written ./like:this")
	case !out && !in:
		return fault.New(fault.Usage, "neither %s nor %s is in a sandbox", from, to).WithHint("one of them is SANDBOX:PATH")
	case out:
		o.what, o.remote, o.local = source, sourcePath, to
	default:
		o.what, o.remote, o.local, o.upload = target, targetPath, from, true
	}
	if o.local == "" {
		return fault.New(fault.Usage, "the path on this machine is empty")
	}
	return nil
}

// inSandbox splits SANDBOX:PATH. An issue's URL has colons of its own: in its
// scheme, and before a port.
func inSandbox(arg string) (sandbox, path string, ok bool) {
	if strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".") || filepath.VolumeName(arg) != "" {
		return "", "", false
	}
	begin := 0
	if scheme := strings.Index(arg, "://"); scheme > 0 {
		begin = scheme + len("://")
		begin += max(strings.IndexByte(arg[begin:], '/'), 0)
	}
	colon := strings.IndexByte(arg[begin:], ':')
	if colon < 0 || begin+colon == 0 {
		return "", "", false
	}
	return arg[:begin+colon], arg[begin+colon+1:], true
}

// cpView is the documented object of sandboxes cp --json: docs/sandboxes.md.
type cpView struct {
	To          string        `json:"to"`
	Files       int           `json:"files"`
	Bytes       int64         `json:"bytes"`
	LeftOut     []leftOutView `json:"left_out"`
	MoreLeftOut int           `json:"more_left_out,omitempty"`
}

type leftOutView struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

func (a *app) sandboxesCp(ctx context.Context, o *sandboxesCpOptions) error {
	return a.withSandbox(ctx, o.target, func(k *sandboxes.Keeper, s sandboxes.Sandbox) error {
		if err := running(s); err != nil {
			return err
		}
		defer a.keepAwake(ctx, k, s)()
		bar := a.streams.NewBar(term.Bytes)
		c := &transfer.Copier{
			Box: k.Daytona.Toolbox(s.Sandbox), Max: int64(o.maxSize),
			Began: func(what string, total int64) { bar.Begin(untrusted.Quote(what, 100), total) }, Moved: bar.Add,
		}
		var copied transfer.Copied
		var err error
		if o.upload {
			copied, err = c.Upload(ctx, o.local, o.remote)
		} else {
			copied, err = c.Download(ctx, o.remote, o.local)
		}
		bar.Close()
		if err != nil {
			return meanwhile(ctx, k, s, err)
		}
		return a.reportCopied(copied, o)
	})
}

func (a *app) reportCopied(c transfer.Copied, o *sandboxesCpOptions) error {
	if o.json {
		v := cpView{To: c.To, Files: c.Files, Bytes: c.Bytes, LeftOut: []leftOutView{}, MoreLeftOut: c.More}
		for _, l := range c.LeftOut {
			v.LeftOut = append(v.LeftOut, leftOutView(l))
		}
		return writeJSON(a.streams.Out, v)
	}
	const most = 20
	for _, l := range c.LeftOut[:min(len(c.LeftOut), most)] {
		fmt.Fprintf(a.streams.Err, "note: left out %s: %s\n", untrusted.Quote(l.Name, 200), l.Why)
	}
	if more := len(c.LeftOut) - most + c.More; more > 0 {
		fmt.Fprintf(a.streams.Err, "note: left out %d more\n", more)
	}
	files := "1 file"
	if c.Files != 1 {
		files = fmt.Sprintf("%d files", c.Files)
	}
	to := c.To
	if o.upload {
		to = o.what + ":" + strings.TrimPrefix(to, c.Home+"/")
	}
	_, err := fmt.Fprintf(a.streams.Out, "copied %s, %s, to %s\n", files, term.Bytes(c.Bytes), untrusted.Quote(to, 500))
	return err
}

// byteSize is a flag for a size: a number of bytes, or of binary units.
type byteSize int64

func (b *byteSize) String() string { return strings.ReplaceAll(term.Bytes(int64(*b)), " ", "") }
func (*byteSize) Type() string     { return "size" }

// Set reads 1000, 500M, 2G, 2GB or 2GiB.
func (b *byteSize) Set(text string) error {
	number := strings.TrimRight(strings.TrimSpace(text), "bBiI")
	shift := 0
	if n := len(number); n > 0 {
		if unit := strings.IndexByte("KMGT", number[n-1]&^0x20); unit >= 0 {
			number, shift = number[:n-1], 10*(unit+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>8>>shift { // what is computed with it must not overflow
		return fmt.Errorf("%q is no size: write 1000, 500M or 2G", text)
	}
	*b = byteSize(n << shift)
	return nil
}
