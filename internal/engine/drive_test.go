package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// TestCleanCutsLast: a secret that lies across the cut, or was taken apart by
// characters that cannot be seen, leaves nothing.
func TestCleanCutsLast(t *testing.T) {
	t.Parallel()
	const key = "ghp_0123456789abcdefghij"
	d := &drive{Engine: New(Config{Redactor: secret.NewRedactor(secret.New(key))})}
	for _, text := range []string{"a " + key, "a " + key[:9] + "\u200b" + key[9:], "a\x1b[0m " + key} {
		for most := range 40 {
			if got := d.clean(text, most); strings.Contains(got, "ghp") || len(got) > most {
				t.Errorf("clean(%q, %d) = %q", text, most, got)
			}
		}
	}
}

// TestPlausible: a time that cannot be is replaced.
func TestPlausible(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	d := &drive{Engine: New(Config{Now: func() time.Time { return now }}), run: &run.Run{CreatedAt: now.Add(-time.Hour)}}
	for _, test := range []struct{ said, want time.Time }{
		{now.Add(-time.Minute), now.Add(-time.Minute)},
		{now.Add(-2 * time.Hour), now},
		{now.Add(time.Hour), now},
		{time.Time{}, now},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600)), now}, // in UTC a year that JSON does not take
	} {
		if got := d.plausible(test.said); !got.Equal(test.want) {
			t.Errorf("plausible(%s) = %s, want %s", test.said, got, test.want)
		}
	}
}
