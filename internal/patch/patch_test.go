package patch

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// tree is a path's mode and content, with one space between.
type tree map[string]string

func (tr tree) old(path string) ([]byte, string, bool) {
	mode, content, ok := strings.Cut(tr[path], " ")
	return []byte(content), mode, ok
}

// to is the changeset that makes next of tr.
func (tr tree) to(next tree) *changeset.Set {
	set := &changeset.Set{}
	for path := range tr {
		if _, ok := next[path]; !ok {
			set.Changes = append(set.Changes, changeset.Change{Path: path, Deleted: true})
		}
	}
	for path, v := range next {
		if mode, content, _ := strings.Cut(v, " "); v != tr[path] {
			set.Changes = append(set.Changes, changeset.Change{Path: path, Mode: mode, Content: []byte(content)})
		}
	}
	return set
}

// git is the real git in a fresh repository, its settings its own.
type git struct {
	t   testing.TB
	dir string
}

func newGit(t testing.TB) git {
	testenv.Command(t, "git")
	g := git{t, t.TempDir()}
	g.run("", "init", "-q")
	g.run("", "config", "core.autocrlf", "false")
	return g
}

func (g git) run(in string, args ...string) string {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin = g.dir, strings.NewReader(in)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// write makes the working tree and the index hold tr, and returns its id.
func (g git) write(tr tree) string {
	g.t.Helper()
	g.run("", "read-tree", "--empty")
	for path, v := range tr {
		mode, content, _ := strings.Cut(v, " ")
		blob := strings.TrimSpace(g.run(content, "hash-object", "-w", "--stdin"))
		g.run("", "update-index", "--add", "--cacheinfo", mode+","+blob+","+path)
	}
	return strings.TrimSpace(g.run("", "write-tree"))
}

// applies checks that the patch makes exactly next of tr, by git's account,
// and returns it.
func (g git) applies(tr, next tree) string {
	g.t.Helper()
	text := Format(tr.to(next), tr.old)
	want := g.write(next)
	g.write(tr)
	if text != "" {
		g.run(text, "apply", "--cached", "--whitespace=nowarn")
	}
	if got := strings.TrimSpace(g.run("", "write-tree")); got != want {
		g.t.Errorf("the patch makes another tree:\n%s\n%s", text, g.run("", "diff", "--cached", want))
	}
	return text
}

func TestGitApplies(t *testing.T) {
	t.Parallel()
	const file, exec, link = "100644 ", "100755 ", "120000 "
	numbers := strings.Repeat("1\n2\n3\n4\n5\n6\n7\n8\n9\n", 3)
	binary := "\x00\x01\xff" + strings.Repeat("binary\x00", 100)
	for name, tt := range map[string]struct{ before, after tree }{
		"new":                          {tree{}, tree{"d/a": file + "x\ny\n"}},
		"new and empty":                {tree{}, tree{"a": file}},
		"emptied":                      {tree{"a": file + "x\n"}, tree{"a": file}},
		"filled":                       {tree{"a": file}, tree{"a": file + "x\n"}},
		"deleted":                      {tree{"a": file + "x\n", "b": file}, tree{}},
		"changed in places":            {tree{"a": file + numbers}, tree{"a": file + "0\n" + strings.Replace(numbers, "9\n1\n", "9\nx\n1\n", 1) + "end\n"}},
		"newline at the end lost":      {tree{"a": file + "x\ny\n"}, tree{"a": file + "x\ny"}},
		"newline at the end won":       {tree{"a": file + "x\ny"}, tree{"a": file + "x\ny\n"}},
		"neither has one":              {tree{"a": file + "x\ny"}, tree{"a": file + "x\nz"}},
		"line ends":                    {tree{"a": file + "x\r\ny\r\nz\n"}, tree{"a": file + "x\r\ny\nz\r\n"}},
		"a lone carriage return":       {tree{"a": file + "x\ry\n"}, tree{"a": file + "x\rz\r"}},
		"lines like a patch":           {tree{"a": file + "-- a\n++ b\n"}, tree{"a": file + "-- b\n@@ -1 +1 @@\n"}},
		"mode":                         {tree{"a": file + "x\n"}, tree{"a": exec + "x\n"}},
		"mode and content":             {tree{"a": exec + "x\n"}, tree{"a": file + "y\n"}},
		"link":                         {tree{}, tree{"l": link + "a/b"}},
		"link turned":                  {tree{"l": link + "a"}, tree{"l": link + "b"}},
		"file becomes link":            {tree{"a": file + "x\n"}, tree{"a": link + "b"}},
		"link becomes file":            {tree{"a": link + "b"}, tree{"a": exec + "x\n"}},
		"file becomes directory":       {tree{"a": file + "x\n"}, tree{"a/b": file + "x\n"}},
		"directory becomes file":       {tree{"a/b": file + "x\n", "a/c": file + "y\n"}, tree{"a": file + "x\n"}},
		"new binary":                   {tree{}, tree{"a": file + binary}},
		"binary changed":               {tree{"a": file + binary}, tree{"a": file + binary + "more"}},
		"binary deleted":               {tree{"a": exec + binary}, tree{}},
		"binary becomes text":          {tree{"a": file + binary}, tree{"a": exec + "x\n"}},
		"not UTF-8":                    {tree{"a": file + "caf\xe9\n"}, tree{"a": file + "th\xe9\n"}},
		"space in the name":            {tree{"a b/c d": file + "x\n"}, tree{"a b/c d": file + "y\n", "e f": file + "z\n"}},
		"Unicode in the name":          {tree{"日本/é": file + "x\n"}, tree{"日本/é": file + "y\n"}},
		"quotes in the name":           {tree{`a"b\c`: file + "x\n"}, tree{`a"b\c`: exec + "x\n", `'"`: file + "x\n"}},
		"control characters in it":     {tree{"a\tb\nc\x01\x7f": file + "x\n"}, tree{"a\tb\nc\x01\x7f": file + "y\n"}},
		"a name like git's own":        {tree{"b/a": file + "x\n"}, tree{"b/b/a b/x": file + "y\n"}},
		"nothing":                      {tree{"a": file + "x\n"}, tree{"a": file + "x\n"}},
		"a name with a trailing space": {tree{"a ": file + "x\n"}, tree{"a ": file + "y\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newGit(t).applies(tt.before, tt.after)
		})
	}
}

// TestLikeGit compares with git's own words where they are one and the same.
func TestLikeGit(t *testing.T) {
	t.Parallel()
	g := newGit(t)
	before := tree{"a b": "100644 1\n2\n3\n4\n5\n", "é": "100644 x\n", "old": "100755 x\n", "mode": "100644 x\n"}
	after := tree{"a b": "100644 1\n2\nthree\n4\n5", "é": "100644 y\n", "new": "100644 \n", "mode": "100755 x\n"}
	from, to := g.write(before), g.write(after)
	for _, path := range []string{"a b", "é", "old", "new", "mode"} {
		set := &changeset.Set{}
		for _, c := range before.to(after).Changes {
			if c.Path == path {
				set.Changes = append(set.Changes, c)
			}
		}
		want := g.run("", "diff", "--full-index", "--binary", from, to, "--", path)
		if got := Format(set, before.old); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestRandomEdits lets git judge patches of many hunks.
func TestRandomEdits(t *testing.T) {
	t.Parallel()
	g := newGit(t)
	r := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(strings.Repeat("x", r.IntN(4)))
			b.WriteByte('\n')
		}
		return b.String() + strings.Repeat("end", r.IntN(2))
	}
	for range 25 {
		old := lines([]byte(text(r.IntN(300))))
		var edited strings.Builder
		for _, line := range old {
			switch r.IntN(20) {
			case 0:
			case 1:
				edited.WriteString(text(r.IntN(3)))
			default:
				edited.WriteString(line)
			}
		}
		g.applies(tree{"a": "100644 " + strings.Join(old, "")}, tree{"a": "100644 " + edited.String()})
	}
}

// TestOnDisk applies to files rather than to the index.
func TestOnDisk(t *testing.T) {
	t.Parallel()
	g := newGit(t)
	path := filepath.Join(g.dir, "a b")
	if err := os.WriteFile(path, []byte("x\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := tree{"a b": "100644 x\r\n"}
	g.run(Format(before.to(tree{"a b": "100644 x\r\ny\r\n", "l": "120000 a b"}), before.old), "apply")
	if got, err := os.ReadFile(filepath.Join(g.dir, "l")); err != nil || string(got) != "x\r\ny\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHostileWords(t *testing.T) {
	t.Parallel()
	set := &changeset.Set{Changes: []changeset.Change{{Path: "a?", RawPath: []byte("a\xff"), Mode: "100644"}}}
	set.Changes = append(set.Changes, changeset.Change{Path: "b", Mode: "100644\ndiff --git a/x b/x"})
	if got := Format(set, tree{}.old); !strings.Contains(got, `"a/a\377" "b/a\377"`) || strings.Contains(got, "\ndiff --git a/x") {
		t.Errorf("got %s", got)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+a\n\tb é 日本\n":          "+a\n\tb é 日本\n",
		"a\r\nb\rc":               "a\nb\\x0dc",
		"\x1b]0;title\x07\x1b[2J": `\x1b]0;title\x07\x1b[2J`,
		"a\u202eb\u200bc\u009bd":  `a\u{202e}b\u{200b}c\u{9b}d`,
		"a\xffb\uFFFD":            "a\\xffb\uFFFD",
		"\U000E0041":              `\u{e0041}`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
