package engine

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/run"
)

func TestCollide(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", false},
		{"x y/z", "", false},
		{"x y/z", "y/a z", false},
		{"x y/z", "a y/z", true},
		{"y", "y/z/a", true},
		{"y/z/a", "y", true},
		{"y/z", "y/zz y/z.go", false},
		{"/abs .. // a//b", "abs", false}, // from a hostile sandbox
	} {
		if got := collide(strings.Fields(test.a), strings.Fields(test.b)); got != test.want {
			t.Errorf("%q and %q: %t", test.a, test.b, got)
		}
	}
}

// A hostile sandbox's deepest paths take no memory worth the name, and little
// time.
func TestCollideIsBounded(t *testing.T) {
	set := &changeset.Set{}
	for i := range 5000 {
		set.Changes = append(set.Changes, changeset.Change{Path: strconv.Itoa(i) + strings.Repeat("/a", maxPathBytes/2-3)}, changeset.Change{Path: strings.Repeat("b/", 4<<10)})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if collide(paths(set), []string{"x", "b", "1/a/b"}) {
		t.Error("they collide")
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d MiB", grown>>20)
	}
}

func TestUnsolved(t *testing.T) {
	t.Parallel()
	m := &run.Merge{Branch: "release/1.0 (x)", Onto: strings.Repeat("ab", 20), Ancestor: strings.Repeat("cd", 20)}
	set := &changeset.Set{}
	for path, content := range map[string]string{
		"first":                           "a\n<<<<<<< release/1.0 (x) (ababababab)\nb\n",
		"renamed":                         "<<<<<<< release/1.0 (x) (ababababab):old.txt\n",
		"wide":                            "<<<<<<<<<<<< release/1.0 (x) (ababababab)\n",
		"last":                            "b\n>>>>>>> your changes since cdcdcdcdcd\n",
		"x~your changes since cdcdcdcdcd": "",
		"a manual":                        "<<<<<<< HEAD\n=======\n>>>>>>> release/1.0 (x)\n",
		"quoted":                          "write <<<<<<< release/1.0 (x) (ababababab)\n",
	} {
		set.Changes = append(set.Changes, changeset.Change{Path: path, Content: []byte(content)})
	}
	left := unsolved(set, m)
	slices.Sort(left)
	if got := strings.Join(left, "|"); got != "first|last|renamed|wide|x~your changes since cdcdcdcdcd" {
		t.Errorf("left: %s", got)
	}
}
