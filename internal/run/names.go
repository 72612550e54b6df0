package run

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Labels of a sandbox. A store's clean-up touches only its own.
const (
	LabelStore  = "dayclaude/store"   // the store's id
	LabelThread = "dayclaude/thread"  // the thread's id
	LabelIssue  = "dayclaude/issue"   // <repository id>-<issue>
	LabelMadeBy = "dayclaude/made-by" // for people: the process and its machine
)

// IdleMinutes is the dead man's switch: after so long a sandbox whose host is
// gone stops.
const IdleMinutes = 15

// SandboxName is the sandbox of a thread's generation. Daytona refuses a name
// that is taken, which makes it the lock between hosts that know nothing of
// each other.
func SandboxName(repositoryID int64, issue, generation int) string {
	return fmt.Sprintf("dayclaude-%d-%d-%d", repositoryID, issue, generation)
}

// BranchName is the branch of a thread's generation, made from the issue's
// title as it was when the thread began.
func BranchName(issue, generation int, title string) string {
	name := fmt.Sprintf("dayclaude/issue-%d", issue)
	if s := slug(title); s != "" {
		name += "-" + s
	}
	if generation > 1 {
		name += fmt.Sprintf("-%d", generation)
	}
	return name
}

// slug keeps the title's letters and digits in ASCII, joined by single
// hyphens, at most 40 characters and cut at a word where one ends in time.
func slug(title string) string {
	const most = 40
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(strings.ToLower(title)) {
		switch {
		case r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r): // an accent that NFKD split off
		default:
			gap = true
		}
		if b.Len() > most {
			break
		}
	}
	s := b.String()
	if len(s) > most {
		s = s[:most]
		if i := strings.LastIndexByte(s, '-'); i > most/2 {
			s = s[:i]
		}
	}
	return strings.Trim(s, "-")
}
