package sandboxes

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
)

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
