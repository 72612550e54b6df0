package config

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/run"
)

// load runs Load with what the maps and strings hold.
func load(t *testing.T, file string, env, ring map[string]string, flags ...string) (*Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.String("model", "", "")
	fs.Duration("timeout", 0, "")
	fs.Float64("max-cost", 0, "")
	fs.Bool("json", false, "")
	if err := fs.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return Load(t.Context(), Sources{
		Flags: fs, File: path,
		Env: func(name string) string { return env[name] },
		Keyring: func(_ context.Context, item string) (string, error) {
			switch value, ok := ring[item]; {
			case value == "locked":
				return "", fmt.Errorf("the collection is locked")
			case ok:
				return value, nil
			}
			return "", ErrNoSecret
		},
	})
}

func TestPrecedence(t *testing.T) {
	file := "model: from-file\nmax_cost: 2.5\ntimeout: 30m\n"
	dayclaude := map[string]string{"DAYCLAUDE_MODEL": "from-env", "DAYTONA_API_URL": "http://familiar/api"}
	for name, c := range map[string]struct {
		file  string
		env   map[string]string
		flags []string
		want  string
	}{
		"defaults":  {want: "claude-sonnet-5-5 5 1h0m0s https://app.daytona.io/api"},
		"file":      {file: file, want: "from-file 2.5 30m0s https://app.daytona.io/api"},
		"env":       {file: file, env: dayclaude, want: "from-env 2.5 30m0s http://familiar/api"},
		"our names": {env: map[string]string{"DAYCLAUDE_DAYTONA_URL": "http://ours/api", "DAYTONA_API_URL": "http://familiar/api"}, want: "claude-sonnet-5-5 5 1h0m0s http://ours/api"},
		"flags":     {file: file, env: dayclaude, flags: []string{"--model=from-flag", "--timeout=5m", "--max-cost=0", "--json"}, want: "from-flag 0 5m0s http://familiar/api"},
	} {
		s, err := load(t, c.file, c.env, nil, c.flags...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fmt.Sprint(s.Model, " ", s.MaxCost, " ", s.Timeout, " ", s.DaytonaURL); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestSecretsComeFromEnvThenKeyring(t *testing.T) {
	ring := map[string]string{"daytona-api-key": "ring-daytona", "github-token": "ring-github", "claude-oauth-token": "ring-oauth", "anthropic-api-key": "ring-key"}
	s, err := load(t, "", map[string]string{"GH_TOKEN": "env-gh", "CLAUDE_CODE_OAUTH_TOKEN": " env-oauth\n"}, ring)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join([]string{s.DaytonaKey.Reveal(), s.GitHubToken.Reveal(), s.AnthropicKey.Reveal(), s.AnthropicOAuth.Reveal()}, " ")
	if got != "ring-daytona env-gh  env-oauth" {
		t.Errorf("secrets = %q", got)
	}
	if text := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(text, "env-gh") || strings.Contains(text, "ring-") {
		t.Errorf("printing the settings shows a secret: %s", text)
	}
	if _, err := load(t, "", nil, map[string]string{"github-token": "locked"}); fault.KindOf(err) != fault.Auth {
		t.Errorf("a locked keyring: %v", err)
	}
}

func TestDirectoriesAreAbsolute(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"no HOME": {}, "relative": {"XDG_STATE_HOME": "state", "HOME": "/home/ann"}, "absolute": {"XDG_STATE_HOME": "/state"},
	} {
		if dir := StateDir(func(name string) string { return env[name] }); !filepath.IsAbs(dir) || filepath.Base(dir) != "dayclaude" {
			t.Errorf("%s: %q", name, dir)
		}
	}
}

func TestRequireNamesWhatIsMissing(t *testing.T) {
	env := map[string]string{}
	for _, step := range []struct{ set, want string }{
		{"", "GitHub token"}, {"GITHUB_TOKEN", "Claude credential"}, {"ANTHROPIC_API_KEY", "Daytona key"}, {"DAYTONA_API_KEY", ""},
	} {
		env[step.set] = "x"
		s, err := load(t, "", env, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Require(false)
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want) || fault.ExitCode(err) != 4 || fault.HintOf(err) == "") {
			t.Errorf("with %v: %v, want %q", env, err, step.want)
		}
		if step.want == "Daytona key" && s.Require(true) != nil {
			t.Error("--local asks for a Daytona key")
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, want string
		env        map[string]string
	}{
		"unknown key":     {file: "model: m\n\nmodle: x\n", want: "line 3"},
		"wrong kind":      {file: "max_turns: many\n", want: "line 1"},
		"repeated key":    {file: "model: a\nmodel: b\n", want: "line 2"},
		"no mapping":      {file: "- a\n", want: "line 1"},
		"secret in file":  {file: "github_token: x\n", want: "line 1"},
		"bad env":         {env: map[string]string{"DAYCLAUDE_MAX_TURNS": "many"}, want: "max_turns"},
		"url":             {file: "daytona_url: app.daytona.io\n", want: "daytona_url"},
		"url with login":  {file: "github_url: https://a:b@c/\n", want: "github_url"},
		"engine":          {file: "local_engine: podman\n", want: "local_engine"},
		"negative cost":   {file: "max_cost: -1\n", want: "max_cost"},
		"short timeout":   {file: "timeout: 3s\n", want: "timeout"},
		"unit-less hours": {file: "timeout: 90x\n", want: "90x"},
	} {
		_, err := load(t, c.file, c.env, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.ExitCode(err) != 2 {
			t.Errorf("%s: %v (exit %d), want one that names %q", name, err, fault.ExitCode(err), c.want)
		}
	}
	_, err := load(t, "anthropic_api_key: x\n", nil, nil)
	if !strings.Contains(fault.HintOf(err), "keyring") {
		t.Errorf("hint for a secret in the file = %q", fault.HintOf(err))
	}
}

func TestParseRepository(t *testing.T) {
	r, err := ParseRepository([]byte(`
setup:
  - npm ci
check: npm test
env: {NODE_ENV: test, COUNT: "3"}
instructions: |
  Keep it small.
network: [api.example.com, "*.example.org"]
limits: {max_cost: 1.5, max_turns: 20, timeout: 20m, max_files: 10, max_kb: 100}
read: [demo/library]
paths: {allow: ["src/**"], deny: ["src/gen/**"], workflows: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	o := r.Limits.Lower(run.Options{MaxCostUSD: 5, MaxTurns: 10, Timeout: time.Hour})
	if o.MaxCostUSD != 1.5 || o.MaxTurns != 10 || o.Timeout != 20*time.Minute {
		t.Errorf("limits lowered to %+v", o)
	}
	if o := r.Limits.Lower(run.Options{}); o.MaxCostUSD != 1.5 {
		t.Errorf("no limit of the user's own: %+v", o)
	}
	if r.Network.Mode != run.NetworkDomains || len(r.Network.Domains) != 2 || !r.Paths.Workflows || r.Env["COUNT"] != "3" {
		t.Errorf("parsed %+v", r)
	}
	if r, err = ParseRepository([]byte("# nothing yet\n")); err != nil || r.Check != "" {
		t.Errorf("an empty file: %+v, %v", r, err)
	}
	if r, err = ParseRepository([]byte("network: none")); err != nil || r.Network.Mode != run.NetworkNone {
		t.Errorf("network: none: %+v, %v", r, err)
	}
}

func TestParseRepositoryRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"check: a\nchecks: b\n":                                    "line 2",
		"limits:\n  max_cost: 1\n  max_dollars: 2\n":               "line 3",
		"setup: {a: b}\n":                                          "line 1",
		"env: {ANTHROPIC_BASE_URL: http://evil}\n":                 "reserved",
		"env: {git_config_count: 1}\n":                             "reserved",
		"env: {LD_PRELOAD: x}\n":                                   "reserved",
		"env: {\"A B\": x}\n":                                      "A B",
		"network: wide\n":                                          "wide",
		"network: [http://a.com]\n":                                "http://a.com",
		"network: [a.a,a.b,a.c,a.d,a.e,a.f,a.g,a.h,a.i,a.j,a.k]\n": "10 domains",
		"read: [../etc]\n":                                         "../etc",
		"limits: {max_cost: -1}\n":                                 "negative",
		"limits: {max_cost: .nan}\n":                               "not an amount",
		"limits: {max_cost: .inf}\n":                               "not an amount",
		"setup: [a, ' ']\n":                                        "command 2",
		"setup: [\"a\\0\"]\n":                                      "NUL",
		"check: \"a\\0\"\n":                                        "NUL",
		"env: {A: \"\\0\"}\n":                                      "NUL",
		"a: &a [*a]\n":                                             "line 1",
		strings.Repeat("# long\n", 20000):                          "64 KiB",
	} {
		if _, err := ParseRepository([]byte(in)); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Usage {
			t.Errorf("%.60q: %v, want one that names %q", in, err, want)
		}
	}
}

// FuzzParseRepository: what is accepted can be stored, starts a task that
// sandboxd takes, and lowers limits only; what is not is refused in a sentence.
func FuzzParseRepository(f *testing.F) {
	f.Add([]byte("setup: [a]\nnetwork: open\n"))
	f.Add([]byte("env:\n  A: &x y\n  B: *x\n"))
	f.Add([]byte("limits: {max_cost: 1e400, max_turns: 0x7f, timeout: 1h, max_files: 1_000}\n"))
	f.Add([]byte("check: \"\\0\"\nread: [a/b]\npaths: {allow: ['**'], workflows: yes}\n"))
	f.Add([]byte("? [a]\n: *b\n--- !!binary x\n"))
	f.Add([]byte("a: &a [&b [x,x],*b,*b]\nb: [*a,*a,*a]\nnetwork: *a\n"))
	f.Add([]byte(strings.Repeat("x", 10_000) + ": 1\n"))
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	own := run.Options{MaxCostUSD: 5, MaxTurns: 10, Timeout: time.Hour}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRepository(b)
		if err != nil {
			if r != nil || fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" || !utf8.ValidString(err.Error()) {
				t.Errorf("%q: %+v, %v", b, r, err)
			}
			return
		}
		if _, err := json.Marshal(r); err != nil {
			t.Errorf("%q can't be stored: %v", b, err)
		}
		if o := r.Limits.Lower(own); !(o.MaxCostUSD > 0 && o.MaxCostUSD <= own.MaxCostUSD) ||
			o.MaxTurns < 1 || o.MaxTurns > own.MaxTurns || o.Timeout <= 0 || o.Timeout > own.Timeout {
			t.Errorf("%q makes of %+v %+v", b, own, o)
		}
		if _, domains := r.Network.Allowed(); len(domains) > run.MaxDomains || len(r.Read) > 20 {
			t.Errorf("%q: %+v", b, r)
		}
		for n, value := range r.Env {
			if !name.MatchString(n) || strings.ContainsRune(value, 0) || strings.HasPrefix(strings.ToUpper(n), "ANTHROPIC_") {
				t.Errorf("accepted env %q=%q", n, value)
			}
		}
		if strings.ContainsRune(strings.Join(r.Setup, "")+r.Check, 0) || slices.Contains(r.Setup, "") {
			t.Errorf("accepted commands %q, %q", r.Setup, r.Check)
		}
	})
}
