// Package lightclaude is a program in Claude Code's place: it takes the
// command line that internal/claude starts, calls the Messages API at
// ANTHROPIC_BASE_URL, runs the tools Bash, Read, Edit and Write, keeps and
// resumes its session, and says what it does as Claude Code's stream of JSON.
// It starts in a few milliseconds, for tests that need hundreds of runs.
//
// What it says, when it retries and how it ends was measured with Claude Code
// 2.1.330. It differs in this: its pauses before retries are a tenth as long
// (see RealPauses), and it reads no CLAUDE.md.
package lightclaude

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/claude"
)

// Name is what the program is called. An executable that holds it becomes it
// when it is started under this name: see Called.
const Name = "claude"

// Version is what it says of itself.
const Version = "0.0.0-light"

// complaint is an error in Claude Code's own words.
type complaint string

func (c complaint) Error() string { return string(c) }

// Called reports whether this process was started to be this program.
func Called() bool { return filepath.Base(os.Args[0]) == Name }

// Main runs the program and returns its exit code. SIGINT interrupts it as it
// does Claude Code; any other signal that ends a process ends it.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:], os.Getenv)
	if errors.Is(err, errVersion) {
		fmt.Println(Version + " (light stand-in for Claude Code)")
		return 0
	}
	if err == nil {
		var prompt []byte
		prompt, err = io.ReadAll(os.Stdin)
		if o.prompt = strings.TrimSpace(string(prompt)); err == nil && o.prompt == "" {
			err = complaint("Error: Input must be provided either through stdin or as a prompt argument when using --print")
		}
	}
	var t *turn
	if err == nil {
		t, err = begin(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return t.run(ctx)
}

// options are the command line and the environment.
type options struct {
	model, system string
	tools         []string
	maxTurns      int // 0: no limit
	session       string
	resume        bool
	prompt        string

	dir, home  string
	base       string // URL of the Messages API
	key, token string // as x-api-key or as bearer token
	oauth      bool   // token is a subscription's
	timeout    time.Duration
	maxRetries int
}

var errVersion = errors.New("asked for the version")

// parse takes what Claude Code takes of what internal/claude may say.
func parse(args []string, env func(string) string) (*options, error) {
	o := &options{home: env("HOME"), base: strings.TrimSuffix(env("ANTHROPIC_BASE_URL"), "/")}
	flags := flag.NewFlagSet(Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var ignored, tools, format, fresh, resumed string
	var print, verbose, skip, version, strict bool
	flags.BoolVar(&print, "p", false, "")
	flags.StringVar(&format, "output-format", "text", "")
	flags.BoolVar(&verbose, "verbose", false, "")
	flags.BoolVar(&skip, "dangerously-skip-permissions", false, "")
	flags.StringVar(&ignored, "setting-sources", "", "")
	flags.BoolVar(&strict, "strict-mcp-config", false, "")
	flags.StringVar(&ignored, "add-dir", "", "")
	flags.StringVar(&tools, "tools", "", "")
	flags.StringVar(&o.model, "model", "", "")
	flags.IntVar(&o.maxTurns, "max-turns", 0, "")
	flags.StringVar(&o.system, "append-system-prompt", "", "")
	flags.StringVar(&fresh, "session-id", "", "")
	flags.StringVar(&resumed, "resume", "", "")
	flags.BoolVar(&version, "version", false, "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return nil, errors.Join(complaint("error: unknown option or argument"), err)
	}
	if version {
		return nil, errVersion
	}
	o.tools, o.session, o.resume = strings.Split(tools, ","), fresh+resumed, resumed != ""
	if err := o.environment(env); err != nil {
		return nil, err
	}
	switch {
	case !print || format != "stream-json":
		return nil, errors.New("error: only -p --output-format stream-json")
	case !verbose:
		return nil, complaint("Error: When using --print, --output-format=stream-json requires --verbose")
	case skip && os.Geteuid() == 0 && env("IS_SANDBOX") != "1":
		return nil, errors.New("--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons")
	case (fresh == "") == (resumed == ""):
		return nil, errors.New("error: either --session-id or --resume")
	case uuid.Validate(o.session) != nil:
		return nil, complaint("Error: Invalid session ID. Must be a valid UUID.")
	case resumed != "" && !claude.HasTranscript(o.home, o.dir, o.session):
		return nil, complaint("No conversation found with session ID: " + o.session)
	case fresh != "" && claude.HasTranscript(o.home, o.dir, o.session):
		return nil, complaint("Error: Session ID " + o.session + " is already in use.")
	}
	return o, nil
}

// environment takes what is not on the command line.
func (o *options) environment(env func(string) string) error {
	o.key, o.token, o.maxRetries, o.timeout = env("ANTHROPIC_API_KEY"), env("ANTHROPIC_AUTH_TOKEN"), 10, 10*time.Minute
	if o.oauth = o.key == "" && o.token == ""; o.oauth {
		o.token = env("CLAUDE_CODE_OAUTH_TOKEN")
	}
	if o.key == "" && o.token == "" {
		return complaint("Invalid API key · Please run /login")
	}
	var errs []error
	number := func(name string, set func(int)) {
		if text := env(name); text != "" {
			n, err := strconv.Atoi(text)
			errs = append(errs, err)
			set(n)
		}
	}
	number("CLAUDE_CODE_MAX_RETRIES", func(n int) { o.maxRetries = n })
	number("API_TIMEOUT_MS", func(n int) { o.timeout = time.Duration(n) * time.Millisecond })
	var err error
	o.dir, err = os.Getwd()
	return errors.Join(append(errs, err)...)
}

// offers reports whether the model may call a tool.
func (o *options) offers(tool string) bool { return slices.Contains(o.tools, tool) }
