package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"time"
)

const many = 1000 // sandboxes

// listing compares `sandboxes list` with a plain read of the same pages, and
// what it needs for many sandboxes with what it needs for ten.
func listing(ctx context.Context, program string, rounds int) (_ []row, err error) {
	const aimFirst, aimMemory = 300 * time.Millisecond, 8 << 20
	var peaks [2]int64
	var fleets [2]*fleet
	for i, n := range []int{10, many} {
		if fleets[i], err = newFleet(ctx, n, 0); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, fleets[i].close(context.WithoutCancel(ctx))) }()
	}
	first := func(ctx context.Context) (took time.Duration, err error) {
		for i, f := range fleets {
			var peak int64
			if took, _, peak, err = f.list(ctx, program); err != nil {
				return 0, err
			}
			peaks[i] = max(peaks[i], peak)
		}
		return took, nil
	}
	whole := func(ctx context.Context) (time.Duration, error) {
		_, took, _, err := fleets[1].list(ctx, program)
		return took, err
	}
	plain := func(ctx context.Context) (time.Duration, error) { return fleets[1].read(ctx) }
	started, err := compare(ctx, rounds, first, plain)
	if err != nil {
		return nil, err
	}
	ended, err := compare(ctx, rounds, whole, plain)
	if err != nil {
		return nil, err
	}
	r := started.row(fmt.Sprintf("sandboxes list of %d, its first row, against a plain read of all", many), 0, time.Millisecond)
	r.aim, r.met = "at most "+aimFirst.String()+" in all", started.ours <= aimFirst
	more := peaks[1] - peaks[0]
	return []row{
		r,
		ended.row(fmt.Sprintf("sandboxes list of %d, to its end, against the same", many), time.Second, time.Millisecond),
		{
			what: fmt.Sprintf("peak memory of sandboxes list of %d, against one of 10", many),
			ours: mebibytes(peaks[1]), baseline: mebibytes(peaks[0]), ratio: fmt.Sprintf("%.2f", float64(peaks[1])/float64(peaks[0])),
			extra: mebibytes(more), aim: "at most +" + mebibytes(aimMemory), met: more <= aimMemory,
		},
	}, nil
}

// list runs the command and returns when its first row came, when it ended,
// and the most memory it held, in bytes.
func (f *fleet) list(ctx context.Context, program string) (first, whole time.Duration, peak int64, err error) {
	c := exec.CommandContext(ctx, program, "sandboxes", "list")
	var said bytes.Buffer
	c.Env, c.Stderr = f.env(), &said
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, 0, 0, err
	}
	begin := time.Now()
	if err := c.Start(); err != nil {
		return 0, 0, 0, err
	}
	over, peaks := make(chan struct{}), make(chan int64)
	go func() { peaks <- watchMemory(c.Process.Pid, over) }()
	rows := -1 // the heads
	for lines := bufio.NewScanner(out); lines.Scan(); rows++ {
		if rows == 0 {
			first = time.Since(begin)
		}
	}
	err = c.Wait()
	whole = time.Since(begin)
	close(over)
	peak = <-peaks
	if err != nil || rows != len(f.ids) {
		return 0, 0, 0, fmt.Errorf("sandboxes list printed %d rows: %w\n%s", rows, err, said.Bytes())
	}
	return first, whole, peak, nil
}

// read reads all pages of sandboxes, as they are.
func (f *fleet) read(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	for query := "limit=200"; ; {
		resp, err := f.ask(ctx, "GET", "/sandbox?"+query)
		if err != nil {
			return 0, err
		}
		content, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return 0, err
		}
		var page struct{ NextCursor string }
		if err := json.Unmarshal(content, &page); err != nil {
			return 0, err
		}
		if page.NextCursor == "" {
			return time.Since(begin), nil
		}
		query = "limit=200&cursor=" + url.QueryEscape(page.NextCursor)
	}
}

// cleaning compares `sandboxes gc` with deleting the same sandboxes one after
// the other, by a Daytona that takes as long as one across a network.
func cleaning(ctx context.Context, program string) ([]row, error) {
	const latency, rounds, aim = 10 * time.Millisecond, 2, 0.5
	onFleet := func(do func(context.Context, *fleet) error) timed {
		return func(ctx context.Context) (took time.Duration, err error) {
			f, err := newFleet(ctx, many, latency)
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, f.close(context.WithoutCancel(ctx))) }()
			begin := time.Now()
			err = do(ctx, f)
			return time.Since(begin), err
		}
	}
	ours := onFleet(func(ctx context.Context, f *fleet) error {
		c := exec.CommandContext(ctx, program, "sandboxes", "gc", "--json")
		var out, said bytes.Buffer
		c.Env, c.Stdout, c.Stderr = f.env(), &out, &said
		if err := c.Run(); err != nil {
			return fmt.Errorf("sandboxes gc: %w\n%s", err, said.Bytes())
		}
		var told struct{ Sandboxes []any }
		if err := json.Unmarshal(out.Bytes(), &told); err != nil || len(told.Sandboxes) != many {
			return fmt.Errorf("sandboxes gc dealt with %d sandboxes: %w", len(told.Sandboxes), err)
		}
		return nil
	})
	plain := onFleet(func(ctx context.Context, f *fleet) error {
		for _, id := range f.ids {
			resp, err := f.ask(ctx, "DELETE", "/sandbox/"+id)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
			if err := resp.Body.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	c, err := compare(ctx, rounds, ours, plain)
	if err != nil {
		return nil, err
	}
	r := c.row(fmt.Sprintf("sandboxes gc over %d, %s away, against DELETE after DELETE", many, latency), 0, 10*time.Millisecond)
	r.ours += fmt.Sprintf(" (%.0f/s)", many/c.ours.Seconds())
	r.aim, r.met = fmt.Sprintf("ratio at most %.1f", aim), float64(c.ours) <= aim*float64(c.baseline)
	return []row{r}, nil
}
