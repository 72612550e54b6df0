package cmd

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/config"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func newDev(a *app) *cobra.Command {
	c := &cobra.Command{Use: "dev", Short: "Serve stand-ins to develop and test against"}
	c.AddCommand(newDevDaytona(a, a.devDaytona))
	return c
}

type devDaytonaOptions struct {
	engine  string // "" for the setting local_engine
	listen  string
	keyFile string
	verbose bool
	flags   *pflag.FlagSet // --snapshot is read from here
}

func newDevDaytona(a *app, do func(context.Context, *devDaytonaOptions) error) *cobra.Command {
	o := &devDaytonaOptions{}
	c := &cobra.Command{
		Use:   "daytona",
		Short: "Serve the embedded Daytona on a loopback port",
		Long: `Serve the embedded Daytona on a loopback port, for any Daytona client.

Once it answers, two lines on stdout say where and with which key, as a shell or
an env file takes them: DAYTONA_API_URL=… and DAYTONA_API_KEY=…. It serves until
Ctrl-C or SIGTERM, and then ends with exit code 0.

With Docker, sandboxes are containers that live on when the command ends, and
are there again at its next start. With the process engine they are processes of
this machine that nothing isolates, and are removed at the end.`,
		Example: `  dayclaude dev daytona --listen 127.0.0.1:4000
  { read -r url; read -r key; } < <(dayclaude dev daytona); export "$url" "$key"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.flags = c.Flags()
			if err := o.check(); err != nil {
				return err
			}
			return do(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.engine, "engine", "", "`ENGINE` of the sandboxes: docker, or process (which isolates nothing)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `ADDRESS` to listen on; port 0 takes a free one")
	f.StringVar(&o.keyFile, "key-file", "", "take the API key from a `FILE`, or - for stdin (default: a new random one)")
	f.String("snapshot", "", "`NAME` of the snapshot that is there; with Docker, of the local image")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print everything that happens, line by line")
	return c
}

func (o *devDaytonaOptions) check() error {
	if o.engine != "" && o.engine != engineDocker && o.engine != engineProcess {
		return fault.New(fault.Usage, "--engine is docker or process, not %q", o.engine)
	}
	host, port, err := net.SplitHostPort(o.listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fault.New(fault.Usage, "--listen: %w", err).WithHint("write it as 127.0.0.1:4000")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fault.New(fault.Usage, "--listen is an address of this machine's loopback, not %q: whoever reaches the server can run commands on this machine", o.listen).
			WithHint("write it as 127.0.0.1:4000")
	}
	return nil
}

// devDaytona serves until ctx ends, which is how it is told to stop, or its
// terminal is closed: sandboxes that nothing isolates are not to stay behind.
func (a *app) devDaytona(ctx context.Context, o *devDaytonaOptions) (err error) {
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	settings, err := config.Load(ctx, config.Sources{Flags: o.flags, Env: a.env, File: config.FilePath(a.env)}) // without secrets
	if err != nil {
		return err
	}
	settings.LocalEngine = cmp.Or(o.engine, settings.LocalEngine)
	key, err := readKey(o.keyFile, a.streams.In)
	if err != nil {
		return err
	}
	log := newLog(a.streams.Err, o.verbose)
	engine, release, err := a.devEngine(ctx, settings, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	server, err := devstack.New(devstack.Options{
		Engine: engine, Addr: o.listen, Key: key.Reveal(), Log: log,
		Snapshots:     []devstack.Snapshot{{Name: settings.Snapshot, CPU: 2, Memory: 4, Disk: 10}},
		AnySnapshot:   settings.LocalEngine == engineProcess,
		RemoveOnClose: settings.LocalEngine == engineProcess,
	})
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, server.Close(context.WithoutCancel(ctx))) }()
	if err := server.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(a.streams.Err, "dayclaude: the embedded Daytona (%s engine) answers on %s; Ctrl-C stops it\n", settings.LocalEngine, server.URL())
	if notice := server.Notice(); notice != "" {
		fmt.Fprintln(a.streams.Err, "dayclaude: note:", notice)
	}
	// Both lines at once: whoever waits for the first has the second.
	if _, err := fmt.Fprintf(a.streams.Out, "DAYTONA_API_URL=%s\nDAYTONA_API_KEY=%s\n", server.URL(), server.Key()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// devEngine is the engine of the settings. Containers outlive it, and the next
// one finds them; processes do not. Call release after the engine is closed.
func (a *app) devEngine(ctx context.Context, s *config.Settings, log *slog.Logger) (_ devstack.Engine, release func() error, err error) {
	if s.LocalEngine == engineDocker {
		lock, space, err := claimSpace(filepath.Join(config.StateDir(a.env), "dev-daytona"))
		if err != nil {
			return nil, nil, err
		}
		engine, err := dockerEngine(ctx, s.Snapshot, space)
		if err != nil {
			return nil, nil, errors.Join(err, lock.Close())
		}
		return engine, lock.Close, nil
	}
	root, err := os.MkdirTemp("", "dayclaude-dev-")
	if err != nil {
		return nil, nil, err
	}
	release = func() error { return os.RemoveAll(root) }
	if err := os.Chmod(root, 0o711); err != nil { // the sandboxes' users pass through
		return nil, nil, errors.Join(err, release())
	}
	var tools []string
	if claude, err := exec.LookPath("claude"); err == nil {
		tools = append(tools, claude)
	}
	engine, err := process.New(process.Options{Root: root, Tools: tools, Log: log})
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return engine, release, nil
}

// claimSpace returns the namespace of this user's sandboxes, which a file keeps
// from one start to the next. While the file is open nobody else has it.
func claimSpace(path string) (lock *os.File, space string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", err
	}
	if lock, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, "", err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fault.New(fault.Conflict, "another `dayclaude dev daytona` serves this user's sandboxes").
			WithHint("use that one, stop it, or give this one a state directory of its own with XDG_STATE_HOME")
	}
	if err == nil {
		space, err = spaceIn(lock)
	}
	if err != nil {
		return nil, "", errors.Join(err, lock.Close())
	}
	return lock, space, nil
}

// spaceIn reads the namespace from the file, or begins a new one.
func spaceIn(file *os.File) (string, error) {
	held, err := io.ReadAll(io.LimitReader(file, 100))
	if err != nil {
		return "", err
	}
	if regexp.MustCompile(`^dayclaude-dev-[a-z0-9]{10}$`).Match(held) {
		return string(held), nil
	}
	space := "dayclaude-dev-" + strings.ToLower(rand.Text()[:10])
	if err := file.Truncate(0); err != nil {
		return "", err
	}
	_, err = file.WriteAt([]byte(space), 0)
	return space, err
}

// readKey reads an API key from a file, or from in for "-"; without a path it is
// the zero key. What it takes needs no quotes in a shell.
func readKey(path string, in *os.File) (secret.String, error) {
	if path == "" {
		return secret.String{}, nil
	}
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return secret.String{}, fault.New(fault.Usage, "--key-file: %w", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, 1024))
	if err != nil {
		return secret.String{}, fault.New(fault.Usage, "--key-file: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if !regexp.MustCompile(`^[A-Za-z0-9._+/=-]{16,512}$`).MatchString(key) {
		return secret.String{}, fault.New(fault.Usage, "--key-file: %s holds no key: one has 16 to 512 of the characters A-Z a-z 0-9 . _ + / = -", path)
	}
	return secret.New(key), nil
}
