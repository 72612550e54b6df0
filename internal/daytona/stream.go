package daytona

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// stream is the body of a good answer, bounded, whose errors are like those of
// every other call.
type stream struct {
	ctx    context.Context // ends the body's connection, so it lives as long
	cancel context.CancelCauseFunc
	end    func() bool // stops the clock
	r      request
	resp   *http.Response
	limit  int64
	read   int64
}

// stream sends r, repeats it where that is safe, and returns the answer as it
// comes: it must begin within callTimeout, and end within r.timeout and limit
// bytes, unless these are 0. What r.quiet bounds is one Read.
func (c *Client) stream(ctx context.Context, r request, limit int64) (io.ReadCloser, error) {
	if r.base == nil {
		r.base = c.base
	}
	var s *stream
	err := c.repeat(ctx, r, func() error {
		ctx, cancel := context.WithCancelCause(ctx)
		late := time.AfterFunc(callTimeout, func() { cancel(r.late(callTimeout)) })
		resp, err := c.open(ctx, r) //nolint:bodyclose // stream.Close does
		late.Stop()
		if err != nil {
			cancel(nil)
			return err
		}
		s = &stream{ctx: ctx, cancel: cancel, end: func() bool { return true }, r: r, resp: resp, limit: limit}
		if r.timeout > 0 {
			s.end = s.within(r.timeout)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// within ends the stream after d, unless it is stopped.
func (s *stream) within(d time.Duration) (stop func() bool) {
	return time.AfterFunc(d, func() { s.cancel(fault.New(fault.Unavailable, "not done within %s", d)) }).Stop
}

// Read ends with an *Error unless the answer came whole.
func (s *stream) Read(p []byte) (int, error) {
	if s.r.quiet > 0 {
		defer s.within(s.r.quiet)()
	}
	n, err := s.resp.Body.Read(p)
	if s.read += int64(n); s.limit > 0 && s.read > s.limit {
		return 0, s.r.unreadable(s.ctx, s.resp, fmt.Errorf("the answer is larger than %d bytes", s.limit))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.r.unreadable(s.ctx, s.resp, fmt.Errorf("the answer was cut: %w", err))
	}
	return n, err
}

// Close ends the answer where it is.
func (s *stream) Close() error {
	s.end()
	defer s.cancel(nil)
	return s.resp.Body.Close()
}
