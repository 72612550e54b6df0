package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dayclaude/dayclaude/snapshot"
)

// hello is the least that a Go program can be.
const hello = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"

// coldStart compares `dayclaude --version` with a Go program that prints a
// line, both in the page cache.
func coldStart(ctx context.Context, program string, rounds int) ([]row, error) {
	const aim = 10 * time.Millisecond
	dir, err := os.MkdirTemp("", "dayclaude-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, least := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte(hello), 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", least, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	start := func(program string, args ...string) timed {
		return func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			err := exec.CommandContext(ctx, program, args...).Run()
			return time.Since(begin), err
		}
	}
	c, err := compare(ctx, rounds, start(program, "--version"), start(least))
	if err != nil {
		return nil, err
	}
	r := c.row("cold start, against a hello in Go", aim, 100*time.Microsecond)
	r.aim, r.met = "at most "+aim.String()+" in all", c.ours <= aim
	return []row{r}, nil
}

// sandboxdSizes tells how large sandboxd is as it travels.
func sandboxdSizes() ([]row, error) {
	const aim = 4 << 20
	var rows []row
	for _, arch := range []string{"amd64", "arm64"} {
		binary, err := snapshot.Sandboxd(arch)
		if err != nil {
			return nil, err
		}
		var packed counter
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(binary); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		rows = append(rows, row{
			what: "size of sandboxd for " + arch + ", gzip", ours: mebibytes(int64(packed)),
			aim: "at most " + mebibytes(aim), met: packed <= aim,
		})
	}
	return rows, nil
}

// counter counts what is written to it.
type counter int64

var _ io.Writer = (*counter)(nil)

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
