// Package broker lends a run the use of the host's keys without showing them.
//
// A Broker serves what comes out of the sandbox through the tunnel, so its
// callers are hostile. It forwards calls of Anthropic's Messages API for the
// allowed models, and reading of the allowed git repositories; it adds the
// credential, counts what the calls cost and refuses what goes past the run's
// limit. Everything else ends here:
//
//	POST /anthropic/v1/messages
//	POST /anthropic/v1/messages/count_tokens
//	GET  /git/{owner}/{name}.git/info/refs?service=git-upload-pack
//	POST /git/{owner}/{name}.git/git-upload-pack
//
// The http.Server it runs in bounds connections and request headers; the
// broker bounds bodies, answers and their time, and how often it asks upstream.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// Defaults of Config, and bounds.
const (
	DefaultAnthropic = "https://api.anthropic.com"
	DefaultGitURL    = "https://github.com/"

	maxBody       = 32 << 20 // of a Messages request: the API's own limit
	maxHeldBodies = 64 << 20 // of all request bodies that a broker holds at once
	maxError      = 64 << 10 // of an upstream's error answer
	maxPack       = 16 << 20 // of what git asks for

	uploadTime = 5 * time.Minute  // for a request's body to arrive
	idleTime   = 3 * time.Minute  // without a byte from the upstream or to the caller; also for the first byte
	wholeTime  = 10 * time.Minute // for the first byte of an answer that is not streamed

	// How often the upstreams are asked is bounded, where Claude with all its
	// subagents does not come near: a sandbox that calls at line rate, say for
	// counts of tokens, which cost nothing, or for calls that the API refuses,
	// would use up what the key may ask for.
	burst    = 500 // requests that need not wait
	interval = 100 * time.Millisecond
)

// Credential is Anthropic's key, or the token of a subscription: one of them.
type Credential struct {
	APIKey, OAuth secret.String
}

// Config is what a Broker may lend, and to whom it sends it.
type Config struct {
	Anthropic string // base URL; "": DefaultAnthropic
	Credential
	Models     []string // ids that may be called; with a date or without
	MaxCostUSD float64  // limit of the run; 0: none
	Spent      run.Cost // by earlier attempts of the run; counts towards the limit

	GitURL       string   // where the repositories are; "": DefaultGitURL
	Repositories []string // owner/name that may be read, whatever the case
	// GitToken returns the token to read a repository with, as spelled in
	// Repositories; a zero one reads without. nil: all are read without.
	GitToken func(ctx context.Context, repository string) (secret.String, error)

	HTTP *http.Client     // nil: one of the broker's own; redirects are never followed
	Log  *slog.Logger     // nil: silent
	Now  func() time.Time // nil: time.Now
	// OnReserve is told before each call what the run has spent so far,
	// Config.Spent included, with what is reserved for the calls under way; its
	// error keeps the call from being forwarded. OnUsage is told the same
	// after each call. Neither is called by two calls at once. nil: not told.
	OnReserve func(run.Cost) error
	OnUsage   func(run.Cost)
	// Bodies bounds the bytes of request bodies held at once; checking one
	// takes about four times its size for a moment. Share one between brokers
	// to bound the process. nil: 64 MiB of the broker's own. It must hold at
	// least 32 MiB.
	Bodies *semaphore.Weighted
}

// Broker is an http.Handler for one run.
type Broker struct {
	cfg          Config
	anthropic    string            // without a slash at its end
	gitURL       string            // with one
	repositories map[string]string // lower case → as configured
	client       *http.Client
	log          *slog.Logger
	budget       *budget
	redactor     *secret.Redactor // of what the API says when it fails
	pace         *pause.Pace      // of requests to the upstreams
	refusals     atomic.Int64
	refusedMu    sync.Mutex
	refused      Refusal   // of the last model call; zero if it was answered
	failing      time.Time // since when the upstream fails model calls; zero if it does not

	upload, idle, whole, outage, pause time.Duration // see the constants
}

// New checks the configuration. Errors are *fault.Error of kind Usage or Auth.
func New(cfg Config) (*Broker, error) {
	b := &Broker{
		cfg: cfg, client: client(cfg.HTTP), log: cfg.Log, upload: uploadTime, idle: idleTime, whole: wholeTime,
		outage: gitOutage, pause: gitPause, pace: &pause.Pace{Burst: burst, Interval: interval},
		repositories: make(map[string]string),
		redactor:     secret.NewRedactor(cfg.APIKey, cfg.OAuth),
		budget: &budget{
			limit: cfg.MaxCostUSD, spent: cfg.Spent, freed: make(chan struct{}),
			onReserve: cfg.OnReserve, onUsage: cfg.OnUsage,
		},
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.cfg.Now == nil {
		b.cfg.Now = time.Now
	}
	b.budget.clock = b.cfg.Now
	if b.cfg.Bodies == nil {
		b.cfg.Bodies = semaphore.NewWeighted(maxHeldBodies)
	}
	var err error
	if b.anthropic, err = baseURL(cfg.Anthropic, DefaultAnthropic); err != nil {
		return nil, err
	}
	if b.gitURL, err = baseURL(cfg.GitURL, DefaultGitURL); err != nil {
		return nil, err
	}
	b.gitURL += "/"
	if cfg.APIKey.IsZero() == cfg.OAuth.IsZero() {
		return nil, fault.New(fault.Auth, "the broker needs either an Anthropic API key or a subscription's token").
			WithHint("set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN")
	}
	if len(cfg.Models) == 0 || cfg.MaxCostUSD < 0 {
		return nil, fault.New(fault.Usage, "the broker needs a model and a cost limit that is not negative")
	}
	for _, m := range cfg.Models {
		if err := CheckPrice(m, cfg.MaxCostUSD); err != nil {
			return nil, err
		}
	}
	for _, r := range cfg.Repositories {
		if owner, name, ok := strings.Cut(r, "/"); !ok || !validName(owner) || !validName(name) {
			return nil, fault.New(fault.Usage, "%q is not a repository's owner/name", r)
		}
		b.repositories[strings.ToLower(r)] = r
	}
	return b, nil
}

// Spent is what the run has spent so far, with what earlier attempts did.
func (b *Broker) Spent() run.Cost {
	b.budget.mu.Lock()
	defer b.budget.mu.Unlock()
	return b.budget.spent
}

// Exhausted returns a *fault.Error of kind Limit once a call was refused
// because of its cost.
func (b *Broker) Exhausted() error {
	b.budget.mu.Lock()
	defer b.budget.mu.Unlock()
	return b.budget.refused
}

// ServeHTTP forwards the request, or says why not. It compares the path as it
// was sent: nothing is decoded or cleaned, so nothing can be spelled in a way
// that means another thing upstream.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Also for a refused request, whose body net/http reads before it answers.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.upload)) // fails only where there are no deadlines
	path := r.URL.EscapedPath()
	rest, isGit := strings.CutPrefix(path, "/git/")
	switch {
	case r.URL.IsAbs() || r.Method == http.MethodConnect:
		b.refuse(w, r, forbidden("dayclaude's broker is not a proxy"))
	case isGit:
		b.git(w, r, rest)
	case path == "/anthropic/v1/messages" && r.Method == http.MethodPost:
		b.messages(w, r)
	case path == "/anthropic/v1/messages/count_tokens" && r.Method == http.MethodPost:
		b.countTokens(w, r)
	case strings.HasPrefix(path, "/anthropic/"):
		b.refuse(w, r, forbidden("dayclaude forwards only POST /v1/messages and its token count"))
	default:
		b.refuse(w, r, &refusal{http.StatusNotFound, "not_found_error", "there is nothing here"})
	}
}

// arrived is called when a request's body was read: net/http takes a reading
// deadline that passes later for the caller's going away.
func arrived(w http.ResponseWriter) { _ = http.NewResponseController(w).SetReadDeadline(time.Time{}) }

// Refused is how many requests were refused, or could not be forwarded.
func (b *Broker) Refused() int64 { return b.refusals.Load() }

// logRefusal logs the first refusals; a hostile caller must not fill the log.
func (b *Broker) logRefusal(r *http.Request, status int, reason string) {
	const most = 100
	if b.refusals.Add(1) <= most {
		b.log.Warn("broker refused a request", "method", fmt.Sprintf("%.20s", r.Method),
			"path", fmt.Sprintf("%.200q", r.URL.EscapedPath()), "status", status, "reason", reason)
	}
}

// baseURL checks a base URL and takes the slash off its end.
func baseURL(s, otherwise string) (string, error) {
	if s == "" {
		s = otherwise
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Usage, "a base URL must be http(s)://host[/path], without a user or a query")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// validName reports whether s can be an owner's or a repository's name.
func validName(s string) bool { return namePattern.MatchString(s) && s != "." && s != ".." }

// client returns c, or a client of our own, without redirects, cookies and a
// time limit for whole calls.
func client(c *http.Client) *http.Client {
	own := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if c != nil {
		own.Transport = c.Transport
		return &own
	}
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.DisableCompression = true
		t.MaxIdleConnsPerHost = 16
		// A connection that went dead unnoticed would be used for call after call.
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
		own.Transport = t
	}
	return &own
}

// errRedirect is an upstream's wish to have the credential sent elsewhere.
var errRedirect = errors.New("the upstream redirects, which the broker doesn't follow")

// silence is why a call ends whose other side says nothing for so long.
type silence time.Duration

func (s silence) Error() string { return "it said nothing for " + time.Duration(s).String() }

// watch ends a call after a time; reset the watch when its other side is heard.
func watch(cancel context.CancelCauseFunc, limit time.Duration) *time.Timer {
	return time.AfterFunc(limit, func() { cancel(silence(limit)) })
}

// exchange sends a request upstream when it is its turn. It ends when the
// upstream is silent for too long before its answer's head; relay watches over
// the rest. The answer no longer refers to the request, so that its body is
// not kept in memory.
func (b *Broker) exchange(cancel context.CancelCauseFunc, req *http.Request, limit time.Duration) (*http.Response, error) {
	if b.pace.Wait(req.Context(), b.cfg.Now()) != nil {
		return nil, req.Context().Err()
	}
	silent := watch(cancel, limit)
	defer silent.Stop()
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Request = nil
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Body.Close()
		return nil, errRedirect
	}
	return resp, nil
}

// relay copies an answer's body to the caller and each tap, flushing each
// read. It gives up when either side is silent for too long.
func (b *Broker) relay(w http.ResponseWriter, body io.Reader, cancel context.CancelCauseFunc, taps ...io.Writer) error {
	rc := http.NewResponseController(w)
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // the connection may serve further requests
	silent := watch(cancel, b.idle)
	defer silent.Stop()
	out := io.MultiWriter(append(taps, w)...)
	buf := make([]byte, 32<<10)
	if err := rc.Flush(); err != nil { // the head
		return err
	}
	for {
		n, err := body.Read(buf)
		silent.Reset(b.idle)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(b.idle)) // fails only where there are no deadlines
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
			if err := rc.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyHeaders copies the headers that allowed knows, by their canonical name.
func copyHeaders(to, from http.Header, allowed func(name string) bool) {
	for name, values := range from {
		if allowed(name) && len(values) > 0 {
			to.Set(name, values[0])
		}
	}
}
