package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/notice"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// gitCall is one of the two requests of which a clone or fetch consists.
type gitCall struct {
	method, suffix, query string
	request, answer       string // content types
}

var gitCalls = []gitCall{
	{http.MethodGet, "/info/refs", "service=git-upload-pack", "", "application/x-git-upload-pack-advertisement"},
	{http.MethodPost, "/git-upload-pack", "", "application/x-git-upload-pack-request", "application/x-git-upload-pack-result"},
}

// git forwards the reading of a repository. rest is the path after /git/.
func (b *Broker) git(w http.ResponseWriter, r *http.Request, rest string) {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	i := slices.IndexFunc(gitCalls, func(c gitCall) bool {
		return c.method == r.Method && strings.HasSuffix(rest, c.suffix) && c.query == r.URL.RawQuery &&
			c.request == r.Header.Get("Content-Type")
	})
	if i < 0 {
		b.refuseGit(w, r, http.StatusForbidden, "dayclaude lets a sandbox only fetch; what it changes is published by the host")
		return
	}
	c := gitCalls[i]
	name := strings.TrimSuffix(strings.TrimSuffix(rest, c.suffix), ".git")
	repository, ok := b.repositories[strings.ToLower(name)]
	if !ok { // also whatever is not spelled as owner/name
		b.refuseGit(w, r, http.StatusForbidden, fmt.Sprintf("this run may not read the repository %.100q; "+
			"the setting `read` in .github/dayclaude.yml names further ones", name))
		return
	}
	req, err := b.gitRequest(ctx, w, r, c, repository)
	if err != nil {
		b.log.Warn("no token to read a repository", "repository", repository, "error", err)
		b.refuseGit(w, r, http.StatusBadGateway, "dayclaude could not get a token to read "+repository)
		return
	}
	resp, cancel, err := b.patiently(req)
	if err != nil {
		b.log.Warn("git upstream failed", "repository", repository, "error", err)
		reason := "dayclaude could not reach the host of " + repository
		if errors.Is(err, errRedirect) {
			reason = repository + " has moved: use its new name"
		}
		b.refuseGit(w, r, http.StatusBadGateway, reason)
		return
	}
	defer resp.Body.Close()
	arrived(w)
	if status := resp.StatusCode; status != http.StatusOK || resp.Header.Get("Content-Type") != c.answer {
		b.gitError(w, r, repository, resp)
		return
	}
	copyHeaders(w.Header(), resp.Header, func(name string) bool {
		return name == "Content-Type" || name == "Content-Encoding" || name == "Cache-Control"
	})
	w.WriteHeader(http.StatusOK)
	if err := b.relay(w, resp.Body, cancel); err != nil {
		b.log.Info("a fetch was cut", "repository", repository, "error", err)
		panic(http.ErrAbortHandler) // net/http's way to let git see the cut
	}
}

// How long a fetch's first request is tried for, the pauses between, and the
// silence that ends one.
const (
	gitOutage       = 150 * time.Second
	gitPause        = time.Second
	longestGitPause = 15 * time.Second
	gitSilence      = time.Minute
)

// patiently repeats a request without a body, a fetch's first one, while the
// upstream does not answer or is down: git itself tries nothing twice. The
// function that it returns ends the answer.
func (b *Broker) patiently(req *http.Request) (*http.Response, context.CancelCauseFunc, error) {
	const service = "GitHub"
	ctx, limit := req.Context(), b.idle
	if req.Body == nil {
		limit = min(limit, gitSilence)
	}
	var since time.Time
	for wait := b.pause; ; wait = min(2*wait, longestGitPause) {
		once, cancel := context.WithCancelCause(ctx)
		resp, err := b.exchange(cancel, req.WithContext(once), limit)
		down := err != nil || resp.StatusCode >= http.StatusInternalServerError
		if !down && !since.IsZero() {
			notice.Back(ctx, service, b.cfg.Now())
		}
		if since.IsZero() {
			since = b.cfg.Now()
		}
		if !down || req.Body != nil || errors.Is(err, errRedirect) || ctx.Err() != nil || b.cfg.Now().Sub(since) >= b.outage {
			return resp, cancel, err
		}
		why := wordsOf(err)
		if err == nil {
			why = resp.Status
			resp.Body.Close()
		}
		cancel(nil)
		notice.Away(ctx, service, since, fmt.Errorf("%s does not answer git (%s)", service, untrusted.Line(why, 200)), b.outage)
		if err := pause.For(ctx, wait); err != nil {
			return nil, cancel, err
		}
	}
}

var gitProtocol = regexp.MustCompile(`^version=[0-9]$`)

// gitRequest builds the upstream request from our own strings.
func (b *Broker) gitRequest(ctx context.Context, w http.ResponseWriter, r *http.Request, c gitCall, repository string) (*http.Request, error) {
	url := b.gitURL + repository + ".git" + c.suffix
	if c.query != "" {
		url += "?" + c.query
	}
	var body io.Reader
	if c.method == http.MethodPost {
		body = http.MaxBytesReader(w, r.Body, maxPack)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // packs are compressed already
	req.Header.Set("User-Agent", "git/dayclaude") // GitHub answers to git/… only
	if c.request != "" {
		req.ContentLength = r.ContentLength // not all servers take chunks
		req.Header.Set("Content-Type", c.request)
		req.Header.Set("Accept", c.answer)
		if r.Header.Get("Content-Encoding") == "gzip" {
			req.Header.Set("Content-Encoding", "gzip")
		}
	}
	if v := r.Header.Get("Git-Protocol"); gitProtocol.MatchString(v) {
		req.Header.Set("Git-Protocol", v)
	}
	if b.cfg.GitToken == nil {
		return req, nil
	}
	token, err := b.cfg.GitToken(ctx, repository)
	if err != nil {
		return nil, err
	}
	if !token.IsZero() {
		req.Header.Set("Authorization", basic(token))
	}
	return req, nil
}

// basic is the header that GitHub takes tokens in for git.
func basic(token secret.String) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token.Reveal()))
}

// gitError says in words what the upstream's status means for the user.
func (b *Broker) gitError(w http.ResponseWriter, r *http.Request, repository string, resp *http.Response) {
	switch status := resp.StatusCode; status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		// Not 401: git would ask for a password.
		b.refuseGit(w, r, http.StatusForbidden, fmt.Sprintf("%s does not exist, or dayclaude's GitHub token may not read it (%d)", repository, status))
	case http.StatusTooManyRequests:
		copyHeaders(w.Header(), resp.Header, func(name string) bool { return name == "Retry-After" })
		b.refuseGit(w, r, status, "GitHub's rate limit is reached; try again later")
	default:
		b.refuseGit(w, r, http.StatusBadGateway, fmt.Sprintf("the host of %s answered %d instead of git's data", repository, status))
	}
}

// refuseGit answers in plain text, which git shows after "remote:".
func (b *Broker) refuseGit(w http.ResponseWriter, r *http.Request, status int, reason string) {
	b.logRefusal(r, status, reason)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, reason)
}
