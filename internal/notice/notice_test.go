package notice_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/notice"
)

func TestNotices(t *testing.T) {
	t.Parallel()
	var told []string
	ctx := notice.With(t.Context(), func(text string) { told = append(told, text) })
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	start := time.Unix(1000, 0)
	away := func(service string) { notice.Away(inner, service, start, errors.New("no answer"), time.Minute) }

	notice.Back(inner, "GitHub", start) // was never away
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() { away("GitHub") })
	}
	calls.Wait()
	away("Daytona")
	notice.Back(inner, "GitHub", start.Add(90*time.Second))
	notice.Back(inner, "GitHub", start.Add(99*time.Second))
	for range 2 {
		notice.Tell(inner, "slow")
	}
	notice.Tell(inner, "slower")
	away("GitHub")
	want := []string{
		"no answer; trying again for 1m0s", "no answer; trying again for 1m0s", // of each service
		"GitHub answers again, after 1m30s", "slow", "slower", "no answer; trying again for 1m0s",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q\nwant %q", told, want)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	notice.Tell(t.Context(), "slow")
	notice.Away(t.Context(), "GitHub", time.Now(), errors.New("no answer"), time.Minute)
	notice.Back(t.Context(), "GitHub", time.Now())
}
