package report

import (
	"regexp"
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "a *b* **c**\n\n- d\n- e\n\n# f", "a *b* **c**\n\n- d\n- e\n\n# f"},
		{"mention", "by @mona, @o/team. @a-b_c!", "by `@mona`, `@o/team`. `@a-b_c`!"},
		{"mentions hidden by escapes", `\@mona &#64;mona &commat;mona`, "`@mona` &amp;`#64`;mona &amp;commat;mona"},
		{"mention in emphasis", "_@mona_ **@mona**", "_`@mona_` **`@mona`**"},
		{"mention after a letter from elsewhere", "é@mona", "é`@mona`"},
		{"mail is none", "mona@example.com", "mona@example.com"},
		{"in code it stays", "`@mona #1` and ``a`@b``", "`@mona #1` and ``a`@b``"},
		{"next to code", "`a`@mona`b`", "`a` `@mona` `b`"},
		{"open code", "`a @mona", "\\`a `@mona`"},
		{"code over two lines", "`a\n@mona`", "\\`a\n`@mona`\\`"},
		{"an escaped tick is none", "\\`@mona`", "\\` `@mona`\\`"},
		{"code in a table", "|a|b|\n|-|-|\n|`a|@mona`|c|", "|a|b|\n|-|-|\n|\\`a|`@mona`\\`|c|"},
		{"a bar in code elsewhere", "use `a || b` - or: not", "use `a || b` - or: not"},
		{"references", "Fixes #7, o/r#8, GH-9, closes: #10; \\#11", "Fixes `#7`, o/r`#8`, `GH-9`, closes: `#10`; `#11`"},
		{"reference by address", "Fixes https://github.com/o/r/issues/7.", "Fixes `https://github.com/o/r/issues/7.`"},
		{"reference by link", "Fixes [it](https://github.com/o/r/pull/7)", "Fixes [it]\\(`https://github.com/o/r/pull/7`)"},
		{"heading is none", "# 1 a #b", "# 1 a #b"},
		{"HTML", "<b>x</b> <img src=x> &lt; a < b & c", "&lt;b>x&lt;/b> &lt;img src=x> &lt; a &lt; b &amp; c"},
		{"comment", "a<!-- x\n\ny -->b <!-- open", "ab &lt;!-- open"},
		{"a comment between", "a @<!-- -->mona `<!-- ` -->`", "a `@mona` \\`\\`"},
		{"image", "![a](https://x/y.png) !![b](http://x) \\![c](https://x)", "[a](https://x/y.png) [b](http://x) \\![c](https://x)"},
		{"image by reference", "![a][b]\n\n[b]: https://x/y.png", "[a][b]\n\n[b]\\: https://x/y.png"},
		{"links", "[a](https://x/@y?a=1&b=2#L3) [b](javascript:x) [c](/settings) [d](<https://x>)", "[a](https://x/%40y?a=1&amp;b=2#L3) [b]\\(javascript:x) [c]\\(/settings) [d]\\(&lt;https://x>)"},
		{"a link's end on the next line", "[a](\njavascript:x)", "[a]\\(\njavascript:x)"},
		{"mathematics", "$@mona$ $`x`$", "\\$`@mona`\\$ \\$`x`\\$"},
		{"fence", "a\n```go\n@mona <b> #1\n```\nb", "a\n```go\n@mona <b> #1\n```\nb"},
		{"open fence", "```\n@mona", "```\n@mona\n```"},
		{"fence in a list", "- a\n  ~~~\n  x\n  ~~~\n- b", "- a\n```\nx\n```\n- b"},
		{"fence that holds another", "~~~md\n```\n@a\n```\n~~~\n@b", "````md\n```\n@a\n```\n````\n`@b`"},
		{"shorter end", "````\n```\n````", "````\n```\n````"},
		{"end with words", "```\n``` x\n```", "````\n``` x\n````"},
		{"fence in a quotation", "> ```\n@mona\n> ```", "> \\`\\`\\`\n`@mona`\n> \\`\\`\\`"},
		{"fence made by a comment", "~<!-- -->~~\n@mona", "\\~~~\n`@mona`"},
		{"drawn fence", "```mermaid\nx\n```", "```\nx\n```"},
		{"strange language", "```a\"b\nx\n```", "```\nx\n```"},
		{"our marker as code", "`<!-- dayclaude x -->`\n```\n<!--DayClaude x -->\n```", "\\`\\`\n```\n<! --DayClaude x -->\n```"},
		{"not seen", "a\u202eb\U000E0041\r\nc", "ab\nc"},
		{"empty", "\n\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Markdown(tt.in, maxBody)
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			harmless(t, got)
		})
	}
}

func TestMarkdownIsBounded(t *testing.T) {
	t.Parallel()
	for _, in := range []string{strings.Repeat("&", 1<<17), strings.Repeat("&&&&&&&&&\n", 1<<14), "```\n" + strings.Repeat("x\n", 1<<17), strings.Repeat("` ", 1<<16), "~~~\n" + strings.Repeat("`", 1<<17), strings.Repeat("~~~\n"+strings.Repeat("`", 1<<11)+"\n~~~\n", 1<<6)} {
		got := Markdown(in, 10_000)
		if len(got) > 10_000+15_000 || !strings.Contains(got, "…") && !strings.HasSuffix(got, cut) {
			t.Errorf("%.10q: %d bytes, ends with %q", in, len(got), got[max(len(got)-50, 0):])
		}
		harmless(t, got)
	}
}

// harmless reads Markdown the way GitHub does, as far as it matters here, on
// its own: blocks between fences, then code spans over whole paragraphs, then
// what is left as text.
func harmless(t *testing.T, text string) {
	t.Helper()
	var prose []string
	fence := ""
	for line := range strings.SplitSeq(text, "\n") {
		ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence != "" && len(ticks) >= len(fence) && strings.TrimSpace(line[len(ticks):]) == "":
			fence = ""
		case fence != "":
		case len(ticks) >= 3 && !strings.Contains(line[len(ticks):], "`"):
			fence = ticks
		default:
			prose = append(prose, line)
		}
	}
	if fence != "" {
		t.Errorf("an open fence: %q", text)
	}
	if m := ours.FindString(text); m != "" {
		t.Errorf("a marker of ours, %q, in %q", m, text)
	}
	rest := withoutSpans(strings.Join(prose, "\n"))
	for _, r := range rest {
		if r != '\n' && r != '\t' && r < ' ' {
			t.Errorf("%U in %q", r, text)
		}
	}
	for _, bad := range harms {
		if m := bad.FindString(rest); m != "" {
			t.Errorf("%q is left in %q", m, text)
		}
	}
}

var harms = []*regexp.Regexp{
	regexp.MustCompile(`(?:^|[^A-Za-z0-9])@[A-Za-z0-9]`),
	regexp.MustCompile(`#[0-9]`),
	regexp.MustCompile(`(?i)(?:^|[^A-Za-z0-9])gh-[0-9]`),
	regexp.MustCompile(`<[A-Za-z/!?]`),
	regexp.MustCompile(`&#`),
	regexp.MustCompile(`(?:^|[^\\])!\[`),
	regexp.MustCompile(`(?i)[^\\]\]\((?:[^h]|h[^t]|$)`),
	regexp.MustCompile(`(?i)https?://[\w./-]*/(?:issues|pull)/[0-9]`),
	regexp.MustCompile(`(?m)^\s*~~~`),
	regexp.MustCompile(`[^\\]\]:`),
}

// withoutSpans replaces code spans by a space, as CommonMark finds them.
func withoutSpans(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '\\' && i+1 < len(s) {
			out.WriteByte('\\')
			if next := s[i+1]; next > ' ' && next < 0x7f && !alphanumeric(next) && next != '@' && next != '#' {
				i++ // taken as it stands
			}
			i++
			continue
		}
		if s[i] != '`' {
			out.WriteByte(s[i])
			i++
			continue
		}
		n := len(s[i:]) - len(strings.TrimLeft(s[i:], "`"))
		end := -1
		for j := i + n; j < len(s); {
			if s[j] != '`' {
				j++
				continue
			}
			k := len(s[j:]) - len(strings.TrimLeft(s[j:], "`"))
			if k == n {
				end = j + k
				break
			}
			j += k
		}
		if end < 0 {
			out.WriteString(s[i : i+n])
			i += n
			continue
		}
		out.WriteByte(' ')
		i = end
	}
	return out.String()
}

func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{
		"`a`@b`c` \\`@d` ![x](http://y) <!-- z -->", "~~~\n@a\n```\n#1\n~~~", "|`a|@b`|\n|-|", "[a](https://x/@b#1)\n[c]: d",
		"\\\\`@a` $$x$$ &#64;b", "Fixes https://github.com/o/r/issues/1", "- ```\n@x",
		"~~~\n`````` @a\n~~~\n`@b`", "[a][b]: ![\\](http://x/pull/1)<!--\n-->#2 \\`` `@c", "|-\n`|@a`|``",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { harmless(t, Markdown(s, 2000)) })
}
