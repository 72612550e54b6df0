package secret_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/dayclaude/dayclaude/internal/secret"
)

const token = `sk-ant-api03-"quoted"/slash+plus<&>\x`

func TestRedactForms(t *testing.T) {
	t.Parallel()
	r := secret.NewRedactor(secret.New(token), secret.New(""))
	quoted, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string]string{
		"plain":       token,
		"base64":      base64.StdEncoding.EncodeToString([]byte(token)),
		"base64 +1":   base64.StdEncoding.EncodeToString([]byte("x" + token + "yy")),
		"base64 +2":   base64.RawStdEncoding.EncodeToString([]byte("x:" + token + "\n")),
		"base64 url":  base64.URLEncoding.EncodeToString([]byte(token)),
		"hex":         hex.EncodeToString([]byte(token)),
		"HEX":         strings.ToUpper(hex.EncodeToString([]byte(token))),
		"query":       url.QueryEscape(token),
		"path":        url.PathEscape(token),
		"lower query": lowerPercent(url.QueryEscape(token)),
		"json":        string(quoted),
		"json plain":  strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(quoted)),
	} {
		got := r.Redact("before " + form + " after")
		if !strings.Contains(got, "[redacted]") || strings.Contains(got, form) {
			t.Errorf("%s: %q became %q", name, form, got)
		}
		// What is left of an encoding is at most a character on either side.
		left := strings.TrimSuffix(strings.TrimPrefix(got, "before "), " after")
		if left = strings.Replace(left, "[redacted]", "", 1); len(left) > 8 {
			t.Errorf("%s: %q is left", name, left)
		}
	}
	if text := "nothing to hide: sk-ant-api03"; r.Redact(text) != text {
		t.Errorf("%q became %q", text, r.Redact(text))
	}
}

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

// FuzzWriter: however a text is cut into writes, the result is that of the
// whole, and holds none of the secrets.
func FuzzWriter(f *testing.F) {
	f.Add("abcabcabcabd", "abcabd", "xabcabcabdy", uint16(3), uint16(7))
	f.Add("aaaaaaaa", "aaa", "baaaaaaaaaaaaaaaab", uint16(1), uint16(9))
	f.Add("token-one-token", "token-two", "token-one-token-two", uint16(12), uint16(13))
	f.Fuzz(func(t *testing.T, one, two, text string, i, j uint16) {
		r := secret.NewRedactor(secret.New(one), secret.New(two))
		whole := r.Redact(text)
		a, b := int(i)%(len(text)+1), int(j)%(len(text)+1)
		a, b = min(a, b), max(a, b)
		var out strings.Builder
		w := r.Writer(&out)
		for _, part := range []string{text[:a], text[a:b], text[b:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil || out.String() != whole {
			t.Fatalf("in parts %q, whole %q, %v", out.String(), whole, err)
		}
		for _, s := range []string{one, two} {
			// A secret that can overlap the mask itself can't be told apart.
			if s = strings.TrimSpace(s); s != "" && !strings.ContainsAny(s, "[]") && !strings.Contains("[redacted]", s) && strings.Contains(whole, s) {
				t.Fatalf("%q holds %q", whole, s)
			}
		}
	})
}
