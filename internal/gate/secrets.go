package gate

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/detect/codec"

	"github.com/dayclaude/dayclaude/internal/changeset"
)

const (
	// Content is scanned in pieces: what gitleaks does with a piece grows with
	// the square of its findings, and nothing else lets a scan be cancelled.
	piece = 64 << 10
	// overlap is what a piece repeats of the one before, for secrets that span
	// lines. The largest are private keys.
	overlap = 16 << 10
	// decodings is how many layers of base64, hex or percent coding are read.
	decodings = 2
	// heuristic is the rule that guesses by names like "key" and by entropy.
	heuristic = "generic-api-key"
)

// leak is one secret that was found. It stays in this file.
type leak struct {
	rule, secret string
	line         int // from 1; 0 if it stood there in coded form
}

// secrets scans what the changeset adds. The scanner is made here, for the
// rules whose keywords occur, so a command that never gets here pays nothing.
func (c *check) secrets(ctx context.Context) error {
	var s *scanner
	for i := range c.set.Changes {
		ch := &c.set.Changes[i]
		if len(c.findings) >= maxFindings || ch.Deleted {
			continue
		}
		if s == nil {
			var err error
			if s, err = newScanner(c.set); err != nil {
				return err
			}
		}
		leaks, err := s.scan(ctx, ch.Path, ch.Content)
		if err != nil {
			return err
		}
		if leaks, err = c.unknown(ctx, s, ch.Path, leaks); err != nil {
			return err
		}
		for _, l := range leaks {
			where := "in coded form"
			if l.line > 0 {
				where = fmt.Sprintf("in line %d", l.line)
			}
			c.found(ch.Path, RuleSecret, "holds what looks like a secret %s (gitleaks rule %s)", where, l.rule)
		}
	}
	return nil
}

// unknown leaves out the secrets that stood at the base in the same file, or
// in one that the changeset deletes: moving a file publishes nothing new.
func (c *check) unknown(ctx context.Context, s *scanner, path string, leaks []leak) ([]leak, error) {
	if len(leaks) == 0 || c.base.Content == nil {
		return leaks, nil
	}
	paths := []string{path}
	for i := range c.set.Changes {
		if c.set.Changes[i].Deleted {
			paths = append(paths, c.set.Changes[i].Path)
		}
	}
	for _, p := range paths {
		if _, stands := c.base.Modes[p]; !stands || len(leaks) == 0 {
			continue
		}
		known, err := c.standing(ctx, s, p)
		if err != nil {
			return nil, err
		}
		leaks = slices.DeleteFunc(leaks, func(l leak) bool {
			return slices.ContainsFunc(known, func(k leak) bool { return k.secret == l.secret })
		})
	}
	return leaks, nil
}

// standing returns the secrets at a path of the base. Each path is read and
// scanned once, however many files hold secrets.
func (c *check) standing(ctx context.Context, s *scanner, path string) ([]leak, error) {
	if known, done := c.known[path]; done {
		return known, nil
	}
	old, err := c.base.Content(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read %s at the base, to compare secrets: %w", printable(path), err)
	}
	c.known[path], err = s.scan(ctx, path, old)
	return c.known[path], err
}

// scanner is gitleaks with those of its rules that the changeset can trigger.
type scanner struct {
	detector *detect.Detector
	skipped  []*config.Allowlist // paths of generated and vendored files
}

// newScanner compiles the rules whose keywords occur in the changeset. All
// 222 of them take 14 MiB and 70 ms; a usual changeset needs a few.
func newScanner(set *changeset.Set) (*scanner, error) {
	// gitleaks' own constructor goes through the global Viper.
	var raw map[string]any
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &raw); err != nil {
		return nil, fmt.Errorf("read the rules of gitleaks: %w", err)
	}
	var all config.ViperConfig
	if err := mapstructure.Decode(raw, &all); err != nil {
		return nil, fmt.Errorf("read the rules of gitleaks: %w", err)
	}
	seen := keywords{}
	for i := range set.Changes {
		for _, text := range layers(set.Changes[i].Content) {
			seen.add(text, all)
		}
	}
	rules := all.Rules
	all.Rules = nil
	for _, rule := range rules {
		if len(rule.Keywords) == 0 || slices.ContainsFunc(rule.Keywords, func(k string) bool { return seen[strings.ToLower(k)] }) {
			all.Rules = append(all.Rules, rule)
		}
	}
	cfg, err := all.Translate()
	if err != nil {
		return nil, fmt.Errorf("compile the rules of gitleaks: %w", err)
	}
	cfg.Path = "" // Translate takes the global Viper's file for it, and would skip a file of that name

	// The agent chooses paths and comments, so neither silences a rule. Paths
	// that gitleaks leaves out count for guesses alone: see scan.
	s := &scanner{}
	for i, list := range cfg.Allowlists {
		s.skipped = append(s.skipped, &config.Allowlist{Paths: list.Paths})
		cfg.Allowlists[i] = &config.Allowlist{Regexes: list.Regexes, StopWords: list.StopWords, RegexTarget: list.RegexTarget}
	}
	s.detector = detect.NewDetector(cfg)
	s.detector.IgnoreGitleaksAllow = true
	return s, nil
}

// keywords are those of the rules that occurred, in lower case.
type keywords map[string]bool

func (k keywords) add(text string, rules config.ViperConfig) {
	text = strings.ToLower(text)
	for _, rule := range rules.Rules {
		for _, word := range rule.Keywords {
			if word = strings.ToLower(word); !k[word] && strings.Contains(text, word) {
				k[word] = true
			}
		}
	}
}

// layers returns content as it stands, then with its coded parts decoded.
func layers(content []byte) []string {
	text := string(content)
	all := []string{text}
	for range decodings {
		decoded, segments := codec.NewDecoder().Decode(text, nil)
		if len(segments) == 0 {
			break
		}
		all, text = append(all, decoded), decoded
	}
	return all
}

// scan returns the secrets in content, each once.
func (s *scanner) scan(ctx context.Context, path string, content []byte) ([]leak, error) {
	guess := !slices.ContainsFunc(s.skipped, func(l *config.Allowlist) bool { return l.PathAllowed(path) }) &&
		!bytes.Contains(content[:min(len(content), 8000)], []byte{0})
	var leaks []leak
	seen := make(map[string]bool)
	for depth, text := range layers(content) {
		line := 1 // of the piece's first byte
		for start := 0; ; {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			end := min(start+piece, len(text))
			for _, f := range s.detector.DetectContext(ctx, detect.Fragment{Raw: text[start:end], FilePath: path}) { //nolint:staticcheck // deprecated for v9, but what v8's method takes
				if seen[f.Secret] || f.RuleID == heuristic && (!guess || depth > 0) {
					continue
				}
				seen[f.Secret] = true
				l := leak{rule: f.RuleID, secret: f.Secret}
				if depth == 0 {
					l.line = line + f.StartLine
				}
				leaks = append(leaks, l)
			}
			if end == len(text) || len(leaks) > maxFindings {
				break
			}
			next := end - overlap
			line += strings.Count(text[start:next], "\n")
			start = next
		}
	}
	return leaks, nil
}
