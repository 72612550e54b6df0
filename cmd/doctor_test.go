package cmd

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/pflag"

	"github.com/dayclaude/dayclaude/internal/doctor"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/term"
)

// Without --deep there is nothing to do yet.
func TestDoctorWantsDeep(t *testing.T) {
	t.Parallel()
	called := false
	c := newDoctor(&app{}, func(context.Context, *doctorOptions) error { called = true; return nil })
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{"--json"})
	if err := c.ExecuteContext(t.Context()); fault.KindOf(err) != fault.Usage || fault.HintOf(err) != "add --deep" || called {
		t.Errorf("got %v", err)
	}
	c.SetArgs([]string{"--deep"})
	if err := c.ExecuteContext(t.Context()); err != nil || !called {
		t.Errorf("got %v", err)
	}
}

// TestDoctorPage holds that docs/doctor.md names every flag, step and key.
func TestDoctorPage(t *testing.T) {
	t.Parallel()
	text := page(t, "doctor.md")
	newDoctor(&app{}, nil).Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(text, "\n| `--"+f.Name+"` |") {
			t.Errorf("no row for --%s", f.Name)
		}
	})
	rows := text[strings.Index(text, "| step | does |"):strings.Index(text, "## Nothing stays")]
	for _, step := range doctor.Steps() {
		if !strings.Contains(rows, "`"+step+"`") {
			t.Errorf("no row for the step %s", step)
		}
	}
	for _, key := range jsonKeys(reflect.TypeFor[doctorView]()) {
		if !strings.Contains(text, "\n| `"+key+"` | ") {
			t.Errorf("no row for the key %s", key)
		}
	}
	for _, part := range []reflect.Type{reflect.TypeFor[stepView](), reflect.TypeFor[problem]()} {
		if shown := `{"` + strings.Join(jsonKeys(part), `", "`) + `"}`; !strings.Contains(text, shown) {
			t.Errorf("the page does not show %s", shown)
		}
	}
}

// A step's line fits the terminal: what has no room follows below.
func TestDoctorLines(t *testing.T) {
	t.Parallel()
	steps := []doctor.Step{
		{Name: "key", Result: doctor.OK, Detail: "ci, valid for ever", Took: 40 * time.Millisecond},
		{Name: "create", Result: doctor.Failed, Took: 12 * time.Second, Err: fault.New(fault.Quota, "create sandbox x: Total CPU limit exceeded. Maximum: 4 (400)").
			WithHint("delete sandboxes that nobody needs")},
		{Name: "list", Result: doctor.Skipped, Detail: `it needs "create"`},
	}
	for width, want := range map[int]string{
		0: `ok       key          0.0s  ci, valid for ever
failed   create        12s  create sandbox x: Total CPU limit exceeded. Maximum: 4 (400)
         hint: delete sandboxes that nobody needs
skipped  list               it needs "create"
`,
		40: `ok       key          0.0s
         ci, valid for ever
failed   create        12s
         create sandbox x: Total CPU
         limit exceeded. Maximum: 4
         (400)
         hint: delete sandboxes that
         nobody needs
skipped  list
         it needs "create"
`,
	} {
		var out bytes.Buffer
		s := term.Streams{Out: &out, Err: &bytes.Buffer{}}
		if width > 0 {
			s.OutSize = func() (int, int) { return width, 24 }
		}
		sheet := &doctorSheet{a: &app{streams: s}}
		for _, step := range steps {
			sheet.done(step)
		}
		if got := out.String(); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
		for line := range strings.Lines(out.String()) {
			if n := ansi.StringWidth(strings.TrimSuffix(line, "\n")); width > 0 && n > width {
				t.Errorf("%d columns: %q has %d", width, line, n)
			}
		}
	}
}
