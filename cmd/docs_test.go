package cmd

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestRunIssuePage holds that docs/run-issue.md has a row for every flag and
// every key of --json.
func TestRunIssuePage(t *testing.T) {
	text := page(t, "run-issue.md")
	newRunIssue(&app{}, nil).Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(text, "`--"+f.Name+" ") && !strings.Contains(text, "`--"+f.Name+"` |") {
			t.Errorf("no row for --%s", f.Name)
		}
	})
	for _, key := range jsonKeys(reflect.TypeFor[result]()) {
		if !strings.Contains(text, "\n| `"+key+"` | ") {
			t.Errorf("no row for the key %s", key)
		}
	}
	for _, part := range []reflect.Type{reflect.TypeFor[pullRequest](), reflect.TypeFor[cost](), reflect.TypeFor[problem]()} {
		if shown := `{"` + strings.Join(jsonKeys(part), `", "`) + `"}`; !strings.Contains(text, shown) {
			t.Errorf("the page does not show %s", shown)
		}
	}
}

// TestPagesNameTheFlags holds the pages of the smaller commands to their
// flags.
func TestPagesNameTheFlags(t *testing.T) {
	for name, c := range map[string]*cobra.Command{"runs.md": newRuns(&app{}), "demo.md": newDemo(&app{}, nil)} {
		text := page(t, name)
		for _, c := range append(c.Commands(), c) {
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if !strings.Contains(text, "--"+f.Name) {
					t.Errorf("docs/%s does not name --%s of %s", name, f.Name, c.CommandPath())
				}
			})
		}
	}
}

// page reads a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func jsonKeys(of reflect.Type) []string {
	keys := make([]string, of.NumField())
	for i := range keys {
		keys[i], _, _ = strings.Cut(of.Field(i).Tag.Get("json"), ",")
	}
	return keys
}
