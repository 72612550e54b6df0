package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/devstack/lightclaude"
	"github.com/dayclaude/dayclaude/internal/e2e"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
)

// link is a way from the command line to others, through fault proxies.
type link struct {
	t      *testing.T
	server *toxiproxy.ApiServer
	host   string // its own: nobody else takes a port that is free while the link is down

	mu      sync.Mutex
	proxies map[string]*toxiproxy.Proxy // by the address that they lead to
	toxics  []string                    // as Toxiproxy's API takes them
	down    bool
}

func newLink(t *testing.T) *link {
	l := &link{
		t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		host:    fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)),
		proxies: map[string]*toxiproxy.Proxy{},
	}
	t.Cleanup(func() { l.each((*toxiproxy.Proxy).Stop) })
	return l
}

// to is the address of the proxy to an address.
func (l *link) to(address string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.proxies[address]
	if p != nil {
		return p.Listen
	}
	p = toxiproxy.NewProxy(l.server, address, l.host+":0", address)
	if err := p.Start(); err != nil {
		l.t.Error(err)
	}
	l.proxies[address] = p
	if l.down {
		p.Stop()
	}
	for _, toxic := range l.toxics {
		l.add(p, toxic)
	}
	return p.Listen
}

func (l *link) add(p *toxiproxy.Proxy, toxic string) {
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		l.t.Error(err)
	}
}

func (l *link) each(do func(*toxiproxy.Proxy)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.proxies {
		do(p)
	}
}

// poison makes the link bad, until cure.
func (l *link) poison(toxics []string) {
	l.each(func(p *toxiproxy.Proxy) {
		for _, toxic := range toxics {
			l.add(p, toxic)
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toxics = toxics
}

func (l *link) cure() {
	l.each(func(p *toxiproxy.Proxy) { p.Toxics.ResetToxics(context.Background()) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toxics = nil
}

// up says whether there is anybody at the link's other end.
func (l *link) up(up bool) {
	l.mu.Lock()
	l.down = !up
	l.mu.Unlock()
	l.each(func(p *toxiproxy.Proxy) {
		if !up {
			p.Stop()
		} else if err := p.Start(); err != nil {
			l.t.Error(err)
		}
	})
}

// links are all ways out of the command line.
type links struct{ github, daytona, sandbox, anthropic *link }

// linked makes a stack with fault proxies between its parts.
func linked(t *testing.T, making *sync.Mutex) (*e2e.Stack, links, string) {
	t.Helper()
	making.Lock() // many at once would starve each other
	defer making.Unlock()
	o := lightModel(goodDay)
	o.Engine = e2e.Process
	s := e2e.New(t, o)
	l := links{newLink(t), newLink(t), newLink(t), newLink(t)}
	s.Env["ANTHROPIC_BASE_URL"] = "http://" + l.anthropic.to(strings.TrimPrefix(s.Anthropic.URL(), "http://"))
	s.Env["GITHUB_API_URL"] = front(t, s.GitHub.APIURL(), l.github, nil)
	s.Env["DAYTONA_API_URL"] = front(t, s.Daytona.URL(), l.daytona, l.sandbox)
	settings := "env: {" + lightclaude.RealPauses + ": yes}\n"
	ref := s.Add(small("linked", fstest.MapFS{".github/dayclaude.yml": {Data: []byte(settings)}}), github.Issue{Title: "Add done"})
	return s, l, ref
}

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// front puts a link before a service, whose answers then name the link in the
// service's place, and others for whatever else they name.
func front(t *testing.T, service string, own, others *link) string {
	t.Helper()
	base, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	var address string // of the link
	rename := func(found string) string {
		switch {
		case found == base.Host:
			return address
		case others != nil:
			return others.to(found)
		}
		return found // in somebody's words
	}
	transport := &http.Transport{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: base.Scheme, Host: base.Host}) },
		FlushInterval: -1,
		Transport:     transport,
		ModifyResponse: func(r *http.Response) error {
			for i, l := range r.Header["Link"] {
				r.Header["Link"][i] = loopback.ReplaceAllStringFunc(l, rename)
			}
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
				return nil
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body = []byte(loopback.ReplaceAllStringFunc(string(body), rename))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	address = own.to(server.Listener.Addr().String())
	return "http://" + address + base.Path
}

// sideBySide runs tests that mostly wait, all at once.
func sideBySide(t *testing.T, all map[string]func(*testing.T)) {
	t.Helper()
	var running sync.WaitGroup
	defer running.Wait()
	for name, test := range all {
		running.Go(func() { t.Run(name, test) })
	}
}

// wantLinkedDone holds what there has to be in the end: one of everything.
func wantLinkedDone(t *testing.T, s *e2e.Stack) {
	t.Helper()
	pull := s.Pull("demo/linked")
	wantOneCommit(t, s, "demo/linked", "main", pull.Head)
	if n, branches := len(s.Sandboxes()), s.Branches("demo/linked"); n != 1 || len(branches) != 2 || pull.Draft {
		t.Errorf("%d sandboxes, branches %v, pull request %+v", n, branches, pull)
	}
	holds(t, "the comment", s.Comment("demo/linked", 1).Body, "**Opened #")
	if broken := s.Anthropic.Broken(); broken != nil {
		t.Errorf("Claude met what the script does not expect: %q", broken)
	}
}

// TestFaultsBetweenParts makes each way between the command line and the
// others bad in the middle of a run. The run goes on to its end: with a fault
// that only slows it, while that lasts; with one that stops it, after the user
// was told and the fault went away. A connection that is half open is noticed
// by its silence.
func TestFaultsBetweenParts(t *testing.T) {
	t.Parallel()
	const down, up = `"stream": "downstream", `, `"stream": "upstream", `
	faults := map[string]struct {
		toxics []string
		stops  bool
	}{
		"latency":                 {[]string{`{"type": "latency", ` + down + `"attributes": {"latency": 300, "jitter": 200}}`, `{"type": "latency", ` + up + `"attributes": {"latency": 300, "jitter": 200}}`}, false},
		"bandwidth":               {[]string{`{"type": "bandwidth", ` + down + `"attributes": {"rate": 200}}`, `{"type": "bandwidth", ` + up + `"attributes": {"rate": 200}}`}, false},
		"slow close":              {[]string{`{"type": "slow_close", ` + down + `"attributes": {"delay": 3000}}`}, false},
		"cut":                     {[]string{`{"type": "timeout", ` + down + `"attributes": {"timeout": 100}}`}, true},
		"reset":                   {[]string{`{"type": "reset_peer", ` + down + `"attributes": {"timeout": 0}}`}, true},
		"half open, no answers":   {[]string{`{"type": "timeout", ` + down + `"attributes": {"timeout": 0}}`}, true},
		"half open, no questions": {[]string{`{"type": "timeout", ` + up + `"attributes": {"timeout": 0}}`}, true},
	}
	ways := map[string]struct {
		link  func(links) *link
		state run.State // before whose step the link goes bad
		told  string    // that it stops; a regular expression
	}{
		"GitHub":    {func(l links) *link { return l.github }, run.Committing, "GitHub at "},
		"git":       {func(l links) *link { return l.github }, run.Working, "GitHub does not answer git"},
		"Daytona":   {func(l links) *link { return l.daytona }, run.Provisioning, "Daytona d"},
		"sandbox":   {func(l links) *link { return l.sandbox }, run.Working, "opening the tunnel again|the connection to the sandbox broke"},
		"Anthropic": {func(l links) *link { return l.anthropic }, run.Working, "a call of the model failed"},
	}
	all := map[string]func(*testing.T){}
	var making sync.Mutex
	for where, w := range ways {
		for what, f := range faults {
			all[where+", "+what] = func(t *testing.T) {
				s, l, ref := linked(t, &making)
				bad, told := w.link(l), regexp.MustCompile(w.told)
				var once sync.Once
				s.Moments(func(state run.State, m engine.Moment) {
					if state == w.state && m == engine.Before {
						once.Do(func() { bad.poison(f.toxics) })
					}
				})
				c := s.Start("run-issue", ref)
				if f.stops {
					eventually(t, c, "the fault to be told", func() bool { return told.MatchString(c.Stderr()) })
					bad.cure()
				}
				eventually(t, c, "the end", c.Ended)
				wantExit(t, c.Wait(), 0)
				wantLinkedDone(t, s)
			}
		}
	}
	sideBySide(t, all)
}

// eventually waits for longer than a stack does: some faults show only by
// minutes of silence.
func eventually(t *testing.T, c *e2e.Command, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(8 * time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) || c.Ended() && !holds() {
			t.Fatalf("waited in vain for %s:\n%s", what, c.Stderr())
		}
	}
}

// TestOutages takes each service away for two minutes before each step. The
// run goes on to its pull request, and tells of it where it had to wait.
func TestOutages(t *testing.T) {
	t.Parallel()
	const outage = 2 * time.Minute
	services := map[string]func(links) []*link{
		"GitHub":    func(l links) []*link { return []*link{l.github} },
		"Daytona":   func(l links) []*link { return []*link{l.daytona, l.sandbox} },
		"Anthropic": func(l links) []*link { return []*link{l.anthropic} },
	}
	told := map[string]string{
		"GitHub before freezing":      "GitHub answers again",
		"GitHub before working":       "GitHub answers again",
		"GitHub before merging":       "GitHub answers again", // it looks whether the base moved
		"GitHub before committing":    "GitHub answers again",
		"GitHub before publishing":    "GitHub answers again",
		"Daytona before provisioning": "Daytona answers again",
		"Daytona before working":      "Daytona answers again",
		"Daytona before harvesting":   "Daytona answers again",
		"Anthropic before working":    "Anthropic answers again",
	}
	all := map[string]func(*testing.T){}
	var making sync.Mutex
	for service, of := range services {
		for _, step := range run.Active {
			all[service+" before "+string(step)] = func(t *testing.T) {
				s, l, ref := linked(t, &making)
				over := make(chan struct{})
				var once sync.Once
				s.Moments(func(state run.State, m engine.Moment) {
					if state != step || m != engine.Before {
						return
					}
					once.Do(func() {
						for _, link := range of(l) {
							link.up(false)
						}
						time.AfterFunc(outage, func() {
							defer close(over)
							for _, link := range of(l) {
								link.up(true)
							}
						})
					})
				})
				c := s.Start("run-issue", ref)
				eventually(t, c, "the end", c.Ended)
				r := wantExit(t, c.Wait(), 0)
				<-over
				holds(t, "stderr", r.Stderr, told[service+" before "+string(step)])
				wantLinkedDone(t, s)
			}
		}
	}
	sideBySide(t, all)
}
