package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	maxTitle = 100     // bytes; Claude is asked for 72 characters
	maxBody  = 40_000  // of Claude's words; GitHub takes 65,536 characters
	maxInput = 1 << 18 // of an answer, before anything is done to it
)

// ParseAnswer makes the title and body of a pull request from Claude's final
// answer. The title is plain text, "" if the answer has none that will do;
// then the issue's own has to. The body is safe to post: see Markdown.
func ParseAnswer(answer string) (title, body string) {
	text := prosaic(answer)
	first, rest, _ := strings.Cut(text, "\n")
	for range 3 { // headings that say nothing
		words := heading(first)
		if words != "" && !empty.MatchString(words) {
			break
		}
		text = strings.TrimSpace(rest)
		first, rest, _ = strings.Cut(text, "\n")
	}
	words := heading(first)
	if opening.MatchString(first) || list.MatchString(first) {
		return "", Markdown(text, maxBody)
	}
	if len(words) <= maxTitle {
		return Title(words, maxTitle), Markdown(rest, maxBody)
	}
	// A paragraph: its first sentence may do, and it stays in the body.
	if sentence, _, ok := strings.Cut(words, ". "); ok && len(sentence) <= maxTitle {
		title = Title(sentence, maxTitle)
	}
	return title, Markdown(text, maxBody)
}

var (
	label = regexp.MustCompile(`(?i)^(?:pull request title|pr title|commit message|title|summary)\s*[*_]*\s*:\s*`)
	list  = regexp.MustCompile(`^\s*(?:[-*+]|[0-9]+[.)])\s`)
	empty = regexp.MustCompile(`(?i)^(?:the )?(?:pull request|pr|final)?\s*(?:title|summary|overview|description|changes?|result|answer|report|done|pull request|pr|final)?[.:!]*$`)
)

// heading returns the words of a first line, without the marks around them.
func heading(line string) string {
	const marks = "#*_> \t"
	line = strings.Trim(line, marks)
	return strings.Trim(label.ReplaceAllString(line, ""), marks)
}

// prosaic returns an answer as text: trimmed, and out of the JSON that models
// fall into at times.
func prosaic(answer string) string {
	text := strings.TrimSpace(untrusted.Text(untrusted.Head(answer, maxInput)))
	inner := text
	if lines := strings.Split(text, "\n"); len(lines) > 2 && opening.MatchString(lines[0]) && closing(lines, "```") == len(lines)-1 {
		inner = strings.Join(lines[1:len(lines)-1], "\n")
	}
	var fields map[string]any
	if json.Unmarshal([]byte(inner), &fields) != nil || len(fields) == 0 {
		return text
	}
	var parts []string
	for _, name := range []string{"title", "summary", "result", "answer", "message", "description", "body", "text"} {
		if s, ok := fields[name].(string); ok && strings.TrimSpace(s) != "" {
			parts = append(parts, strings.TrimSpace(s))
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, "\n\n")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name].(type) {
		case string, float64, bool:
			parts = append(parts, fmt.Sprintf("- %s: %v", name, v))
		}
	}
	if len(parts) == 0 {
		return text
	}
	return strings.Join(parts, "\n")
}

var (
	named      = regexp.MustCompile(`(^|[^A-Za-z0-9@])@+([A-Za-z0-9])`)
	numbered   = regexp.MustCompile(`#([0-9])`)
	numberedGH = regexp.MustCompile(`(?i)\bgh-([0-9])`)
	scheme     = regexp.MustCompile(`(?i)https?://`)
)

// Title makes one line of plain text of at most most bytes, for the title of
// a pull request or the subject of a commit: no names that notify, and no
// references, which would close what they name when the commit is merged.
func Title(text string, most int) string {
	text = untrusted.Line(text, 4*most)
	for before := ""; before != text; { // "@#1" is a name once its "#" is gone
		before = text
		text = named.ReplaceAllString(text, "$1$2")
		text = numbered.ReplaceAllString(text, "no. $1")
		text = numberedGH.ReplaceAllString(text, "GH $1")
		text = scheme.ReplaceAllString(text, " ")
	}
	return untrusted.Line(strings.TrimRight(text, " .:"), most)
}
