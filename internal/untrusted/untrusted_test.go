package untrusted

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "a\n\tb", "a\n\tb"},
		{"line ends", "a\r\nb\rc\u2028d\u2029e\u0085f", "a\nb\nc\nd\ne\nf"},
		{"terminal", "a\x1b[31mb\x07\x00\x7f\u009bc", "a[31mbc"},
		{"bidi", "a\u202eb\u2066c\u200fd\u061c", "abcd"},
		{"zero width", "a\u200bb\u200cc\u200dd\ufeffe", "abcde"},
		{"word joiners and invisible operators", "a\u2060b\u2061\u2062\u2063\u2064c", "abc"},
		{"tags", "a\U000E0001\U000E0041\U000E007Fb", "ab"},
		{"soft hyphen, grapheme joiner, fillers", "a\u00adb\u034fc\u3164\u115f\u1160\uffa0d", "abcd"},
		{"hidden in variation selectors", "a\ufe01\U000E0101\U000E01EFb\ufe0f", "ab"},
		{"an emoji keeps its own", "\u2764\ufe0f\ufe0f!", "\u2764\ufe0f!"},
		{"Mongolian selectors", "a\u180bb", "ab"},
		{"not UTF-8", "a\xff\xfeb", "a\ufffdb"},
		{"other scripts stay", "日本語 é e\u0301 \u0600١ ß", "日本語 é e\u0301 \u0600١ ß"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Text(tt.in); got != tt.want {
				t.Errorf("Text(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{" a\n\tb \r\n c ", 20, "a b c"},
		{"ééééé", 7, "éé…"},
		{"abc def", 7, "abc def"},
		{"abc defg", 7, "abc…"},
		{"", 5, ""},
	} {
		if got := Line(tt.in, tt.most); got != tt.want {
			t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"src/naïve 日本.go", 40, "src/naïve 日本.go"},
		{"a\x1b[2Jb", 40, `"a\x1b[2Jb"`},
		{"a\u202eb", 40, `"a\u202eb"`},
		{`say "hi"`, 40, `"say \"hi\""`},
		{strings.Repeat("x", 50), 4, "xxxx…"},
	} {
		if got := Quote(tt.in, tt.most); got != tt.want {
			t.Errorf("Quote(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\u202eb\r\n\U000E0041\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		if !utf8.ValidString(got) {
			t.Errorf("Text(%q) is not UTF-8", s)
		}
		for _, r := range got {
			if r != '\n' && r != '\t' && Invisible(r) {
				t.Errorf("Text(%q) keeps %U", s, r)
			}
		}
		if again := Text(got); again != got {
			t.Errorf("Text(%q) is %q at first, then %q", s, got, again)
		}
		if l := Line(s, 10); len(l) > 10 || strings.ContainsAny(l, "\n\t") {
			t.Errorf("Line(%q, 10) = %q", s, l)
		}
	})
}
