package gate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func file(path string) changeset.Change {
	return changeset.Change{Path: path, Mode: changeset.ModeFile, Content: []byte("x\n")}
}

func link(path, target string) changeset.Change {
	return changeset.Change{Path: path, Mode: changeset.ModeSymlink, Content: []byte(target)}
}

func gone(path string) changeset.Change { return changeset.Change{Path: path, Deleted: true} }

// rules runs Check and returns the rules of its findings, each once, in order.
func rules(t *testing.T, p Policy, base Base, changes ...changeset.Change) string {
	t.Helper()
	findings, err := Check(t.Context(), p, base, &changeset.Set{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range findings {
		if f.Reason == "" || strings.ContainsAny(f.String(), "\n\x00\x1b\u202e") || len(f.Path) > 210 {
			t.Errorf("unprintable finding %+q", f)
		}
		if len(got) == 0 || got[len(got)-1] != f.Rule {
			got = append(got, f.Rule)
		}
	}
	return strings.Join(got, " ")
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"a":                             "",
		"src/naïve 日本.go":               "",
		"a b/(c) [d] 'e' \"f\".txt":     "",
		"...":                           RulePortable,
		"..a":                           "",
		".gitignore":                    "",
		".github/ISSUE_TEMPLATE/bug.md": "",
		"git":                           "",
		"a.git":                         "",
		"":                              RulePath,
		"/etc/passwd":                   RulePath,
		"../x":                          RulePath,
		"a/../b":                        RulePath,
		"a/./b":                         RulePath,
		"./a":                           RulePath,
		"a//b":                          RulePath,
		"a/":                            RulePath,
		"a\\b":                          RulePath,
		"a\x00b":                        RulePath,
		"a\nb":                          RulePath,
		"a\x1b[2J":                      RulePath,
		"a\u0085b":                      RulePath,
		"a\xffb":                        RulePath,
		strings.Repeat("a", 256):        RulePath,
		strings.Repeat("a/", 512) + "b": RulePath,
		".git/config":                   RuleDotGit,
		"sub/.git/hooks/post-checkout":  RuleDotGit,
		".git":                          RuleDotGit,
		".GIT/config":                   RuleDotGit,
		".Git":                          RuleDotGit,
		"git~1/config":                  RuleDotGit,
		"GIT~1":                         RuleDotGit,
		".g\u200cit/config":             RuleDotGit,
		".gi\u200dt":                    RuleDotGit,
		"\ufeff.git/x":                  RuleDotGit,
		".\u206agit":                    RuleDotGit,
		".git./config":                  RuleDotGit,
		".git /config":                  RuleDotGit,
		".git . ./x":                    RuleDotGit,
		".git::$INDEX_ALLOCATION/x":     RuleDotGit,
		".git::$index_allocation":       RuleDotGit,
		".git.:x":                       RuleDotGit,
		".gitmodules":                   RuleSubmodule,
		".GitModules":                   RuleSubmodule,
		".gitmodules ::$DATA":           RulePortable + " " + RuleSubmodule,
		"gitmod~1":                      RuleSubmodule,
		"GI7EBA~1":                      RuleSubmodule,
		"gi7eb~23":                      RuleSubmodule,
		".gitmod\u200cules":             RuleSubmodule,
		"a/b.":                          RulePortable,
		"a /b":                          RulePortable,
		"aux":                           RulePortable,
		"src/NUL.txt":                   RulePortable,
		"com1.tar.gz":                   RulePortable,
		"con .txt":                      RulePortable,
		"a:b":                           RulePortable,
		"auxiliary":                     "",
		"invoice\u202etxt.exe":          RulePortable,
		"emoji👩\u200d💻.md":              "",
		".github/workflows/ci.yml":      RuleWorkflow,
		".GitHub/Workflows/ci.yml":      RuleWorkflow,
		".github/workflows":             RuleWorkflow,
		".github/actions/x/action.yml":  RuleWorkflow,
		".github/workflowsx":            "",
		".github":                       RuleWorkflow,
		".github/dayclaude.yml":         RuleSettings,
		".github/Dayclaude.yaml":        RuleSettings,
	} {
		if got := rules(t, DefaultPolicy(), Base{}, file(path)); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestPathsThatStood(t *testing.T) {
	t.Parallel()
	base := Base{Modes: map[string]string{"aux.c": "100644", "a:b/c": "100644"}}
	if got := rules(t, DefaultPolicy(), base, file("aux.c"), file("a:b/d"), gone("a:b/c")); got != "" {
		t.Errorf("what stood at the base is refused: %s", got)
	}
	if got := rules(t, DefaultPolicy(), base, file("prn.c")); got != RulePortable {
		t.Errorf("a new name: %q", got)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	workflow := file(".github/workflows/ci.yml")
	for _, tt := range []struct {
		name   string
		policy Policy
		change changeset.Change
		want   string
	}{
		{"workflow allowed", Policy{AllowWorkflows: true}, workflow, ""},
		{"workflow deleted", Policy{}, gone(workflow.Path), RuleWorkflow},
		{"settings allowed", Policy{AllowSettings: true}, file(".github/dayclaude.yml"), ""},
		{"allowed", Policy{Allow: []string{"src/**"}}, file("src/a/b.go"), ""},
		{"not allowed", Policy{Allow: []string{"src/**"}}, file("README.md"), RulePolicy},
		{"denied", Policy{Deny: []string{"**/*.pem"}}, file("a/b/c.pem"), RulePolicy},
		{"denied wins", Policy{Allow: []string{"**"}, Deny: []string{"src/gen"}}, file("src/gen/a/b.go"), RulePolicy},
		{"a directory's trailing slash", Policy{Deny: []string{"docs/"}}, file("docs/a"), RulePolicy},
		{"a deletion counts", Policy{Deny: []string{"docs"}}, gone("docs/a"), RulePolicy},
		{"other directory", Policy{Deny: []string{"docs"}}, file("docs2/a"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.policy
			p.MaxFiles, p.MaxBytes, p.MaxFileBytes = 10, 100, 100
			base := Base{Modes: map[string]string{workflow.Path: "100644", "docs/a": "100644"}}
			if got := rules(t, p, base, tt.change); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	_, err := Check(t.Context(), Policy{Deny: []string{"a[", "b"}}, Base{}, &changeset.Set{})
	if fault.KindOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), `"a["`) {
		t.Errorf("a bad glob: %v", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	p := Policy{MaxFiles: 2, MaxBytes: 30, MaxFileBytes: 20}
	size := func(path string, n int) changeset.Change {
		return changeset.Change{Path: path, Mode: changeset.ModeFile, Content: make([]byte, n)}
	}
	for _, tt := range []struct {
		name string
		set  changeset.Set
		want int
	}{
		{"at the bounds", changeset.Set{Changes: []changeset.Change{size("a", 20), size("b", 10)}}, 0},
		{"nothing", changeset.Set{}, 0},
		{"truncated", changeset.Set{Truncated: true}, 1},
		{"files", changeset.Set{Changes: []changeset.Change{file("a"), file("b"), file("c")}}, 1},
		{"together", changeset.Set{Changes: []changeset.Change{size("a", 20), size("b", 11)}}, 1},
		{"one file", changeset.Set{Changes: []changeset.Change{size("a", 21)}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			findings, err := Check(t.Context(), p, Base{}, &tt.set)
			if err != nil || len(findings) != tt.want {
				t.Fatalf("%v, %v", findings, err)
			}
			for _, f := range findings {
				if f.Rule != RuleBounds {
					t.Errorf("rule %s", f.Rule)
				}
			}
		})
	}
	many := changeset.Set{}
	for i := range 900 {
		many.Changes = append(many.Changes, file(fmt.Sprintf("../%d", i)))
	}
	if findings, err := Check(t.Context(), DefaultPolicy(), Base{}, &many); err != nil || len(findings) != maxFindings {
		t.Errorf("%d findings, %v", len(findings), err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	base := Base{Modes: map[string]string{"lib": "160000", "old": "100644"}}
	with := func(c changeset.Change, mode string) changeset.Change { c.Mode = mode; return c }
	for _, tt := range []struct {
		name   string
		change changeset.Change
		want   string
	}{
		{"executable", with(file("a"), "100755"), ""},
		{"no mode", with(file("a"), ""), RuleMode},
		{"directory", with(file("a"), "040000"), RuleMode},
		{"group-writable", with(file("a"), "100664"), RuleMode},
		{"setuid", with(file("a"), "104755"), RuleMode},
		{"new submodule", with(file("a"), "160000"), RuleSubmodule},
		{"submodule deleted", gone("lib"), RuleSubmodule},
		{"submodule replaced", file("lib"), RuleSubmodule},
		{"deleted", gone("old"), ""},
		{"deleted and written", changeset.Change{Path: "old", Deleted: true, Mode: "100644"}, RuleMode},
		{"deleted, not there", gone("none"), RuleMode},
		{"name that is not UTF-8", changeset.Change{Path: "a?", RawPath: []byte("a\xff"), Mode: "100644"}, RulePath},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := rules(t, DefaultPolicy(), base, tt.change); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSymlinks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, target, want string }{
		{"a/b/l", "c", ""},
		{"a/b/l", "../c/d", ""},
		{"a/b/l", "../../c", ""},
		{"l", "./c/", ""},
		{"l", "..a/b", ""},
		{"a/b/l", "../../../c", RuleSymlink},
		{"l", "..", RuleSymlink},
		{"l", "c/../d", RuleSymlink},
		{"l", "/etc/passwd", RuleSymlink},
		{"l", "", RuleSymlink},
		{"l", "a\x00b", RuleSymlink},
		{"l", "a\xffb", RuleSymlink},
		{"l", `..\x`, RuleSymlink},
		{"l", "C:/x", RuleSymlink},
		{"l", ".git/config", RuleSymlink},
		{"l", "sub/.GIT /config", RuleSymlink},
		{"l", strings.Repeat("a", maxTarget+1), RuleSymlink},
		{".gitattributes", "x", RuleSymlink},
		{"d/.gitignore", "x", RuleSymlink},
		{".gitmodules", "x", RuleSymlink + " " + RuleSubmodule},
		{"l", "other", ""},
		{"l", "other/x", RuleSymlink},
		{"l", "OTHER/x", RuleSymlink},
		{"a/l", "../other/x", RuleSymlink},
	} {
		if got := rules(t, DefaultPolicy(), Base{}, link("other", "sub"), link(tt.path, tt.target)); got != tt.want {
			t.Errorf("%s -> %q: %q, want %q", tt.path, tt.target, got, tt.want)
		}
	}
}

func TestCollisions(t *testing.T) {
	t.Parallel()
	list := func(c ...changeset.Change) []changeset.Change { return c }
	for _, tt := range []struct {
		name    string
		base    string // paths; "/" at the end makes a directory whose entries are not known
		changes []changeset.Change
		want    bool
	}{
		{"twice", "", list(file("a"), file("a")), true},
		{"deleted and written", "a", list(gone("a"), file("a")), true},
		{"case within the set", "", list(file("README"), file("readme")), true},
		{"case against the base", "README", list(file("readme")), true},
		{"directory's case within the set", "", list(file("Docs/a"), file("docs/b")), true},
		{"directory's case against the base", "Docs/a", list(file("docs/b")), true},
		{"directory known by its entry", "Docs/", list(file("docs/b")), true},
		{"composition", "caf\u00e9", list(file("cafe\u0301")), true},
		{"full folding", "stra\u00dfe", list(file("STRASSE")), true},
		{"not seen", "ab", list(file("a\u200cb")), true},
		{"file over directory", "a/b", list(file("a")), true},
		{"file over unknown directory", "a/", list(file("a")), true},
		{"below a file", "a", list(file("a/b")), true},
		{"below a file of the set", "", list(file("a"), file("a/b/c")), true},
		{"below a link of the set", "", list(link("a", "x"), file("a/b")), true},
		{"file and directory by case", "A", list(file("a/b")), true},
		{"a rename by case", "README", list(gone("README"), file("readme")), false},
		{"a directory's rename by case", "Docs/a Docs/s/b", list(gone("Docs/a"), gone("Docs/s/b"), file("docs/a")), false},
		{"half of a directory's rename by case", "Docs/a Docs/b", list(gone("Docs/a"), file("docs/a")), true},
		{"beside an unknown directory", "Docs/a Docs/s/", list(gone("Docs/a"), file("docs/a")), true},
		{"file becomes directory", "a", list(gone("a"), file("a/b")), false},
		{"directory becomes file", "a/b a/c/d", list(gone("a/b"), gone("a/c/d"), file("a")), false},
		{"they stood together", "README readme", list(file("readme"), file("README")), false},
		{"one of two that stood together", "README readme", list(file("readme")), false},
		{"beside directories that stood together", "Docs/a docs/b", list(file("docs/c"), file("Docs/d")), false},
		{"changed", "a/b", list(file("a/b")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			modes := make(map[string]string)
			for _, p := range strings.Fields(tt.base) {
				if dir, ok := strings.CutSuffix(p, "/"); ok {
					modes[dir] = modeDirectory
				} else {
					modes[p] = changeset.ModeFile
				}
				for d := parent(p); d != ""; d = parent(d) {
					modes[d] = modeDirectory
				}
			}
			got := rules(t, DefaultPolicy(), Base{Modes: modes}, tt.changes...)
			if want := map[bool]string{true: RuleCollision}[tt.want]; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// token is no secret, and stands nowhere as one string.
var token = "ghp_" + "x7Kd93LmQp2RtV8wYz1AbC4dEfG5hJ6kN0sU"

func TestSecrets(t *testing.T) {
	t.Parallel()
	text := func(path, content string) changeset.Change {
		return changeset.Change{Path: path, Mode: changeset.ModeFile, Content: []byte(content)}
	}
	base := func(content string) Base {
		return Base{
			Modes:   map[string]string{"a": "100644", "old": "100644"},
			Content: func(context.Context, string) ([]byte, error) { return []byte(content), nil },
		}
	}
	key := "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7bq0Zk3x9Yw5\n", 60) + "-----END RSA PRIVATE " + "KEY-----\n"
	guessed := `api_key = "` + "q7Zk31xPw9Lm5RtV8wYz1AbC" + `"`
	filler := strings.Repeat("the quick brown fox\n", 2*piece/20)
	for _, tt := range []struct {
		name    string
		base    Base
		changes []changeset.Change
		reason  string // a part of it; "" for none
	}{
		{"none", Base{}, []changeset.Change{text("a", "token := read()\n")}, ""},
		{"a token", Base{}, []changeset.Change{text("a", "x\ny "+token+"\n")}, "a secret in line 2 (gitleaks"},
		{"on the first line", Base{}, []changeset.Change{text("a", token)}, "in line 1 ("},
		{"with an allowing comment", Base{}, []changeset.Change{text("a", token+" # gitleaks:allow\n")}, "github-pat"},
		{"in a place gitleaks leaves out", Base{}, []changeset.Change{text("node_modules/gitleaks.toml", token)}, "github-pat"},
		{"in a binary", Base{}, []changeset.Change{text("a", "\x00\xff"+token+"\x00")}, "github-pat"},
		{"in base64", Base{}, []changeset.Change{text("a", base64.StdEncoding.EncodeToString([]byte("token "+token+" end")))}, "in coded form ("},
		{"far down", Base{}, []changeset.Change{text("a", filler+token+"\n")}, fmt.Sprintf("in line %d (", strings.Count(filler, "\n")+1)},
		{"a key across two pieces", Base{}, []changeset.Change{text("a", filler[:piece-500]+"\n"+key)}, "private-key"},
		{"in a link", Base{}, []changeset.Change{link("a", token)}, "github-pat"},
		{"a guess", Base{}, []changeset.Change{text("a.go", guessed)}, "generic-api-key"},
		{"a guess in a lock file", Base{}, []changeset.Change{text("package-lock.json", guessed)}, ""},
		{"it stood there", base("old " + token), []changeset.Change{text("a", "new "+token)}, ""},
		{"it was moved", base(token), []changeset.Change{gone("old"), text("b", token)}, ""},
		{"another stood there", base(strings.ToUpper(token)), []changeset.Change{text("a", token)}, "github-pat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			findings, err := Check(t.Context(), DefaultPolicy(), tt.base, &changeset.Set{Changes: tt.changes})
			if err != nil {
				t.Fatal(err)
			}
			if tt.reason == "" && len(findings) == 0 {
				return
			}
			if len(findings) != 1 || findings[0].Rule != RuleSecret || tt.reason == "" || !strings.Contains(findings[0].Reason, tt.reason) {
				t.Errorf("findings %v, want one with %q", findings, tt.reason)
			}
			if s := fmt.Sprint(findings); strings.Contains(s, token[4:]) || strings.Contains(s, "q7Zk31") {
				t.Errorf("the secret is told: %s", s)
			}
		})
	}
}

// TestBaseIsReadOnce: a changeset that moves many files with secrets does not
// make the host read and scan each old one for each new one.
func TestBaseIsReadOnce(t *testing.T) {
	t.Parallel()
	reads := 0
	base := Base{Modes: map[string]string{}, Content: func(context.Context, string) ([]byte, error) {
		reads++
		return []byte("nothing"), nil
	}}
	set := &changeset.Set{}
	for i := range 10 {
		old := fmt.Sprint("old", i)
		base.Modes[old] = "100644"
		set.Changes = append(set.Changes, gone(old), changeset.Change{Path: fmt.Sprint("new", i), Mode: changeset.ModeFile, Content: []byte(token)})
	}
	findings, err := Check(t.Context(), DefaultPolicy(), base, set)
	if err != nil || len(findings) != 10 || reads != 10 {
		t.Errorf("%d findings, %d reads, %v", len(findings), reads, err)
	}
}

func TestNothingDecided(t *testing.T) {
	t.Parallel()
	set := &changeset.Set{Changes: []changeset.Change{{Path: "a", Mode: changeset.ModeFile, Content: []byte(token)}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, DefaultPolicy(), Base{}, set); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	lost := errors.New("lost")
	base := Base{
		Modes:   map[string]string{"a": "100644"},
		Content: func(context.Context, string) ([]byte, error) { return nil, lost },
	}
	if _, err := Check(t.Context(), DefaultPolicy(), base, set); !errors.Is(err, lost) {
		t.Errorf("base unreadable: %v", err)
	}
}

// FuzzCheck holds what passes against the plainest reading of the rules.
func FuzzCheck(f *testing.F) {
	f.Add("a/b", "100644", "c", "x")
	f.Add(".git\u200c/config", "120000", "../x", "A")
	f.Fuzz(func(t *testing.T, path, mode, other, content string) {
		set := &changeset.Set{Changes: []changeset.Change{
			{Path: path, Mode: mode, Content: []byte(content)}, file(other),
		}}
		findings, err := Check(t.Context(), DefaultPolicy(), Base{}, set)
		if err != nil {
			t.Fatal(err)
		}
		if len(findings) > 0 {
			return
		}
		for _, p := range []string{path, other} {
			lower := "/" + strings.ToLower(p) + "/"
			for _, bad := range []string{"/../", "/./", "//", "/.git/", "/git~1/", "\\", "\x00"} {
				if strings.Contains(lower, bad) {
					t.Errorf("%q passes", p)
				}
			}
		}
		if strings.EqualFold(path, other) || strings.HasPrefix(other, path+"/") || strings.HasPrefix(path, other+"/") {
			t.Errorf("%q and %q pass together", path, other)
		}
		if mode == changeset.ModeSymlink && (strings.HasPrefix(content, "/") || strings.Count(content, "..") > 0 && !strings.Contains(path, "/") && strings.HasPrefix(content, "../")) {
			t.Errorf("%q -> %q passes", path, content)
		}
	})
}
