package cmd

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

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
