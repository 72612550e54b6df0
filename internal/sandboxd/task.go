package sandboxd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// state is how far a task got: what the next process must know to go on.
type state struct {
	Status api.Status `json:"status"` // Events is filled in when it is asked for
	Cloned bool       `json:"cloned"`
	Setup  int        `json:"setup"`            // commands that are done
	Asked  bool       `json:"asked"`            // Claude was started with the prompt
	Killed int        `json:"killed,omitempty"` // how often Claude was killed and is resumed
	Turns  int        `json:"turns,omitempty"`  // of those that were
	// Deadline is the task's by this machine's clock.
	Deadline time.Time `json:"deadline"`
	// Harvested says that changeset.json is final; Lost why there is none.
	Harvested bool   `json:"harvested"`
	Lost      string `json:"lost,omitempty"`
	Tree      string `json:"tree,omitempty"` // what was harvested, as git has it; new objects are in tree/objects
}

// task is one task on disk and, while it runs, in memory.
type task struct {
	dir    string
	spec   api.Task
	events *eventLog

	mu     sync.Mutex
	state  state
	cancel context.CancelCauseFunc // ends the work; nil until it runs

	harvest sync.Mutex // held while changeset-now.json is written and sent
}

// createTask writes a new task. It exists from when its state is there.
func createTask(dir string, spec *api.Task, now time.Time) (*task, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	t := &task{dir: dir, spec: *spec}
	t.state.Status = api.Status{ID: spec.ID, Phase: api.PhaseClone, StartedAt: now}
	t.state.Deadline = localDeadline(spec, now)
	var err error
	if t.events, err = openEventLog(t.path("events.jsonl")); err != nil {
		return nil, err
	}
	if err := writeJSON(t.path("task.json"), spec); err != nil {
		return nil, err
	}
	return t, writeJSON(t.path("state.json"), &t.state)
}

// openTask reads a task; fs.ErrNotExist if it was never fully created.
func openTask(dir string) (*task, error) {
	t := &task{dir: dir}
	if err := readJSON(t.path("state.json"), &t.state); err != nil {
		return nil, err
	}
	if err := readJSON(t.path("task.json"), &t.spec); err != nil {
		return nil, err
	}
	if t.state.Deadline.IsZero() { // an earlier version's
		t.state.Deadline = t.spec.Deadline
	}
	if t.spec.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("%s holds task %q", dir, t.spec.ID)
	}
	var err error
	if t.events, err = openEventLog(t.path("events.jsonl")); err != nil {
		return nil, err
	}
	if t.ended() && !t.events.closed() { // killed between the two
		err = t.announceEnd()
	}
	return t, err
}

func (t *task) path(name string) string { return filepath.Join(t.dir, name) }

// bind makes cancel end the work, at once if the task was cancelled before.
func (t *task) bind(cancel context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel = cancel
	if t.state.Status.Cancelled {
		cancel(errCancelled)
	}
}

// askCancel notes that the task is to end, then ends its work.
func (t *task) askCancel() error {
	if t.ended() {
		return nil
	}
	if err := t.update(func(s *state) { s.Status.Cancelled = true }); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		t.cancel(errCancelled)
	}
	return nil
}

// update changes the state on disk, then in memory. An ended task does not
// change.
func (t *task) update(change func(*state)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state.Status.Phase == api.PhaseEnded {
		return nil
	}
	next := t.state
	change(&next)
	if err := writeJSON(t.path("state.json"), &next); err != nil {
		return err
	}
	t.state = next
	return nil
}

func (t *task) snapshot() state {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

func (t *task) ended() bool { return t.snapshot().Status.Phase == api.PhaseEnded }

// status is the task's Status as of now.
func (t *task) status() api.Status {
	status := t.snapshot().Status
	status.Events = t.events.last()
	return status
}

// end makes the task's outcome final, then announces it.
func (t *task) end(failure *api.Failure, now time.Time) error {
	err := t.update(func(s *state) {
		s.Status.Failure, s.Status.Phase, s.Status.EndedAt = failure, api.PhaseEnded, now
	})
	if err != nil {
		return err
	}
	return t.announceEnd()
}

func (t *task) announceEnd() error {
	status := t.snapshot().Status
	status.Events = t.events.last() + 1
	return t.events.append(api.Event{Time: status.EndedAt, Phase: api.PhaseEnded, Ended: &status})
}

// sameTask reports whether two tasks ask for the same.
func sameTask(a, b api.Task) (bool, error) {
	a.Sent, b.Sent = time.Time{}, time.Time{}
	left, err1 := json.Marshal(a)
	right, err2 := json.Marshal(b)
	return bytes.Equal(left, right), errors.Join(err1, err2)
}

// localDeadline is the task's deadline by our clock, which shows now while the
// host's shows Sent.
func localDeadline(spec *api.Task, now time.Time) time.Time {
	return now.Add(spec.Deadline.Sub(spec.Sent))
}

// writeJSON replaces a file whole: a reader finds the old or the new one.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceFile writes a file beside path and renames it there.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	err = write(f)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return os.Rename(f.Name(), path)
}

// maxStateFile bounds what is read of a file that Claude could have changed.
const maxStateFile = 16 << 20

func readJSON(path string, v any) error {
	data, err := readBounded(path, maxStateFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, err
}
