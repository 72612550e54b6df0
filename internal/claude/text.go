package claude

import (
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what leaves this package, in bytes.
const (
	maxAnswer  = 64 << 10
	maxSaid    = 8 << 10
	maxMessage = 4 << 10
	maxSummary = 500
	maxWord    = 100 // names, ids, versions
)

// escapes are terminal sequences: programs colour what they print.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-9:;<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))`)

// clip removes terminal sequences and control characters other than newline
// and tab, and cuts at a rune boundary within most bytes.
func clip(s string, most int) string {
	if len(s) > 4*most {
		s = s[:4*most] // the rest could not matter, and regexps cost
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, escapes.ReplaceAllString(s, ""))
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	const more = "…"
	end := most - len(more)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}

// firstLine is the first line of s that says anything, as a summary.
func firstLine(s string) string {
	for line := range strings.Lines(clip(s, 8*maxSummary)) {
		if line = strings.TrimSpace(line); line != "" {
			return clip(strings.ReplaceAll(line, "\t", " "), maxSummary)
		}
	}
	return ""
}

// relative is path as seen from dir, if it lies below it.
func relative(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		path = rel
	}
	return firstLine(path)
}
