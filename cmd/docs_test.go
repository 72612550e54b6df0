package cmd

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/broker"
	"github.com/dayclaude/dayclaude/internal/term"
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
	for name, c := range map[string]*cobra.Command{"runs.md": newRuns(&app{}), "sandboxes.md": newSandboxes(&app{}), "demo.md": newDemo(&app{}, nil), "dev-daytona.md": newDev(&app{})} {
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

// TestSandboxesPage holds that docs/sandboxes.md tells of every key of --json,
// and what a sandbox costs.
func TestSandboxesPage(t *testing.T) {
	text := page(t, "sandboxes.md")
	if hour := term.USD(broker.SandboxUSD(2, 4, 10, time.Hour)); !strings.Contains(text, "about "+hour+" an hour") {
		t.Errorf("an hour costs %s", hour)
	}
	rows := strings.Join(regexp.MustCompile("(?m)^\\| (`.*`) \\| ").FindAllString(text, -1), "")
	for _, of := range []reflect.Type{reflect.TypeFor[sandboxView](), reflect.TypeFor[shownSandbox]()} {
		for _, key := range jsonKeys(of) {
			if !strings.Contains(rows, "`"+key+"`") {
				t.Errorf("no row for the key %s", key)
			}
		}
	}
	for _, part := range []reflect.Type{
		reflect.TypeFor[nextView](), reflect.TypeFor[networkView](), reflect.TypeFor[sandboxRun](),
		reflect.TypeFor[changed](), reflect.TypeFor[previewView](), reflect.TypeFor[sshView](),
	} {
		if shown := `{"` + strings.Join(jsonKeys(part), `", "`) + `"}`; !strings.Contains(text, shown) {
			t.Errorf("the page does not show %s", shown)
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
	var keys []string
	for i := range of.NumField() {
		if f := of.Field(i); !f.Anonymous {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			keys = append(keys, key)
		}
	}
	return keys
}
