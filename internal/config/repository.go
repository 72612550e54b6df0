package config

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// RepositoryFile is where a repository keeps its settings. They are read from
// the default branch only, whatever branch a run starts from.
const RepositoryFile = ".github/dayclaude.yml"

// Repository is the whole of .github/dayclaude.yml. Every key may be left
// out. docs/repository-settings.md explains them to users.
type Repository struct {
	// Setup are shell commands, run in order in the repository before Claude.
	Setup []string `yaml:"setup"`
	// Check is a shell command, run after Claude; its exit code and the tail of
	// its output stand in the pull request.
	Check string `yaml:"check"`
	// Env is given to setup, Claude's tools and check. Plain values only: the
	// agent can read them.
	Env map[string]string `yaml:"env"`
	// Instructions are added to what Claude is told.
	Instructions string `yaml:"instructions"`
	// Network is open, registries, none, or a list of domains.
	Network Network `yaml:"network"`
	// Limits lower the limits of the one who starts the run, never raise them.
	Limits Limits `yaml:"limits"`
	// Read are further repositories, owner/name, that git may fetch.
	Read []string `yaml:"read"`
	// Paths say what a changeset may touch.
	Paths Paths `yaml:"paths"`
}

// Limits of a run. Zero means: no limit of the repository's own.
type Limits struct {
	MaxCostUSD float64       `yaml:"max_cost"` // US dollars
	MaxTurns   int           `yaml:"max_turns"`
	Timeout    time.Duration `yaml:"timeout"`   // "45m"
	MaxFiles   int           `yaml:"max_files"` // changed files
	MaxKB      int64         `yaml:"max_kb"`    // content of all changed files
}

// Paths are globs (** spans directories) of what a changeset may touch.
type Paths struct {
	Allow     []string `yaml:"allow"`     // only these, if there are any
	Deny      []string `yaml:"deny"`      // never these
	Workflows bool     `yaml:"workflows"` // .github/workflows and .github/actions may change
}

// Network is the policy as the file spells it: one word, or a list.
type Network struct{ run.Network }

// UnmarshalYAML takes a word or a list of domains.
func (n *Network) UnmarshalYAML(node *yaml.Node) error {
	list := []string{node.Value}
	if node.Kind != yaml.ScalarNode {
		list = nil
		if err := node.Decode(&list); err != nil {
			return err
		}
	}
	var err error
	if n.Network, err = run.ParseNetwork(list...); err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	return nil
}

const maxRepositoryFile = 64 << 10

var (
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	fullName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+$`)
)

// reserved prefixes of environment variables steer the parts that keep a
// sandbox keyless, or load code into every process.
var reserved = []string{"HOME", "ANTHROPIC_", "CLAUDE", "GIT_", "LD_", "SANDBOXD_", "DAYTONA_", "DAYCLAUDE_"}

// ParseRepository reads .github/dayclaude.yml. A key that it does not know,
// or a value of the wrong kind, is a fault of kind Usage that names the line.
func ParseRepository(content []byte) (*Repository, error) {
	bad := func(err error) error {
		return fault.New(fault.Usage, "%s on the default branch: %w", RepositoryFile, err).
			WithHint("mend the file; docs/repository-settings.md lists its keys")
	}
	if len(content) > maxRepositoryFile {
		return nil, bad(fmt.Errorf("larger than %d KiB", maxRepositoryFile>>10))
	}
	var r Repository
	if err := decodeStrict(content, &r); err != nil {
		return nil, bad(err)
	}
	if err := r.validate(); err != nil {
		return nil, bad(err)
	}
	return &r, nil
}

func (r *Repository) validate() error {
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		if !envName.MatchString(name) {
			return fmt.Errorf("env: %q is not a variable's name", name)
		}
		for _, p := range reserved {
			if strings.HasPrefix(strings.ToUpper(name), p) {
				return fmt.Errorf("env: %s is reserved (names that begin with %s are)", name, p)
			}
		}
		if strings.ContainsRune(r.Env[name], 0) {
			return fmt.Errorf("env: %s holds a NUL", name)
		}
	}
	for i, command := range r.Setup {
		if strings.TrimSpace(command) == "" || strings.ContainsRune(command, 0) {
			return fmt.Errorf("setup: command %d is empty, or holds a NUL", i+1)
		}
	}
	if strings.ContainsRune(r.Check, 0) {
		return fmt.Errorf("check: holds a NUL")
	}
	if len(r.Read) > 20 {
		return fmt.Errorf("read: at most 20 repositories, not %d", len(r.Read))
	}
	for _, name := range r.Read {
		if !fullName.MatchString(name) {
			return fmt.Errorf("read: %q is not a repository's owner/name", name)
		}
	}
	l := r.Limits
	if math.IsNaN(l.MaxCostUSD) || math.IsInf(l.MaxCostUSD, 0) {
		return fmt.Errorf("limits: max_cost: %v is not an amount", l.MaxCostUSD)
	}
	if l.MaxCostUSD < 0 || l.MaxTurns < 0 || l.Timeout < 0 || l.MaxFiles < 0 || l.MaxKB < 0 {
		return fmt.Errorf("limits: a limit can't be negative")
	}
	return nil
}

// Lower returns the options with the repository's limits where they are the
// tighter ones.
func (l Limits) Lower(o run.Options) run.Options {
	o.MaxCostUSD = tighter(o.MaxCostUSD, l.MaxCostUSD)
	o.MaxTurns = tighter(o.MaxTurns, l.MaxTurns)
	o.Timeout = tighter(o.Timeout, l.Timeout)
	return o
}

// tighter is the smaller of two limits, of which 0 is none.
func tighter[T int | int64 | float64 | time.Duration](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
