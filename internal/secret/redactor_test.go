package secret_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/dayclaude/dayclaude/internal/secret"
)

const token = `sk-ant-api03-"quoted"/slash+plus<&>\x`

func lowerPercent(s string) string {
	parts := strings.Split(s, "%")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToLower(parts[i][:2]) + parts[i][2:]
	}
	return strings.Join(parts, "%")
}

func TestRedactLinesOfAKey(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN KEY-----\nMIIEowIBAAKCAQEAlongline1\r\nMIIEowIBAAKCAQEAlongline2\nshort\n-----END KEY-----\n"
	r := secret.NewRedactor(secret.New(key))
	got := r.Redact("  | MIIEowIBAAKCAQEAlongline1\n  | MIIEowIBAAKCAQEAlongline2\n  | short\n")
	if want := "  | [redacted]\n  | [redacted]\n  | short\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriterPassesOnAtOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	w := secret.NewRedactor(secret.New("hunter2-hunter2")).Writer(&out)
	for _, step := range []struct{ write, want string }{
		{"a whole line\n", "a whole line\n"},
		{"ends like a secret: hunter2-h", "a whole line\nends like a secret: "},
		{"ello\n", "a whole line\nends like a secret: hunter2-hello\n"},
		{"hunter2", "a whole line\nends like a secret: hunter2-hello\n"},
		{"-hunter2!", "a whole line\nends like a secret: hunter2-hello\n[redacted]!"},
		{"hunt", "a whole line\nends like a secret: hunter2-hello\n[redacted]!"},
	} {
		if n, err := w.Write([]byte(step.write)); n != len(step.write) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", step.write, n, err)
		}
		if out.String() != step.want {
			t.Errorf("after %q: %q, want %q", step.write, out.String(), step.want)
		}
	}
	if err := w.Close(); err != nil || !strings.HasSuffix(out.String(), "!hunt") {
		t.Errorf("after Close: %q, %v", out.String(), err)
	}
}

func TestAddWhileWriting(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := secret.NewRedactor()
	w := r.Writer(&out)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 50 {
			r.Add(secret.New(fmt.Sprintf("secret-number-%d", i)))
		}
	})
	for range 50 {
		fmt.Fprintln(w, "some text")
	}
	wg.Wait()
	fmt.Fprintln(w, "secret-number-7")
	if !strings.HasSuffix(out.String(), "[redacted]\n") {
		t.Errorf("a secret added later is not redacted: %q", out.String())
	}
}

// spellings are the forms in which a Redactor promises to find a secret of
// eight bytes or more, whatever is spelled with it.
var spellings = map[string]func(string) string{
	"plain":               func(s string) string { return s },
	"base64":              func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 raw":          func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64 url":          func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"base64 raw url":      func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"hex":                 func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":                 func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"query":               url.QueryEscape,
	"path":                url.PathEscape,
	"query, lower case":   func(s string) string { return lowerPercent(url.QueryEscape(s)) },
	"path, lower case":    func(s string) string { return lowerPercent(url.PathEscape(s)) },
	"JSON":                func(s string) string { return quoted(s, true) },
	"JSON, HTML as it is": func(s string) string { return quoted(s, false) },
}

// quoted is s as it stands between the quotes of JSON.
func quoted(s string, html bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(html)
	_ = enc.Encode(s) // a string always encodes
	return strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n")
}

// trace is what of a spelling the secret alone decides, when it is spelled
// after some bytes: of base64, the characters that stay the same when each
// other bit is another.
func trace(form, before, s string) string {
	spell := spellings[form]
	if !strings.HasPrefix(form, "base64") {
		return spell(s)
	}
	one := spell(strings.Repeat("\x00", len(before)) + s + "\x00\x00\x00")
	two := spell(strings.Repeat("\xff", len(before)) + s + "\xff\xff\xff")
	var same []byte
	for i := range one {
		if one[i] == two[i] && one[i] != '=' {
			same = append(same, one[i])
		}
	}
	return string(same)
}

// written is what comes out when the parts are written one after another.
func written(t *testing.T, r *secret.Redactor, parts ...string) string {
	t.Helper()
	var out strings.Builder
	w := r.Writer(&out)
	for _, part := range parts {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestWriterAtEveryPoint: in every spelling, at every alignment and wherever
// it is split, a secret is found, and what stands around it stays.
func TestWriterAtEveryPoint(t *testing.T) {
	t.Parallel()
	r := secret.NewRedactor(secret.New(token), secret.New(""))
	if text := "nothing to hide: sk-ant-api03"; r.Redact(text) != text {
		t.Errorf("%q became %q", text, r.Redact(text))
	}
	for form, spell := range spellings {
		for _, around := range []string{"", "u", "u:", "usr", "user:"} {
			text := "lead " + spell(around+token+around) + " trail"
			whole := strings.Replace(text, trace(form, around, token), "[redacted]", 1)
			if got := r.Redact(text); got != whole || whole == text {
				t.Errorf("%s after %q: %q, want %q", form, around, got, whole)
			}
			for i := range text {
				if got := written(t, r, text[:i], text[i:]); got != whole {
					t.Errorf("%s after %q, split at %d: %q, want %q", form, around, i, got, whole)
				}
			}
			if got := written(t, r, strings.Split(text, "")...); got != whole {
				t.Errorf("%s after %q, byte by byte: %q, want %q", form, around, got, whole)
			}
		}
	}
}

// FuzzWriter: however a text is cut into writes, the result is that of the
// whole, holds none of the secrets in any spelling, and where nothing was
// found it is the text itself.
func FuzzWriter(f *testing.F) {
	f.Add("abcabcabcabd", "abcabd", "xabcabcabdy", "", "", "", byte(0), uint16(3), uint16(7))
	f.Add("aaaaaaaa", "aaa", "baaaaaaaaaaaaaaaab", "a", "aa", "a", byte(5), uint16(1), uint16(9))
	f.Add("token-one-token", "token-two", "token-one-token-two", "x", "", "Qui=", byte(1), uint16(12), uint16(13))
	f.Add("-----BEGIN-----\nMIIEowIBAAKCAQEAlong\n", "MIIEowIBAAKCAQEA", "", "{\"a\":\"", "\"}", "", byte(11), uint16(20), uint16(40))
	f.Add("\xff\x00<\u2028>&%2f+/", "%2f+/==", "[redacted]", "\xf0", "\x9f", "[red", byte(3), uint16(2), uint16(90))
	forms := slices.Sorted(maps.Keys(spellings))
	f.Fuzz(func(t *testing.T, one, two, lead, before, after, trail string, form byte, i, j uint16) {
		if len(one)+len(two)+len(lead)+len(before)+len(after)+len(trail) > 2<<10 {
			t.Skip("byte by byte takes the square of the length")
		}
		r := secret.NewRedactor(secret.New(one), secret.New(two))
		name, secrets := forms[int(form)%len(forms)], []string{strings.TrimSpace(one), strings.TrimSpace(two)}
		if strings.HasPrefix(name, "JSON") { // which holds UTF-8 only
			before, after = strings.ToValidUTF8(before, "?"), strings.ToValidUTF8(after, "?")
		}
		text := lead + spellings[name](before+secrets[0]+after) + trail
		whole := r.Redact(text)
		a, b := int(i)%(len(text)+1), int(j)%(len(text)+1)
		a, b = min(a, b), max(a, b)
		if got := written(t, r, text[:a], text[a:b], text[b:]); got != whole {
			t.Fatalf("in parts %q, whole %q", got, whole)
		}
		bytewise := make([]string, len(text))
		for i := range bytewise {
			bytewise[i] = text[i : i+1]
		}
		if got := written(t, r, bytewise...); got != whole {
			t.Fatalf("byte by byte %q, whole %q", got, whole)
		}
		const mask = "[redacted]"
		if strings.Count(whole, mask) == strings.Count(text, mask) && whole != text {
			t.Fatalf("%q became %q", text, whole)
		}
		gone := secrets
		if len(secrets[0]) >= 8 && (utf8.ValidString(secrets[0]) || !strings.HasPrefix(name, "JSON")) {
			gone = append(gone, trace(name, before, secrets[0]))
		}
		for _, s := range gone {
			// A secret that can overlap the mask itself can't be told apart.
			if s != "" && !strings.ContainsAny(s, "[]") && !strings.Contains(mask, s) && strings.Contains(whole, s) {
				t.Fatalf("%q holds %q", whole, s)
			}
		}
	})
}
