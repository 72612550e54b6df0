package sandboxd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

func TestEventLogAfterACrash(t *testing.T) {
	t.Parallel()
	line := func(n int) string { return fmt.Sprintf(`{"number":%d,"phase":"setup","output":"x"}`+"\n", n) }
	for name, test := range map[string]struct {
		content string
		kept    int64
	}{
		"new":            {"", 0},
		"whole":          {line(1) + line(2), 2},
		"torn":           {line(1) + line(2)[:20], 1},
		"no line end":    {line(1) + strings.TrimSuffix(line(2), "\n"), 1},
		"a gap":          {line(1) + line(3), 1},
		"garbage within": {line(1) + "\x00\x00\n" + line(2), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.jsonl")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			log, err := openEventLog(path)
			if err != nil || log.last() != test.kept {
				t.Fatalf("%d events kept, want %d; %v", log.last(), test.kept, err)
			}
			if err := log.append(api.Event{Phase: api.PhaseCheck, Started: true}); err != nil {
				t.Fatal(err)
			}
			again, err := openEventLog(path)
			if err != nil || again.last() != test.kept+1 {
				t.Errorf("%d events after one more, %v", again.last(), err)
			}
		})
	}
}

func TestEventLogIsBounded(t *testing.T) {
	t.Parallel()
	log, err := openEventLog(filepath.Join(t.TempDir(), "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	log.size = maxLog + 1 // as if
	if err := log.append(api.Event{Output: "left out"}); err != nil || log.last() != 0 {
		t.Errorf("%d events, %v", log.last(), err)
	}
	if err := log.append(api.Event{Ended: &api.Status{}}); err != nil || log.last() != 1 || !log.closed() {
		t.Errorf("the end was left out: %v", err)
	}
	if err := log.append(api.Event{Started: true}); err == nil {
		t.Error("an event after the end")
	}
}

// A kill between a task's last state and its last event, or in the middle of
// a task's creation, is mended at the next start.
func TestTasksAfterACrash(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	tasks := filepath.Join(home, api.StateDir, "tasks")
	if err := os.MkdirAll(filepath.Join(tasks, "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	done, err := createTask(filepath.Join(tasks, "done"), &api.Task{ID: "done"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := done.update(func(s *state) { s.Status.Phase = api.PhaseEnded }); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	found := s.find("done")
	if found == nil || !found.ended() || !found.events.closed() || found.status().Events != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := os.Stat(filepath.Join(tasks, "half")); !os.IsNotExist(err) {
		t.Errorf("half a task is still there: %v", err)
	}
}

func TestOutletKeepsRunesWhole(t *testing.T) {
	t.Parallel()
	const text, want = "é✓😀\xff\xe2z\n", "é✓😀??z\n"
	for step := 1; step <= len(text); step++ {
		var got strings.Builder
		o := &outlet{emit: func(s string) { got.WriteString(s) }, left: maxOutputs}
		for rest := []byte(text); len(rest) > 0; {
			n := min(step, len(rest))
			o.pass(rest[:n])
			rest = rest[n:]
		}
		if strings.ReplaceAll(got.String(), "??", "?") != strings.ReplaceAll(want, "??", "?") {
			t.Errorf("in steps of %d: %q", step, got.String())
		}
	}
	var said []string
	o := &outlet{emit: func(s string) { said = append(said, s) }, left: 10}
	o.pass([]byte("0123456789"))
	o.pass([]byte("more"))
	if len(said) != 2 || !strings.Contains(said[1], "left out") {
		t.Errorf("past the bound: %q", said)
	}
}
