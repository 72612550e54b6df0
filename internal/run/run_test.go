package run

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParseRef(t *testing.T) {
	for in, want := range map[string]string{
		"octo/shop#42":                                          "octo/shop#42",
		" octo/shop#42\n":                                       "octo/shop#42",
		"Octo-Org/my.repo_x#1":                                  "Octo-Org/my.repo_x#1",
		"https://github.com/octo/shop/issues/42":                "octo/shop#42",
		"http://ghe.example:8443/octo/shop/issues/42":           "octo/shop#42",
		"github.com/octo/shop/issues/42":                        "octo/shop#42",
		"https://github.com/octo/shop/issues/42/":               "octo/shop#42",
		"https://github.com/octo/shop/issues/42#issuecomment-7": "octo/shop#42",
		"https://github.com/octo/shop/issues/42?q=a%20b":        "octo/shop#42",

		"":                                     "",
		"42":                                   "",
		"#42":                                  "",
		"shop#42":                              "",
		"octo/shop":                            "",
		"octo/shop#":                           "",
		"octo/shop#0":                          "",
		"octo/shop#-1":                         "",
		"octo/shop#4x":                         "",
		"octo/shop#99999999999999999999":       "",
		"octo/../etc#1":                        "",
		"octo/..#1":                            "",
		"octo/sh op#1":                         "",
		"-octo/shop#1":                         "",
		"octo/shop/issues/42":                  "",
		"https://github.com/octo/shop":         "",
		"https://github.com/octo/shop/pull/42": "",
		"https://github.com/octo/shop/issues/": "",
		"https://github.com/octo/shop/issues/%2e": "",
	} {
		got, err := ParseRef(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("ParseRef(%q) = %s, want an error", in, got)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("ParseRef(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	if _, err := ParseRef("https://github.com/octo/shop/pull/42"); err == nil || !strings.Contains(err.Error(), "pull request") {
		t.Errorf("a pull request's URL: %v", err)
	}
}

func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"octo/shop#42", "https://github.com/octo/shop/issues/42", "a/b#1#2", "://", "%zz/issues/1", "ghe.example:8443/a/b/issues/7?x#y", " a/..#1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		ref, err := ParseRef(in)
		if err != nil {
			return
		}
		if again, err := ParseRef(ref.String()); err != nil || again != ref {
			t.Errorf("ParseRef(%q) = %s, which reads back as %s, %v", in, ref, again, err)
		}
		// The name goes into paths of the API as it is.
		if name := ref.FullName(); url.PathEscape(ref.Owner)+"/"+url.PathEscape(ref.Repo) != name || path.Clean(name) != name || ref.Number < 1 {
			t.Errorf("ParseRef(%q) lets %s through", in, ref)
		}
	})
}

func TestBranchName(t *testing.T) {
	for title, want := range map[string]string{
		"No bulk discount":             "dayclaude/issue-7-no-bulk-discount",
		"Größe & Ärger: 100% über!":    "dayclaude/issue-7-gro-e-arger-100-uber",
		"日本語":                          "dayclaude/issue-7",
		"":                             "dayclaude/issue-7",
		"$(rm -rf /) `x` \"q\"\n..":    "dayclaude/issue-7-rm-rf-x-q",
		"a..b~c^d:e?f*g[h\\i@{j}.lock": "dayclaude/issue-7-a-b-c-d-e-f-g-h-i-j-lock",
		strings.Repeat("word ", 30):    "dayclaude/issue-7-word-word-word-word-word-word-word-word",
		strings.Repeat("x", 300):       "dayclaude/issue-7-" + strings.Repeat("x", 40),
	} {
		if got := BranchName(7, 1, title); got != want {
			t.Errorf("BranchName(%q) = %s, want %s", title, got, want)
		}
	}
	if got := BranchName(7, 3, "t"); got != "dayclaude/issue-7-t-3" {
		t.Errorf("generation 3: %s", got)
	}
}

func FuzzBranchName(f *testing.F) {
	f.Add("A title")
	f.Add("--\u202e..")
	ok := regexp.MustCompile(`^dayclaude/issue-7(-[a-z0-9]+)*$`)
	f.Fuzz(func(t *testing.T, title string) {
		if name := BranchName(7, 1, title); !ok.MatchString(name) || len(name) > 70 {
			t.Errorf("BranchName(%q) = %q", title, name)
		}
	})
}

func TestTableOfTransitions(t *testing.T) {
	reached := map[State]bool{Queued: true}
	for from, next := range transitions {
		for _, to := range next {
			reached[to] = true
			if !to.Known() {
				t.Errorf("%s leads to %s, which the table doesn't know", from, to)
			}
		}
	}
	for _, s := range Active {
		if s.Final() || !reached[s] {
			t.Errorf("%s: final %v, reached %v", s, s.Final(), reached[s])
		}
		if s != Reporting && s != Settling && !s.CanBecome(Reporting) {
			t.Errorf("%s has no way out through Reporting", s)
		}
	}
	for i, s := range Active[:len(Active)-1] {
		if !s.CanBecome(Active[i+1]) {
			t.Errorf("a run that goes well can't pass from %s to %s", s, Active[i+1])
		}
	}
	for _, s := range []State{Done, Unchanged, Failed, Limited, Refused, NotAdmitted, Cancelled} {
		if !s.Final() || !s.Known() || !reached[s] {
			t.Errorf("%s: final %v, known %v, reached %v", s, s.Final(), s.Known(), reached[s])
		}
	}
	if State("nonsense").Known() || Parked.Final() {
		t.Error("an unknown state is known, or Parked final")
	}
}

func TestNetwork(t *testing.T) {
	if block, domains := DefaultNetwork(true).Allowed(); block || len(domains) == 0 || len(domains) > MaxDomains {
		t.Errorf("a private repository by default: block %v, %d domains", block, len(domains))
	}
	if block, domains := DefaultNetwork(false).Allowed(); block || domains != nil {
		t.Errorf("a public repository by default: block %v, %v", block, domains)
	}
	n, err := ParseNetwork("A.Example.com", "*.b.org")
	if err != nil || n.String() != "a.example.com, *.b.org" {
		t.Errorf("domains: %v, %v", n, err)
	}
	for _, bad := range [][]string{{}, {"wide"}, {"open", "none"}, {"http://a.com"}, {"a.com/x"}, {"*"}, {"*.*.com"}, {"a.com,b.com"}, {"1.2.3.4"}, {"localhost"}} {
		if n, err := ParseNetwork(bad...); err == nil {
			t.Errorf("ParseNetwork(%q) = %v", bad, n)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := NewID("r"), NewID("r")
	if ok := regexp.MustCompile(`^r_[0-9a-hjkmnp-tv-z]{10}$`); !ok.MatchString(a) || a == b {
		t.Errorf("ids %s and %s", a, b)
	}
}

func TestReservationBy(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	r := Reservation{USD: 2, StartUSD: 0.5, USDPerSecond: 0.1, Since: began}
	for after, want := range map[time.Duration]float64{-time.Hour: 0.5, 0: 0.5, 10 * time.Second: 1.5, time.Minute: 2, time.Hour: 2} {
		if got := r.By(began.Add(after)); got != want {
			t.Errorf("after %s: $%f, want $%f", after, got, want)
		}
	}
}
