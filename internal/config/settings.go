// Package config holds the settings: the user's own (flags, environment,
// keyring, config.yaml) and a repository's (.github/dayclaude.yml), each as
// one typed struct. Only this package imports Viper.
//
// A setting comes from the first place that has it: a flag, DAYCLAUDE_<NAME>,
// the name that users already have set for the service (DAYTONA_API_KEY and
// the like), the OS keyring (secrets only), config.yaml (everything but
// secrets), a default.
package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"github.com/zalando/go-keyring"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Settings are everything that a user can set outside a repository.
type Settings struct {
	DaytonaURL    string        `mapstructure:"daytona_url" yaml:"daytona_url"`       // API base, with /api
	DaytonaTarget string        `mapstructure:"daytona_target" yaml:"daytona_target"` // region; "" for the organisation's own
	GitHubURL     string        `mapstructure:"github_url" yaml:"github_url"`         // REST API base
	AnthropicURL  string        `mapstructure:"anthropic_url" yaml:"anthropic_url"`   // Messages API base, without /v1
	Snapshot      string        `mapstructure:"snapshot" yaml:"snapshot"`             // sandboxes are made from it
	Model         string        `mapstructure:"model" yaml:"model"`                   // Claude's model id
	MaxTurns      int           `mapstructure:"max_turns" yaml:"max_turns"`           // of Claude, in one run
	MaxCost       float64       `mapstructure:"max_cost" yaml:"max_cost"`             // US dollars in one run; 0: no limit
	Timeout       time.Duration `mapstructure:"timeout" yaml:"timeout"`               // of one run, wall clock
	Draft         bool          `mapstructure:"draft" yaml:"draft"`                   // pull requests begin as drafts
	Instructions  string        `mapstructure:"instructions" yaml:"instructions"`     // added to what Claude is told
	LocalEngine   string        `mapstructure:"local_engine" yaml:"local_engine"`     // docker or process
	HarvestEvery  time.Duration `mapstructure:"harvest_every" yaml:"harvest_every"`   // while Claude works, the changes so far come to the host
	ArchiveAfter  time.Duration `mapstructure:"archive_after" yaml:"archive_after"`   // a stopped sandbox is archived
	DeleteAfter   time.Duration `mapstructure:"delete_after" yaml:"delete_after"`     // a stopped sandbox is deleted

	// Secrets: never in config.yaml.
	DaytonaKey     secret.String `mapstructure:"-" yaml:"-"`
	GitHubToken    secret.String `mapstructure:"-" yaml:"-"`
	AnthropicKey   secret.String `mapstructure:"-" yaml:"-"`
	AnthropicOAuth secret.String `mapstructure:"-" yaml:"-"` // a Claude subscription's token
}

// defaults also lists every key that config.yaml may hold.
var defaults = map[string]any{
	"daytona_url":    "https://app.daytona.io/api",
	"daytona_target": "",
	"github_url":     "https://api.github.com/",
	"anthropic_url":  "https://api.anthropic.com",
	"snapshot":       "dayclaude-slim",
	"model":          "claude-sonnet-5-5",
	"max_turns":      100,
	"max_cost":       5.0,
	"timeout":        time.Hour,
	"draft":          false,
	"instructions":   "",
	"local_engine":   "docker",
	"harvest_every":  5 * time.Minute,
	"archive_after":  24 * time.Hour,
	"delete_after":   7 * 24 * time.Hour,
}

// familiar are the names that users already have set, beside DAYCLAUDE_<KEY>.
var familiar = map[string][]string{
	"daytona_url":    {"DAYTONA_API_URL"},
	"daytona_target": {"DAYTONA_TARGET"},
	"github_url":     {"GITHUB_API_URL"},
	"anthropic_url":  {"ANTHROPIC_BASE_URL"},
}

// secretSource says where one secret is looked for.
type secretSource struct {
	into *secret.String
	env  []string
	item string // in the keyring
}

func (s *Settings) secrets() []secretSource {
	return []secretSource{
		{&s.DaytonaKey, []string{"DAYCLAUDE_DAYTONA_API_KEY", "DAYTONA_API_KEY"}, "daytona-api-key"},
		{&s.GitHubToken, []string{"DAYCLAUDE_GITHUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"}, "github-token"},
		{&s.AnthropicKey, []string{"DAYCLAUDE_ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"}, "anthropic-api-key"},
		{&s.AnthropicOAuth, []string{"DAYCLAUDE_CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"}, "claude-oauth-token"},
	}
}

// Sources are the outside that settings come from.
type Sources struct {
	Flags   *pflag.FlagSet // flags named like keys, with hyphens; may be nil
	Env     func(string) string
	File    string                                                 // config.yaml's path; need not exist
	Keyring func(ctx context.Context, item string) (string, error) // ErrNoSecret if it has none
}

// ErrNoSecret says that the keyring has no such item.
var ErrNoSecret = errors.New("not in the keyring")

// Load merges the sources. A wrong file or value is a fault of kind Usage.
func Load(ctx context.Context, src Sources) (*Settings, error) {
	v := viper.New()
	for key, value := range defaults {
		v.SetDefault(key, value)
	}
	if err := mergeFile(v, src.File); err != nil {
		return nil, err
	}
	for key := range defaults {
		for _, name := range append([]string{"DAYCLAUDE_" + strings.ToUpper(key)}, familiar[key]...) {
			if value := src.Env(name); value != "" {
				v.Set(key, value)
				break
			}
		}
	}
	if src.Flags != nil {
		src.Flags.Visit(func(f *pflag.Flag) {
			if key := strings.ReplaceAll(f.Name, "-", "_"); v.IsSet(key) {
				v.Set(key, f.Value.String())
			}
		})
	}
	s := &Settings{}
	if err := v.Unmarshal(s, func(c *mapstructure.DecoderConfig) { c.ErrorUnused = true }); err != nil {
		words := strings.TrimPrefix(err.Error(), "decoding failed due to the following error(s):\n\n")
		return nil, fault.New(fault.Usage, "settings: %s", strings.ReplaceAll(words, "\n", "; ")).
			WithHint("docs/settings.md lists them with their variables")
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	return s, s.loadSecrets(ctx, src)
}

// mergeFile adds config.yaml's values, after a strict look at its keys.
func mergeFile(v *viper.Viper, path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fault.New(fault.Usage, "settings: %w", err)
	}
	var strict Settings
	if err := decodeStrict(content, &strict); err != nil {
		f := fault.New(fault.Usage, "%s: %w", path, err).WithHint("docs/settings.md lists the keys")
		if secretKey.MatchString(err.Error()) {
			f.Hint = "secrets don't belong in this file: set them in the environment or keep them in the OS keyring"
		}
		return f
	}
	v.SetConfigType("yaml")
	if err := v.MergeConfig(strings.NewReader(string(content))); err != nil {
		return fault.New(fault.Usage, "%s: %w", path, err)
	}
	return nil
}

// secretKey is an unknown key that was meant to hold a secret.
var secretKey = regexp.MustCompile(`unknown key .*(key|token|secret|password)`)

func (s *Settings) validate() error {
	bad := func(format string, args ...any) error { return fault.New(fault.Usage, format, args...) }
	for name, value := range map[string]string{"daytona_url": s.DaytonaURL, "github_url": s.GitHubURL, "anthropic_url": s.AnthropicURL} {
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return bad("%s: %q is not an http(s) URL without a login", name, value)
		}
	}
	switch {
	case s.MaxTurns < 1:
		return bad("max_turns must be at least 1, not %d", s.MaxTurns)
	case s.MaxCost < 0:
		return bad("max_cost can't be negative")
	case s.Timeout < time.Minute:
		return bad("timeout must be at least a minute, not %s", s.Timeout)
	case s.LocalEngine != "docker" && s.LocalEngine != "process":
		return bad("local_engine is docker or process, not %q", s.LocalEngine)
	case s.HarvestEvery < time.Second:
		return bad("harvest_every must be at least a second, not %s", s.HarvestEvery)
	case s.ArchiveAfter < 0 || s.DeleteAfter < 0:
		return bad("archive_after and delete_after can't be negative")
	}
	return nil
}

// loadSecrets takes each secret from the environment, else from the keyring.
// An Anthropic key makes the subscription's token unneeded, and so unread.
func (s *Settings) loadSecrets(ctx context.Context, src Sources) error {
	for _, from := range s.secrets() {
		for _, name := range from.env {
			if value := strings.TrimSpace(src.Env(name)); value != "" {
				*from.into = secret.New(value)
				break
			}
		}
	}
	for _, from := range s.secrets() {
		anthropic := from.into == &s.AnthropicKey || from.into == &s.AnthropicOAuth
		have := !from.into.IsZero() || anthropic && (!s.AnthropicKey.IsZero() || !s.AnthropicOAuth.IsZero())
		if have || src.Keyring == nil {
			continue
		}
		value, err := src.Keyring(ctx, from.item)
		switch {
		case errors.Is(err, ErrNoSecret):
		case err != nil:
			return fault.New(fault.Auth, "read %s from the OS keyring: %w", from.item, err).
				WithHint("unlock the keyring, or set %s", from.env[len(from.env)-1])
		default:
			*from.into = secret.New(value)
		}
	}
	return nil
}

// Require returns a fault of kind Auth that names the first secret that a run
// needs and does not have. local says that Daytona is embedded.
func (s *Settings) Require(local bool) error {
	switch {
	case s.GitHubToken.IsZero():
		return missing("GitHub token", "GITHUB_TOKEN to a token with contents, issues and pull requests: write")
	case s.AnthropicKey.IsZero() && s.AnthropicOAuth.IsZero():
		return missing("Claude credential", "ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN for a subscription")
	case s.DaytonaKey.IsZero() && !local:
		return missing("Daytona key", "DAYTONA_API_KEY, or use --local to run the sandbox in Docker on this machine")
	}
	return nil
}

// RequireDaytona returns a fault of kind Auth if there is no key for Daytona.
func (s *Settings) RequireDaytona() error {
	if s.DaytonaKey.IsZero() {
		return missing("Daytona key", "DAYTONA_API_KEY")
	}
	return nil
}

func missing(what, env string) error {
	return fault.New(fault.Auth, "no %s", what).WithHint("set %s", env)
}

// keyringService is the name under which the OS keyring keeps our secrets.
const keyringService = "dayclaude"

// Keyring looks an item up in the OS keyring. A machine without one has no
// secrets there.
func Keyring(ctx context.Context, item string) (string, error) {
	type answer struct {
		value string
		err   error
	}
	// The library knows no context, and a keyring may wait for its user to
	// unlock it: after a while the lookup is left to end with the process.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	got := make(chan answer, 1)
	go func() {
		value, err := keyring.Get(keyringService, item)
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		if unavailable(a.err) {
			return "", ErrNoSecret
		}
		return a.value, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// unavailable reports whether the error means that there is no such item, or
// no keyring at all: on Linux the Secret Service is reached over D-Bus.
func unavailable(err error) bool {
	if err == nil {
		return false
	}
	for _, words := range []string{"org.freedesktop.secrets", "dbus", "DBUS", "autolaunch", "no such file"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return errors.Is(err, keyring.ErrNotFound) || errors.Is(err, keyring.ErrUnsupportedPlatform)
}

// FilePath is config.yaml's place: below $XDG_CONFIG_HOME, else ~/.config.
func FilePath(env func(string) string) string {
	return filepath.Join(xdg(env, "XDG_CONFIG_HOME", ".config"), "dayclaude", "config.yaml")
}

// StateDir is where the store and what runs leave behind are kept: below
// $XDG_STATE_HOME, else ~/.local/state.
func StateDir(env func(string) string) string {
	return filepath.Join(xdg(env, "XDG_STATE_HOME", ".local/state"), "dayclaude")
}

// CacheDir is where what can be had again is kept: below $XDG_CACHE_HOME,
// else ~/.cache.
func CacheDir(env func(string) string) string {
	return filepath.Join(xdg(env, "XDG_CACHE_HOME", ".cache"), "dayclaude")
}

func xdg(env func(string) string, name, fallback string) string {
	if dir := env(name); filepath.IsAbs(dir) {
		return dir
	}
	home := env("HOME")
	if home == "" { // as some service managers start programs
		home = string(filepath.Separator)
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	return filepath.Join(home, fallback)
}
