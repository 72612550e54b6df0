// Package untrusted makes text from outside fit to be read: what a person
// cannot see, and what would steer a terminal, comes out of it.
//
// Text is for prose of several lines, Line for a name or a title, Quote for a
// name that must stay recognisable even where it is not printable.
package untrusted

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s without invisible characters: control characters other than
// newline and tab, format characters (bidi controls, zero-width characters,
// soft hyphens, tag characters), fillers and stray variation selectors. Line
// ends become "\n"; bytes that are not UTF-8 become U+FFFD.
func Text(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if plain(s) {
		return s
	}
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n").Replace(s)
	var b strings.Builder
	b.Grow(len(s))
	last := ' '
	for _, r := range s {
		if r != '\n' && r != '\t' && Invisible(r) {
			continue
		}
		if variation(r) && !(r >= 0xFE0E && r <= 0xFE0F && unicode.Is(unicode.So, last)) {
			continue // only one that makes a symbol an emoji, or plain, has a use
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}

// WithoutComments leaves out HTML comments, also those that come about when
// others are left out. GitHub shows nothing of one that is not closed; here
// its text stays, to be seen.
func WithoutComments(s string) string {
	const open, shut = "<!--", "-->"
	if !strings.Contains(s, open) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		out = append(out, s[i])
		if s[i] != '-' || !strings.HasSuffix(string(out[max(0, len(out)-len(open)):]), open) {
			continue
		}
		end := strings.Index(s[i+1:], shut)
		if end < 0 {
			return string(out) + s[i+1:]
		}
		out = out[:len(out)-len(open)]
		i += end + len(shut)
	}
	return string(out)
}

// Line returns s as one line of at most most bytes: Text, with every run of
// white space as one space. What is cut ends with "…".
func Line(s string, most int) string {
	const more = "…"
	s = strings.Join(strings.Fields(Text(Head(s, 8*most))), " ")
	if len(s) <= most {
		return s
	}
	return strings.TrimRight(Head(s, most-len(more)), " ") + more
}

// Quote returns s in a printable form of at most most bytes: as it stands
// where every character can be seen, else as a quoted Go string.
func Quote(s string, most int) string {
	cut := Head(s, most)
	if q := strconv.Quote(cut); q != `"`+cut+`"` {
		cut = Head(q, most)
	}
	if len(cut) < len(s) && len(s) > most {
		cut += "…"
	}
	return cut
}

// Head returns the first bytes of s, at most most, cut at a rune's boundary.
func Head(s string, most int) string {
	if len(s) <= most {
		return s
	}
	most = max(most, 0)
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// Invisible reports whether r is a control character, or shows nothing while
// it changes what is read: a format character, a filler or U+034F. The format
// characters of Arabic, Syriac and Kaithi that are written are not.
func Invisible(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Zl, unicode.Zp) &&
		!unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

func variation(r rune) bool { return r >= 0x180B && unicode.Is(unicode.Variation_Selector, r) }

// plain reports whether s is printable ASCII, newlines and tabs: most text is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}
