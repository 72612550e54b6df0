package report

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 40)
	for _, tt := range []struct{ name, in, title, body string }{
		{"plain", "Round half up\n\nIt was floats.\n", "Round half up", "It was floats."},
		{"only a title", "Round half up.", "Round half up", ""},
		{"heading", "# Round half up\n\nx", "Round half up", "x"},
		{"bold", "**Round half up**\n\nx", "Round half up", "x"},
		{"label", "**Title:** Round half up\n\nx", "Round half up", "x"},
		{"label in bold", "**PR title**: Round half up\nx", "Round half up", "x"},
		{"heading that says nothing", "## Summary\n\nRound half up\n\nx", "Round half up", "x"},
		{"two of them", "# Pull request\n\n**Title:**\n\nRound half up\n\nx", "Round half up", "x"},
		{"rule", "---\n\nRound half up\n\nx", "---", "Round half up\n\nx"},
		{"a paragraph", "I fixed it. " + long + "\n\nx", "I fixed it", "I fixed it. " + long + "\n\nx"},
		{"a long paragraph", long + "\n\nx", "", long + "\n\nx"},
		{"empty", " \n\u200b\n", "", ""},
		{"only a heading", "# Summary", "", ""},
		{"code first", "```go\nx\n```\nDone", "", "```go\nx\n```\nDone"},
		{"JSON", `{"title":"Round half up","body":"It was floats.","ok":true}`, "Round half up", "It was floats."},
		{"JSON in a fence", "```json\n{\"summary\": \"Round half up\\n\\nx\"}\n```", "Round half up", "x"},
		{"JSON without words of ours", `{"turns":3,"status":"success"}`, "", "- status: success\n- turns: 3"},
		{"JSON of nothing", `{"a":[1]}`, `{"a":[1]}`, ""},
		{"mention and references", "Fix #7 for @mona, see https://github.com/o/r/issues/1\n\nx", "Fix no. 7 for mona, see github.com/o/r/issues/1", "x"},
		{"CRLF", "Round\r\n\r\nx\r\ny", "Round", "x\ny"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			title, body := ParseAnswer(tt.in)
			if title != tt.title || body != tt.body {
				t.Errorf("got %q, %q\nwant %q, %q", title, body, tt.title, tt.body)
			}
		})
	}
}

func TestTitle(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"@@a @b-@c x@d":             "a b-c x@d",
		"hthttp://tps://x/issues/1": "ht tps://x/issues/1",
		"GH-7 and gh-8":             "GH 7 and GH 8",
		"a @#1 b #@2 gh-@3":         "a no. 1 b no. 2 GH 3",
		"a\u202eb\nc":               "ab c",
	} {
		if got := Title(in, 100); got != want {
			t.Errorf("Title(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add("# Summary\n\n**Title:** x @y\n\n```\n#1")
	f.Add(`{"title":"a","body":"@b"}`)
	f.Add(" summary @#0 #@1 gh-@2")
	f.Fuzz(func(t *testing.T, s string) {
		title, body := ParseAnswer(s)
		if len(title) > maxTitle || strings.ContainsAny(title, "\n\t") || named.MatchString(title) || numbered.MatchString(title) {
			t.Errorf("ParseAnswer(%q): title %q", s, title)
		}
		if !utf8.ValidString(title + body) {
			t.Errorf("ParseAnswer(%q) is not UTF-8", s)
		}
		harmless(t, body)
	})
}
