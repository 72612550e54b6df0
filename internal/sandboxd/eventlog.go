package sandboxd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// maxLog bounds an event log in bytes; once it is reached only beginnings of
// phases and the end are kept.
const maxLog = 32 << 20

// eventLog is a task's events: one JSON object a line, numbered from 1. It is
// not synced to disk for each; a line that a crash cut off is dropped.
type eventLog struct {
	file *os.File

	mu    sync.Mutex
	count int64
	size  int64         // bytes of whole lines
	ended bool          // the newest event is Ended
	grown chan struct{} // closed and replaced when an event is added
}

// openEventLog opens or makes the log at path, cut after its last good line.
func openEventLog(path string) (*eventLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &eventLog{file: f, grown: make(chan struct{})}
	lines := bufio.NewReader(io.LimitReader(f, 2*maxLog))
	for {
		line, err := lines.ReadBytes('\n')
		var event api.Event
		if err != nil || json.Unmarshal(line, &event) != nil || event.Number != l.count+1 {
			break
		}
		l.count, l.size, l.ended = event.Number, l.size+int64(len(line)), event.Ended != nil
	}
	if err := f.Truncate(l.size); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// append numbers event and adds it.
func (l *eventLog) append(event api.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return errors.New("event after the end")
	case l.size > maxLog && !event.Started && event.Ended == nil:
		return nil
	}
	event.Number = l.count + 1
	line, err := json.Marshal(event)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err := l.file.Write(line); err != nil {
		_ = l.file.Truncate(l.size)
		return fmt.Errorf("event log: %w", err)
	}
	l.count, l.size, l.ended = event.Number, l.size+int64(len(line)), event.Ended != nil
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

func (l *eventLog) last() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (l *eventLog) closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// extent is what there is to read now, whether more can come, and a channel
// that closes when it does.
func (l *eventLog) extent() (size int64, ended bool, grown <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size, l.ended, l.grown
}

// tail reads a log's lines in order while it grows.
type tail struct {
	log    *eventLog
	offset int64
	number int64 // of the line last returned
}

// next returns the lines between the last one returned and the newest: each
// with its number, without the line end. skip leaves out lines up to it.
func (t *tail) next(skip int64, yield func(number int64, line []byte) error) (ended bool, grown <-chan struct{}, err error) {
	size, ended, grown := t.log.extent()
	lines := bufio.NewReaderSize(io.NewSectionReader(t.log.file, t.offset, size-t.offset), 64<<10)
	for t.offset < size {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return false, nil, fmt.Errorf("event log: %w", err)
		}
		t.offset += int64(len(line))
		t.number++
		if t.number > skip {
			if err := yield(t.number, bytes.TrimSuffix(line, []byte{'\n'})); err != nil {
				return false, nil, err
			}
		}
	}
	return ended, grown, nil
}
