package secret

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Redactor takes secrets out of text: as they are, and in the forms in which
// programs like to print them: base64 (standard and URL, whatever stands
// before them), hex, URL-encoded, JSON-escaped. Of a secret of several lines,
// such as a PEM key, each long line counts as one too. Encodings of parts of
// a secret, of its encodings, or broken over lines, pass.
//
// A Redactor may be used and added to by several goroutines at once.
type Redactor struct {
	mu       sync.RWMutex
	patterns [][]byte
	longest  int
	first    [256]bool // the bytes that patterns begin with
}

// NewRedactor returns a redactor of these secrets; empty ones are ignored, as
// is white space around one.
func NewRedactor(secrets ...String) *Redactor {
	r := &Redactor{}
	r.Add(secrets...)
	return r
}

// Encodings of shorter secrets, and shorter lines of a secret, would be found
// in text that has nothing to do with them.
const (
	leastEncoded = 8
	leastLine    = 16
)

// Add makes the redactor look for more secrets, also in writers that it
// already gave out.
func (r *Redactor) Add(secrets ...String) {
	r.mu.Lock()
	defer r.mu.Unlock()
	patterns := slices.Clone(r.patterns) // writers may still read the old ones
	for _, s := range secrets {
		value := strings.TrimSpace(s.Reveal())
		patterns = append(patterns, forms(value)...)
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= leastLine {
				patterns = append(patterns, forms(line)...)
			}
		}
	}
	patterns = slices.DeleteFunc(patterns, func(p []byte) bool { return len(p) == 0 })
	slices.SortFunc(patterns, bytes.Compare)
	r.patterns = slices.CompactFunc(patterns, bytes.Equal)
	for _, p := range r.patterns {
		r.longest = max(r.longest, len(p))
		r.first[p[0]] = true
	}
}

// forms are the ways in which a secret may be spelled.
func forms(s string) [][]byte {
	out := [][]byte{[]byte(s)}
	if len(s) < leastEncoded {
		return out
	}
	add := func(form string) { out = append(out, []byte(form)) }
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes of the text that s is encoded with
			text := enc.EncodeToString(append(make([]byte, before), s...))
			// Only the characters that s alone decides.
			add(text[(before*8+5)/6 : (before+len(s))*8/6])
		}
	}
	add(hex.EncodeToString([]byte(s)))
	add(strings.ToUpper(hex.EncodeToString([]byte(s))))
	for _, escaped := range []string{url.QueryEscape(s), url.PathEscape(s)} {
		add(escaped)
		add(lowerPercent(escaped))
	}
	for _, html := range []bool{true, false} {
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		if enc.Encode(s) == nil { // a string always has an encoding
			add(b.String()[1 : b.Len()-2]) // without the quotes and the newline
		}
	}
	return out
}

// lowerPercent spells the hex digits of %XX in lower case.
func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:], bytes.ToLower(b[i:i+3]))
		}
	}
	return string(b)
}

// span is a range of bytes that holds a secret, or several that overlap.
type span struct{ from, to int }

// find returns the spans of secrets in text, in order.
func find(patterns [][]byte, text []byte) []span {
	var spans []span
	for _, p := range patterns {
		for at := 0; ; {
			i := bytes.Index(text[at:], p)
			if i < 0 {
				break
			}
			spans = append(spans, span{at + i, at + i + len(p)})
			at += i + 1
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	merged := spans[:0]
	for _, s := range spans {
		if n := len(merged); n > 0 && s.from < merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// Redact returns s with each secret replaced by "[redacted]".
func (r *Redactor) Redact(s string) string {
	var b strings.Builder
	w := r.Writer(&b)
	_, _ = io.WriteString(w, s) // a Builder doesn't fail
	w.Close()
	return b.String()
}

// Writer returns a writer that passes what is written to it on to w, without
// the secrets, also where one is split across writes. It passes on at once
// all but an end that a secret may begin with: so a line is complete as soon
// as it is written, unless its end looks like a secret's beginning. It keeps
// less than the longest form of a secret. Close passes on the rest; it does
// not close w.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser { return &redacting{redactor: r, w: w} }

type redacting struct {
	redactor *Redactor
	w        io.Writer

	mu     sync.Mutex
	kept   []byte
	masked int // bytes of kept for which the mask was already written
}

// Write passes p on. It reports p as written even where its end is kept.
func (w *redacting) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.pass(append(w.kept, p...), false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close passes on what was kept.
func (w *redacting) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pass(w.kept, true)
}

func (w *redacting) pass(text []byte, last bool) error {
	r := w.redactor
	r.mu.RLock()
	patterns, longest, first := r.patterns, r.longest, r.first
	r.mu.RUnlock()

	end := len(text)
	if !last {
		end = beginning(patterns, longest, &first, text)
	}
	var out []byte
	at := w.masked // everything before is written or masked
	w.masked = 0
	for _, s := range find(patterns, text) {
		if s.from >= end {
			break
		}
		if s.from >= at {
			out = append(append(out, text[at:s.from]...), mask...)
		}
		at = max(at, s.to)
	}
	if at < end {
		out = append(out, text[at:end]...)
	} else {
		w.masked = at - end
	}
	w.kept = append(w.kept[:0], text[end:]...)
	if len(out) == 0 {
		return nil
	}
	_, err := w.w.Write(out)
	return err
}

// beginning returns where the longest end of text begins that a pattern
// begins with, but is longer than; len(text) if there is none.
func beginning(patterns [][]byte, longest int, first *[256]bool, text []byte) int {
	for i := max(0, len(text)-longest+1); i < len(text); i++ {
		if !first[text[i]] {
			continue
		}
		for _, p := range patterns {
			if len(p) > len(text)-i && bytes.HasPrefix(p, text[i:]) {
				return i
			}
		}
	}
	return len(text)
}
