// Package patch writes a changeset as a patch in git's format, made on the
// host from old and new contents, so that nothing of the sandbox's git is
// believed. `git apply` takes it, binary files, links and modes included.
package patch

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // git names blobs by it
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff/lcs"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// Old returns what stands at the base under a path: its content and mode, and
// whether anything does.
type Old func(path string) (content []byte, mode string, ok bool)

// Format returns the changeset as a patch against the base. Deletions come
// first, so that a file may take a directory's place; a change of type is a
// deletion and a creation, as git writes it.
func Format(set *changeset.Set, old Old) string {
	var gone, rest strings.Builder
	for i := range set.Changes {
		c := &set.Changes[i]
		path := c.Path
		if c.RawPath != nil {
			path = string(c.RawPath)
		}
		before, after := side{}, side{mode: untrusted.Quote(c.Mode, 20), content: c.Content}
		if content, mode, ok := old(c.Path); ok {
			before = side{mode: mode, content: content}
		}
		switch {
		case c.Deleted:
			section(&gone, path, before, side{})
		case before.mode != "" && before.link() != after.link():
			section(&gone, path, before, side{})
			section(&rest, path, side{}, after)
		default:
			section(&rest, path, before, after)
		}
	}
	return gone.String() + rest.String()
}

// Printable returns a patch, or any text, as a terminal may show it: control
// characters other than newline and tab, and characters that are not seen,
// are written out. It is for reading; git would not take it.
func Printable(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == '\r' && strings.HasPrefix(text[i:], "\r\n"): // the end of a line
		case r == '\uFFFD' && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !unprintable(r) || r == '\uFFFD':
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool {
	return r == '\uFFFD' || r != '\n' && r != '\t' && untrusted.Invisible(r)
}

// side is a path before or after; without a mode there is nothing.
type side struct {
	mode    string
	content []byte
}

func (s side) link() bool { return s.mode == changeset.ModeSymlink }

func (s side) binary() bool {
	c := changeset.Change{Content: s.content}
	return c.Binary()
}

// blob is git's name of the content.
func (s side) blob() string {
	if s.mode == "" {
		return strings.Repeat("0", 2*sha1.Size)
	}
	h := sha1.New() //nolint:gosec // see above
	fmt.Fprintf(h, "blob %d\x00", len(s.content))
	h.Write(s.content)
	return hex.EncodeToString(h.Sum(nil))
}

// section writes what happens to one path.
func section(b *strings.Builder, path string, before, after side) {
	same := bytes.Equal(before.content, after.content)
	if before.mode == after.mode && same {
		return
	}
	from, to := quote("a/"+path), quote("b/"+path)
	fmt.Fprintf(b, "diff --git %s %s\n", from, to)
	mode := ""
	switch {
	case before.mode == "":
		fmt.Fprintf(b, "new file mode %s\n", after.mode)
		from = "/dev/null"
	case after.mode == "":
		fmt.Fprintf(b, "deleted file mode %s\n", before.mode)
		to = "/dev/null"
	case before.mode != after.mode:
		fmt.Fprintf(b, "old mode %s\nnew mode %s\n", before.mode, after.mode)
	default:
		mode = " " + after.mode
	}
	if same && before.mode != "" && after.mode != "" {
		return
	}
	fmt.Fprintf(b, "index %s..%s%s\n", before.blob(), after.blob(), mode)
	switch {
	case same: // an empty file comes or goes
	case before.binary() || after.binary():
		b.WriteString("GIT binary patch\n")
		literal(b, after.content)
		literal(b, before.content)
	default:
		fmt.Fprintf(b, "--- %s\n+++ %s\n", tabbed(from), tabbed(to))
		hunks(b, lines(before.content), lines(after.content))
	}
}

// tabbed ends a name that has a space with a tab, as git does, so that what
// follows cannot be taken for a time stamp.
func tabbed(name string) string {
	if strings.Contains(name, " ") {
		return name + "\t"
	}
	return name
}

// lines splits content after each newline; the last may lack one.
func lines(content []byte) []string {
	all := strings.SplitAfter(string(content), "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

const around = 3 // unchanged lines around a change

// hunks writes the differences, those that lie close together in one hunk.
// The rest of go-udiff is not used: it counts lines anew for every change.
func hunks(b *strings.Builder, before, after []string) {
	diffs := lcs.DiffLines(before, after)
	for len(diffs) > 0 {
		n := 1
		for n < len(diffs) && diffs[n].Start-diffs[n-1].End <= 2*around {
			n++
		}
		hunk(b, before, after, diffs[:n])
		diffs = diffs[n:]
	}
}

func hunk(b *strings.Builder, before, after []string, diffs []lcs.Diff) {
	first, last := diffs[0], diffs[len(diffs)-1]
	lead := min(around, first.Start)
	trail := min(around, len(before)-last.End)
	fmt.Fprintf(b, "@@ -%s +%s @@\n",
		span(first.Start-lead, last.End+trail), span(first.ReplStart-lead, last.ReplEnd+trail))
	at := first.Start - lead
	for _, d := range diffs {
		write(b, ' ', before[at:d.Start])
		write(b, '-', before[d.Start:d.End])
		write(b, '+', after[d.ReplStart:d.ReplEnd])
		at = d.End
	}
	write(b, ' ', before[at:at+trail])
}

// span is a hunk's range as git writes it: an empty one names the line before.
func span(start, end int) string {
	switch end - start {
	case 0:
		return fmt.Sprintf("%d,0", start)
	case 1:
		return fmt.Sprint(start + 1)
	}
	return fmt.Sprintf("%d,%d", start+1, end-start)
}

func write(b *strings.Builder, mark byte, lines []string) {
	for _, line := range lines {
		b.WriteByte(mark)
		b.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

// quote writes a name as git does with core.quotePath: names with control
// characters, quotes, backslashes or bytes beyond ASCII go between quotes.
func quote(name string) string {
	var b strings.Builder
	plain := true
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= 7 && c <= 13:
			b.WriteByte('\\')
			b.WriteByte("abtnvfr"[c-7])
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
			continue
		}
		plain = false
	}
	if plain {
		return name
	}
	return `"` + b.String() + `"`
}

// literal writes content as git's binary patches hold it whole: deflated, in
// base85, at most 52 bytes a line, each line led by its length as a letter.
func literal(b *strings.Builder, content []byte) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
	fmt.Fprintf(b, "literal %d\n", len(content))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(content) // a buffer takes everything
	_ = z.Close()
	for packed.Len() > 0 {
		line := packed.Next(52)
		if n := len(line); n <= 26 {
			b.WriteByte(byte('A' + n - 1))
		} else {
			b.WriteByte(byte('a' + n - 27))
		}
		for len(line) > 0 {
			var word [4]byte
			line = line[copy(word[:], line):]
			v := uint32(word[0])<<24 | uint32(word[1])<<16 | uint32(word[2])<<8 | uint32(word[3])
			var digits [5]byte
			for i := range digits {
				digits[4-i] = alphabet[v%85]
				v /= 85
			}
			b.Write(digits[:])
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}
