package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTidy: what runs left goes after thirty days, and nothing else does.
func TestTidy(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	days := func(n int) time.Time { return now.Add(-time.Duration(n) * 24 * time.Hour) }
	for name, at := range map[string]time.Time{"r_old": days(31), "r_new": days(29), "mine": days(400)} {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, changesetFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	New(Config{Dir: dir, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}).tidy()
	for name, want := range map[string]bool{"r_old": false, "r_new": true, "mine": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	New(Config{Dir: filepath.Join(dir, "none"), Now: time.Now}).tidy() // no log: there is nothing to complain of
}
