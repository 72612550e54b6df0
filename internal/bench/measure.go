package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one line of the table. Rows of sizes have no baseline.
type row struct {
	what           string
	ours, baseline string
	ratio, extra   string // ours against the baseline
	aim            string
	met            bool
}

// printTable writes the rows under the names of their columns.
func printTable(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEASURED\tDAYCLAUDE\tBASELINE\tRATIO\tDIFFERENCE\tAIM\t")
	for _, r := range rows {
		verdict := "met"
		if !r.met {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.baseline, r.ratio, r.extra, r.aim, verdict)
	}
	return t.Flush()
}

// timed does something once and says how long the part took that counts.
type timed func(context.Context) (time.Duration, error)

// compare does ours and baseline in turn, so that both meet the same load, and
// in the other order every other round. Round 0 warms up and does not count.
// The difference is the median of the rounds' differences.
func compare(ctx context.Context, rounds int, ours, baseline timed) (r comparison, err error) {
	var a, b, differences []time.Duration
	for round := range rounds + 1 {
		var took [2]time.Duration
		for turn := range 2 {
			which := (turn + round) % 2
			if took[which], err = []timed{ours, baseline}[which](ctx); err != nil {
				return r, err
			}
		}
		if round == 0 {
			continue
		}
		a, b, differences = append(a, took[0]), append(b, took[1]), append(differences, took[0]-took[1])
	}
	return comparison{median(a), median(b), median(differences)}, nil
}

// comparison holds medians.
type comparison struct{ ours, baseline, difference time.Duration }

// row shows a comparison, with an aim for the difference.
func (c comparison) row(what string, aim, unit time.Duration) row {
	return row{
		what: what,
		ours: c.ours.Round(unit).String(), baseline: c.baseline.Round(unit).String(),
		ratio: fmt.Sprintf("%.2f", float64(c.ours)/float64(c.baseline)), extra: signed(c.difference.Round(unit)),
		aim: "at most " + signed(aim), met: c.difference <= aim,
	}
}

func signed(d time.Duration) string {
	if d < 0 {
		return d.String()
	}
	return "+" + d.String()
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return (d[(len(d)-1)/2] + d[len(d)/2]) / 2
}
