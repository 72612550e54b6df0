package broker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/notice"
)

// heard serves a broker whose notices are kept.
func heard(t *testing.T, b *served) (url string, told func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	ctx := notice.With(t.Context(), func(text string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, text)
	})
	server := httptest.NewUnstartedServer(b)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// TestOutage: the user is told once that Anthropic fails, and that it answers
// again. Claude Code is told when there is no use in trying again.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failing http.HandlerFunc
		says    string
	}{
		"overloaded": {failing(529, "overloaded_error", "Overloaded"), "Anthropic is in trouble: 529 Overloaded"},
		"hung up":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "Anthropic does not answer: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var back atomic.Bool
			up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				if back.Load() {
					streamed(1, 1)(w, r)
					return
				}
				tt.failing(w, r)
			})
			var now atomic.Int64 // Unix seconds
			now.Store(1_800_000_000)
			b := serve(t, Config{Anthropic: up.URL, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
			url, told := heard(t, b)
			want := []string(nil)
			call := func(after time.Duration, retry string) {
				t.Helper()
				now.Add(int64(after.Seconds()))
				_, header, answer := do(t, http.MethodPost, url+"/anthropic/v1/messages", requestBody(``))
				if got := header.Get("X-Should-Retry"); got != retry || !slices.Equal(told(), want) {
					t.Errorf("X-Should-Retry %q, told %q; want %q, %q: %s", got, told(), retry, want, answer)
				}
			}
			last := "" // what the API answers, Claude Code decides on
			if name == "hung up" {
				last = "false"
			}
			call(0, "")
			want = []string{tt.says + "; trying again for 3m0s"}
			call(time.Second, "")
			call(patience-2*time.Second, "")
			call(time.Second, last)
			back.Store(true)
			want = append(want, "Anthropic answers again, after 3m10s")
			call(10*time.Second, "")
			back.Store(false)
			call(time.Hour, "")
		})
	}
}

// TestRetryAfter: Claude Code gives up when it is told to wait for more than
// a minute.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ asked, told int }{{5, 5}, {60, 60}, {61, 60}, {600, 60}, {601, 601}, {7200, 7200}} {
		up := newUpstream(t, failing(429, "rate_limit_error", "slow down", "Retry-After", strconv.Itoa(tt.asked)))
		b := serve(t, Config{Anthropic: up.URL})
		_, header, _ := b.post(t, requestBody(``))
		if got := header.Get("Retry-After"); got != strconv.Itoa(tt.told) {
			t.Errorf("%d seconds became %q, want %d", tt.asked, got, tt.told)
		}
		if r, _ := b.Refusal(); r.RetryAfter != time.Duration(tt.asked)*time.Second {
			t.Errorf("%d seconds are noted as %s", tt.asked, r.RetryAfter)
		}
	}
	up := newUpstream(t, failing(429, "rate_limit_error", "limit", "Retry-After", "90",
		"Anthropic-Ratelimit-Unified-Reset", "1800000000", "Anthropic-Ratelimit-Unified-Status", "rejected"))
	if _, header, _ := serve(t, Config{Anthropic: up.URL}).post(t, requestBody(``)); header.Get("Retry-After") != "90" {
		t.Errorf("a usage limit is not waited for, but Retry-After is %q", header.Get("Retry-After"))
	}
}

// TestGitOutage: the first request of a fetch waits for a host that is away.
func TestGitOutage(t *testing.T) {
	t.Parallel()
	const ok = 4 // the request that is answered
	var requests atomic.Int64
	host := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n == 1:
			<-r.Context().Done()
		case n == 2:
			panic(http.ErrAbortHandler)
		case n < ok || r.Method == http.MethodPost:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, "0000")
		}
	})
	b := serve(t, Config{GitURL: host.URL, Repositories: []string{"demo/shop"}})
	b.pause, b.idle = time.Millisecond, 500*time.Millisecond
	url, told := heard(t, b)
	status, _, answer := do(t, http.MethodGet, url+"/git/demo/shop.git/info/refs?service=git-upload-pack", "")
	if status != http.StatusOK || requests.Load() != ok {
		t.Errorf("got %d %q after %d requests", status, answer, requests.Load())
	}
	if all := told(); len(all) != 2 || !strings.HasPrefix(all[0], "GitHub does not answer git (it said nothing for 500ms); trying again for ") || !strings.HasPrefix(all[1], "GitHub answers again") {
		t.Errorf("told %q", all)
	}
	do(t, http.MethodPost, url+"/git/demo/shop.git/git-upload-pack", "0000", "Content-Type", "application/x-git-upload-pack-request")
	if requests.Load() != ok+1 {
		t.Errorf("what has a body was sent %d times", requests.Load()-ok)
	}
}
