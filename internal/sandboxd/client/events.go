package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// maxLine bounds a line of the stream. The longest that sandboxd sends is the
// end of a task, which holds Claude's answer: 64 KiB that JSON's escapes can
// make six times as long.
const maxLine = 1 << 20

// Events yields what happened after event number after, in order and without
// gaps, until the task's end: then it returns nil. One connection is made;
// when it breaks the error is ErrCut, and Events can be called again with the
// number last seen. An error of yield ends it and is returned.
func (c *Client) Events(ctx context.Context, id string, after int64, yield func(api.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(quietTimeout, func() { cancel(errQuiet) })
	defer quiet.Stop()
	path := taskPath(id, "events")
	resp, err := c.send(ctx, http.MethodGet, fmt.Sprintf("%s?after=%d", path, after), nil)
	if err != nil {
		return orQuiet(ctx, err, path)
	}
	defer resp.Body.Close()
	err = readEvents(&pulse{resp.Body, quiet}, id, after, yield)
	return orQuiet(ctx, err, path)
}

var errQuiet = errors.New("no word for a minute")

// orQuiet is err, or that our own watch on the stream ended it.
func orQuiet(ctx context.Context, err error, path string) error {
	if err != nil && errors.Is(context.Cause(ctx), errQuiet) {
		return wayError(errQuiet, path)
	}
	return err
}

// pulse puts the watch off whenever something is read.
type pulse struct {
	io.Reader
	quiet *time.Timer
}

func (p *pulse) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.quiet.Reset(quietTimeout)
	}
	return n, err
}

// readEvents reads server-sent events as sandboxd writes them: an id line, a
// data line, an empty line; comments between.
func readEvents(r io.Reader, task string, after int64, yield func(api.Event) error) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for number := after; ; {
		line, err := readLine(lines)
		if err != nil {
			return err
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue // the number is in the event, too
		}
		var event api.Event
		if err := json.Unmarshal(data, &event); err != nil {
			return broken("event after %d: %v", number, err)
		}
		if number++; event.Number != number {
			return broken("event %d came where %d is due", event.Number, number)
		}
		if err := checkEvent(&event); err != nil {
			return err
		}
		if event.Ended != nil && event.Ended.ID != task {
			return broken("event %d ends another task", number)
		}
		if err := yield(event); err != nil {
			return err
		}
		if event.Ended != nil {
			return nil
		}
	}
}

// readLine reads a line without its end, of at most maxLine bytes.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxLine:
			return nil, broken("a line of events is longer than %d bytes", maxLine)
		case err == nil:
			return bytes.TrimSuffix(line, []byte{'\n'}), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, wayError(err, "events")
		}
	}
}
