package report

import (
	"regexp"
	"strings"

	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	maxLine = 3000 // bytes of one line; escaping makes at most five times that
	cut     = "\n\n*(The rest is left out here.)*"
)

// Markdown makes words of Claude's, or of anyone, fit to be posted under our
// name: the result notifies nobody, closes and links no issue, loads nothing,
// hides nothing, and has no HTML. Headings, lists, emphasis, tables, code and
// links to http and https stay. It is about most bytes long, at most 15,000
// more.
//
// GitHub reads what comes out as this function wrote it, because it leaves no
// room for another reading: code blocks get fences of its own at the margin,
// code spans end on their line, and whatever could open anything else is
// escaped.
func Markdown(text string, most int) string {
	lines := strings.Split(strings.Trim(untrusted.Text(untrusted.Head(text, maxInput)), "\n"), "\n")
	var b strings.Builder
	for len(lines) > 0 && b.Len() <= most {
		if open := opening.FindStringSubmatch(lines[0]); open != nil {
			n := closing(lines, open[2])
			code := lines[1:n]
			for i := range code {
				code[i] = dedent(code[i], len(open[1]))
			}
			fence(&b, code, open[3], most)
			lines = lines[min(n+1, len(lines)):]
			continue
		}
		n := 1
		for n < len(lines) && !opening.MatchString(lines[n]) {
			n++
		}
		words := untrusted.WithoutComments(strings.Join(lines[:n], "\n"))
		table := delimiter.MatchString(words)
		for line := range strings.SplitSeq(words, "\n") {
			if b.Len() > most {
				break
			}
			prose(&b, line, table)
			b.WriteByte('\n')
		}
		lines = lines[n:]
	}
	out := strings.Trim(b.String(), "\n")
	if len(lines) > 0 || b.Len() > most || len(text) > maxInput {
		out += cut
	}
	return out
}

// opening matches a line that begins a code block: indentation, fence, first
// word after it.
var opening = regexp.MustCompile("^([ \t]*)(`{3,}|~{3,})[ \t]*([^`\\s]*)[^`]*$")

// closing is the number of the line that ends the block begun by lines[0].
func closing(lines []string, fence string) int {
	for i, line := range lines[1:] {
		line = strings.TrimSpace(line)
		if len(line) >= len(fence) && strings.Trim(line, fence[:1]) == "" {
			return i + 1
		}
	}
	return len(lines)
}

func dedent(line string, n int) string {
	for ; n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t'); n-- {
		line = line[1:]
	}
	return line
}

// language is what a fence may say of its code. GitHub draws pictures from
// some, and offers to apply others.
var language = regexp.MustCompile(`^[A-Za-z0-9+#_-]{1,20}$`)

var drawn = map[string]bool{"mermaid": true, "geojson": true, "topojson": true, "stl": true, "math": true, "suggestion": true}

// ours is how a marker of ours begins; nobody else may write one, even as
// code.
var ours = regexp.MustCompile(`(?i)<!--(\s*dayclaude)`)

// fence writes code between fences that nothing in it can end.
func fence(b *strings.Builder, code []string, lang string, most int) {
	longest := 2
	for i := range code {
		code[i] = short(ours.ReplaceAllString(code[i], "<! --$1"))
		for run := range strings.FieldsFuncSeq(code[i], func(r rune) bool { return r != '`' }) {
			longest = max(longest, len(run))
		}
	}
	if !language.MatchString(lang) || drawn[strings.ToLower(lang)] {
		lang = ""
	}
	ticks := strings.Repeat("`", longest+1)
	b.WriteString(ticks + lang + "\n")
	for _, line := range code {
		if b.Len() > most {
			b.WriteString("…\n")
			break
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(ticks + "\n")
}

// short cuts a line that is too long.
func short(line string) string {
	if len(line) <= maxLine {
		return line
	}
	return untrusted.Head(line, maxLine) + "…"
}

// issueURL matches the address of an issue, pull request or discussion: on
// GitHub it is a reference to it.
var issueURL = regexp.MustCompile(`(?i)/(?:issues|pull|pulls|discussions)/\d`)

// delimiter matches what may be the second row of a table, in any container.
var delimiter = regexp.MustCompile(`(?m)^[\s>*+0-9.)|:-]*(?:-[\s>*+0-9.)|:-]*[|:]|[|:][\s>*+0-9.)|:-]*-)[\s>*+0-9.)|:-]*$`)

// prose writes one line that is not in a code block, but may be in a table.
func prose(b *strings.Builder, line string, table bool) {
	p := &scanner{in: short(line), table: table}
	for p.in != "" {
		p.next()
	}
	b.WriteString(p.out.String())
}

// scanner rewrites a line from left to right.
type scanner struct {
	in    string // what is left to read
	table bool
	out   strings.Builder
	last  byte // of out; 0 at the start
}

// emit writes s for the next n bytes of the input.
func (p *scanner) emit(n int, s string) {
	p.in = p.in[n:]
	if s != "" {
		p.out.WriteString(s)
		p.last = s[len(s)-1]
	}
}

// code writes the next n bytes as a code span of their own: there GitHub
// looks for neither names nor references.
func (p *scanner) code(n int) {
	s := "`" + p.in[:n] + "`"
	if p.last == '`' {
		s = " " + s // or the two would be one run
	}
	p.emit(n, s)
}

var (
	mention   = regexp.MustCompile(`^@[A-Za-z0-9][A-Za-z0-9_-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9_-]|/[A-Za-z0-9])?`)
	reference = regexp.MustCompile(`^#[0-9]+`)
	oldStyle  = regexp.MustCompile(`^(?i:gh-)[0-9]+`)
	digit     = regexp.MustCompile(`#([0-9])`)
	address   = regexp.MustCompile("^(?i:https?)://[^\\s<>\"`|\\\\()\\[\\]]*")
	entity    = regexp.MustCompile(`^&(?:lt|gt|amp|quot|nbsp);`)
)

// inURL writes what means something in Markdown as addresses may.
var inURL = strings.NewReplacer("@", "%40", "&", "&amp;", "!", "%21", "$", "%24")

// next rewrites what the input begins with.
func (p *scanner) next() {
	c, follows := p.in[0], byte(0)
	if len(p.in) > 1 {
		follows = p.in[1]
	}
	switch {
	case c == '\\' && (follows == '@' || follows == '#'):
		p.emit(1, "") // escaped or not, GitHub sees a name or a reference
	case c == '\\' && strings.IndexByte("!\"$%&'()*+,-./:;<=>?[\\]^_`{|}~", follows) >= 0 && follows != 0:
		p.emit(2, p.in[:2])
	case c == '`':
		p.span()
	case c == '<':
		p.emit(1, "&lt;")
	case c == '&' && entity.MatchString(p.in):
		p.emit(1, "&")
	case c == '&':
		p.emit(1, "&amp;")
	case c == '!':
		run := p.in[:len(p.in)-len(strings.TrimLeft(p.in, "!"))]
		if strings.HasPrefix(p.in[len(run):], "[") {
			p.emit(len(run), "") // an image becomes a link
			return
		}
		p.emit(len(run), run)
	case c == ']' && follows == '(' && !linkable(p.in[2:]):
		p.emit(2, `]\(`)
	case c == ']' && follows == ':': // a definition for links, or a footnote
		p.emit(2, `]\:`)
	case c == '$', c == '~' && strings.HasPrefix(p.in, "~~~"):
		p.emit(1, `\`+p.in[:1]) // mathematics; a fence
	case c == '#' && reference.MatchString(p.in):
		p.code(len(reference.FindString(p.in)))
	case (c == 'h' || c == 'H') && address.MatchString(p.in):
		url := address.FindString(p.in)
		if issueURL.MatchString(url) {
			p.code(len(url))
			return
		}
		p.emit(len(url), digit.ReplaceAllString(inURL.Replace(url), "%23$1"))
	case c == '@' && !alphanumeric(p.last) && mention.MatchString(p.in):
		p.code(len(mention.FindString(p.in)))
	case (c == 'g' || c == 'G') && !alphanumeric(p.last) && oldStyle.MatchString(p.in):
		p.code(len(oldStyle.FindString(p.in)))
	default:
		p.emit(1, p.in[:1])
	}
}

// linkable reports whether a link's destination, and what follows it, leads
// to the web and not to an issue.
func linkable(s string) bool {
	url := address.FindString(s)
	return url != "" && !issueURL.MatchString(url)
}

// span copies a code span that ends on this line, and escapes the backticks
// of any other. In a table "|" ends the cell, span or not.
func (p *scanner) span() {
	ticks := len(p.in) - len(strings.TrimLeft(p.in, "`"))
	n, run := 0, 0
	for i := ticks; i <= len(p.in); i++ {
		if i < len(p.in) && p.in[i] == '`' {
			run++
			continue
		}
		if run == ticks {
			n = i
			break
		}
		run = 0
	}
	if n == 0 || p.table && strings.Contains(p.in[:n], "|") {
		p.emit(ticks, strings.Repeat("\\`", ticks))
		return
	}
	text := ours.ReplaceAllString(p.in[:n], "<! --$1")
	if p.last == '`' {
		text = " " + text
	}
	p.emit(n, text)
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
