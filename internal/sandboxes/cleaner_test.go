package sandboxes

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
)

// TestPace lets a minute's worth through at once, then the rate; whoever waits
// can be told to stop.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, began := newPace(60, time.Now), time.Now()
		for n := range 90 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want := time.Duration(max(0, n-59)) * time.Second; time.Since(began) != want {
				t.Fatalf("the call %d went after %s, want %s", n, time.Since(began), want)
			}
		}
		time.Sleep(10 * time.Minute) // it saves no more than a minute's worth
		began = time.Now()
		for range 61 {
			_ = p.wait(t.Context())
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("61 calls took %s", got)
		}
		why := errors.New("enough")
		ctx, stop := context.WithCancelCause(t.Context())
		stop(why)
		if err := p.wait(ctx); !errors.Is(err, why) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// TestPerMinute takes a quarter of the tightest limit, or of the usual one.
func TestPerMinute(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]int{
		`{"rateLimit":{"authenticated":{"ttl":60,"limit":10000},"sandboxLifecycle":{"ttl":60,"limit":10000}}}`: 1250,
		`{"rateLimit":{"authenticated":{"ttl":60,"limit":50000},"sandboxLifecycle":{"ttl":60,"limit":400}}}`:   100,
		`{"rateLimit":{"sandboxLifecycle":{"ttl":1,"limit":1}}}`:                                               15,
		`{"rateLimit":{"sandboxLifecycle":{"ttl":3600,"limit":1}}}`:                                            1,
		`{"rateLimit":{"authenticated":{"ttl":0,"limit":100}}}`:                                                1250,
		`{}`: 1250,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(config))
		}))
		transport := &http.Transport{}
		client, err := daytona.New(daytona.Config{BaseURL: server.URL, Key: secret.New("dtn_key"), HTTP: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		c := &Cleaner{Keeper: &Keeper{Daytona: client}}
		if got := c.perMinute(t.Context()); got != want {
			t.Errorf("%s: %d a minute, want %d", config, got, want)
		}
		transport.CloseIdleConnections()
		server.Close()
	}
}

func TestDriver(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	c := &Cleaner{
		Keeper: &Keeper{Now: func() time.Time { return now }}, Process: "me",
		Dead: func(owner string) bool { return owner == "dead" },
	}
	for owner, lives := range map[string]bool{"alive": true, "dead": false, store.CleanUp + "another": true, store.CleanUp + "me": false} {
		for until, runs := range map[time.Duration]bool{time.Second: true, 0: false} {
			held := &store.Held{Owner: owner, Until: now.Add(until)}
			if got := c.driver(Sandbox{Owner: &store.Owned{Held: held}}) != nil; got != (lives && runs) {
				t.Errorf("%s with %s left drives: %v", owner, until, got)
			}
		}
	}
	if c.driver(Sandbox{}) != nil || c.driver(Sandbox{Owner: &store.Owned{}}) != nil {
		t.Error("nobody drives")
	}
}
