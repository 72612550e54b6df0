// Bench measures dayclaude against doing the same without it, on this machine
// and in one run, and prints a table with the aims beside. It asserts nothing:
// times are for people to judge.
//
//	make bench
//	go run -tags embed_sandboxd ./internal/bench -rounds 3 -only process,cold
//
// It needs what `make build claude test-image` makes, git, and a Docker
// engine for the rows that say docker.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// options say what is measured.
type options struct {
	program string
	rounds  int // of a comparison of runs; cheaper comparisons have more
	only    string
	verbose bool
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 7, "how often each side of a comparison of runs is measured")
	flag.StringVar(&o.only, "only", "docker,process,broker,cold,size,list,gc,cp", "what to measure")
	flag.StringVar(&o.program, "dayclaude", "dist/dayclaude", "the `program` to measure")
	flag.BoolVar(&o.verbose, "verbose", false, "print what run-issue does, with times")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench measures what is asked for and prints the table.
func bench(ctx context.Context, o options) (err error) {
	if o.program, err = filepath.Abs(o.program); err != nil {
		return err
	}
	parts := []struct {
		name    string
		measure func() ([]row, error)
	}{
		{engineDocker, func() ([]row, error) { return runs(ctx, o, engineDocker) }},
		{engineProcess, func() ([]row, error) { return runs(ctx, o, engineProcess) }},
		{"broker", func() ([]row, error) { return brokerCalls(ctx, 50*o.rounds) }},
		{"cold", func() ([]row, error) { return coldStart(ctx, o.program, 20*o.rounds) }},
		{"size", sandboxdSizes},
		{"list", func() ([]row, error) { return listing(ctx, o.program, o.rounds) }},
		{"gc", func() ([]row, error) { return cleaning(ctx, o.program) }},
		{"cp", func() ([]row, error) { return transfers(ctx, o.program, min(o.rounds, 3)) }},
	}
	var rows []row
	for _, p := range parts {
		if !slices.Contains(strings.Split(o.only, ","), p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", p.name)
		measured, err := p.measure()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, measured...)
	}
	fmt.Printf("%d cores, load %s, %s/%s, %s; medians of %d rounds, sides in turn\n\n", runtime.NumCPU(), load(), runtime.GOOS, runtime.GOARCH, runtime.Version(), o.rounds)
	return printTable(os.Stdout, rows)
}

// load is the machine's load of the last minute, where the system tells it.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(content), " ")
	return one
}
