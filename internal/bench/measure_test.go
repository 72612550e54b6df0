package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// script is a timed that takes what it is told, call by call, and notes its
// name.
func script(name string, calls *[]string, took ...time.Duration) timed {
	return func(context.Context) (time.Duration, error) {
		*calls = append(*calls, name)
		n := 0
		for _, c := range *calls {
			if c == name {
				n++
			}
		}
		if took[n-1] < 0 {
			return 0, errors.New(name + " broke")
		}
		return took[n-1], nil
	}
}

func TestCompare(t *testing.T) {
	var calls []string
	// The first call of each is the warm-up.
	got, err := compare(t.Context(), 3, script("ours", &calls, 1000, 12, 30, 14), script("baseline", &calls, 1, 10, 20, 13))
	if err != nil {
		t.Fatal(err)
	}
	if want := (comparison{ours: 14, baseline: 13, difference: 2}); got != want {
		t.Errorf("compare: %+v, want %+v", got, want)
	}
	want := []string{"ours", "baseline", "baseline", "ours", "ours", "baseline", "baseline", "ours"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls in the order %v, want %v", calls, want)
	}
}

func TestCompareStopsAtAnError(t *testing.T) {
	var calls []string
	_, err := compare(t.Context(), 3, script("ours", &calls, 1, 1), script("baseline", &calls, -1))
	if err == nil || !strings.Contains(err.Error(), "baseline broke") || len(calls) != 2 {
		t.Errorf("error %v after %v", err, calls)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []time.Duration
		want time.Duration
	}{
		{[]time.Duration{5}, 5},
		{[]time.Duration{9, 1}, 5},
		{[]time.Duration{9, 1, 2}, 2},
		{[]time.Duration{40, 10, 20, 30}, 25},
	} {
		given := slices.Clone(c.of)
		if got := median(c.of); got != c.want || !slices.Equal(given, c.of) {
			t.Errorf("median(%v) = %v, leaving %v; want %v", given, got, c.of, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	late := comparison{ours: 2500 * time.Millisecond, baseline: time.Second, difference: 1500 * time.Millisecond}
	var out strings.Builder
	if err := printTable(&out, []row{
		late.row("a run", time.Second, time.Millisecond),
		{what: "a size", ours: mebibytes(3 << 20), aim: "at most 4.0 MiB", met: true},
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"MEASURED DAYCLAUDE BASELINE RATIO DIFFERENCE AIM",
		"a run 2.5s 1s 2.50 +1.5s at most +1s MISSED",
		"a size 3.0 MiB at most 4.0 MiB met",
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if got := strings.Join(strings.Fields(line), " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d: %q", i, got)
		}
	}
}
