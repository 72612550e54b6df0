// Package hub is the one client of GitHub: it reads repositories, issues and
// files, and makes commits, branches, pull requests and comments.
//
// Reading is repeated with back-off when GitHub stumbles. Writing is made so
// that a caller may repeat it after a lost answer or a kill: a branch, a pull
// request and a comment are looked for before they are made, and a branch
// whose head carries the run's trailer is taken as that run's work. Nothing is
// ever forced.
//
// Errors carry a fault.Kind, a sentence and the next step. Underneath is an
// *Error with GitHub's status, or a *RateLimit that says until when.
package hub

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// DefaultAPIURL is where GitHub's own REST API is.
const DefaultAPIURL = "https://api.github.com/"

// Config says which GitHub, and as whom.
type Config struct {
	// APIURL is the REST API's base: DefaultAPIURL if empty,
	// https://HOST/api/v3/ for GitHub Enterprise Server. Plain http is taken on
	// loopback only, since the token travels with each request.
	APIURL string
	// Token authenticates each call. Without one, only public things can be read.
	Token     secret.String
	HTTP      *http.Client // nil: one with connection time-outs
	UserAgent string
	Log       *slog.Logger     // nil: none
	Now       func() time.Time // nil: time.Now
}

// Client talks to one GitHub as one user. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	agent string
	anon  bool // there is no token
	log   *slog.Logger
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
	patience

	mu      sync.Mutex
	viewer  string    // login, once asked
	blocked RateLimit // no call before its Until
}

// tokenSource gives the token for a call; App tokens are made when needed.
type tokenSource func(context.Context) (secret.String, error)

// New makes a client. A wrong Config is a fault.Usage; GitHub is not called.
func New(cfg Config) (*Client, error) {
	base, err := parseBase(cfg.APIURL)
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	token := func(context.Context) (secret.String, error) { return cfg.Token, nil }
	return &Client{
		base:     base,
		http:     newHTTP(cfg.HTTP, base, token),
		agent:    cfg.UserAgent,
		anon:     cfg.Token.IsZero(),
		log:      cfg.Log,
		now:      cfg.Now,
		sleep:    pause.For,
		patience: defaultPatience,
	}, nil
}

func parseBase(raw string) (*url.URL, error) {
	if raw == "" {
		raw = DefaultAPIURL
	}
	base, err := url.Parse(raw)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		// Not the URL itself: somebody may have put a token into it.
		return nil, fault.New(fault.Usage, "the GitHub API URL is not a plain https URL").
			WithHint("set GITHUB_API_URL to %s or https://HOST/api/v3/", DefaultAPIURL)
	}
	if base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return nil, fault.New(fault.Usage, "the GitHub API URL %s would send the token unencrypted", base).
			WithHint("set GITHUB_API_URL to an https URL")
	}
	if !strings.HasSuffix(base.Path, "/") {
		base.Path += "/"
	}
	return base, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// api returns a go-github client for one attempt. It is cheap, and a fresh one
// holds no memory of rate limits, which hub keeps itself: go-github's has its
// own clock and cannot wait.
func (c *Client) api() *github.Client {
	gh := github.NewClient(c.http)
	gh.BaseURL = c.base
	gh.UserAgent = c.agent
	return gh
}
