package client

import (
	"strings"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// Bounds of texts, in bytes, as packages api and claude state them.
const (
	maxWord       = 200 // ids, names, kinds, versions
	maxMessage    = 4 << 10
	maxTail       = 8 << 10
	maxSaid       = 8 << 10
	maxSummary    = 500
	maxFinalWords = 64 << 10
	maxConflict   = 400
	maxNote       = 1 << 10
	maxNotes      = 30 // of these
)

// cut makes s valid UTF-8 of at most most bytes.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most])
}

func knownPhase(p api.Phase) bool {
	switch p {
	case api.PhaseClone, api.PhaseSetup, api.PhaseMerge, api.PhaseClaude, api.PhaseCheck, api.PhaseEnded:
		return true
	}
	return false
}

// checkStatus refuses a Status that is not one and cuts its texts.
func checkStatus(s *api.Status) error {
	if !knownPhase(s.Phase) || s.Events < 0 {
		return broken("status in phase %q with %d events", cut(string(s.Phase), maxWord), s.Events)
	}
	s.ID, s.Base = cut(s.ID, maxWord), cut(s.Base, maxWord)
	if f := s.Failure; f != nil {
		if !knownPhase(f.Phase) {
			return broken("failure in phase %q", cut(string(f.Phase), maxWord))
		}
		f.Kind, f.Message = cut(f.Kind, maxWord), cut(f.Message, maxMessage)
	}
	s.Conflicts = s.Conflicts[:min(len(s.Conflicts), api.MaxPaths)]
	s.Notes = s.Notes[:min(len(s.Notes), maxNotes)]
	for i := range s.Conflicts {
		s.Conflicts[i] = cut(s.Conflicts[i], maxConflict)
	}
	for i := range s.Notes {
		s.Notes[i] = cut(s.Notes[i], maxNote)
	}
	if s.Check != nil {
		s.Check.Tail = cut(s.Check.Tail, maxTail)
	}
	if r := s.Claude; r != nil {
		r.Ending = claude.Ending(cut(string(r.Ending), maxWord))
		r.Answer, r.Message = cut(r.Answer, maxFinalWords), cut(r.Message, maxMessage)
		r.API, r.SessionID = cut(r.API, maxWord), cut(r.SessionID, maxWord)
		if r.Turns < 0 || r.InputTokens < 0 || r.OutputTokens < 0 || r.CostUSD < 0 || r.Duration < 0 {
			return broken("a negative figure in Claude's result")
		}
	}
	return nil
}

// checkEvent refuses an Event that is not exactly one of its kinds and cuts
// its texts.
func checkEvent(e *api.Event) error {
	set := 0
	for _, is := range []bool{e.Started, e.Output != "", e.Claude != nil, e.Ended != nil} {
		if is {
			set++
		}
	}
	if set != 1 || !knownPhase(e.Phase) {
		return broken("event %d of phase %q holds %d things", e.Number, cut(string(e.Phase), maxWord), set)
	}
	e.Output = cut(e.Output, maxMessage)
	if c := e.Claude; c != nil {
		c.Kind = claude.EventKind(cut(string(c.Kind), maxWord))
		c.Text, c.Summary = cut(c.Text, maxSaid), cut(c.Summary, maxSummary)
		for _, word := range []*string{&c.Tool, &c.SessionID, &c.Model, &c.Version, &c.Reason} {
			*word = cut(*word, maxWord)
		}
	}
	if e.Ended != nil {
		return checkStatus(e.Ended)
	}
	return nil
}
