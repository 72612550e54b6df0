package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// ErrEmpty is underneath a fault.Conflict: the repository has no commit yet.
var ErrEmpty = errors.New("the repository is empty")

// ErrTooLarge is underneath a fault.Limit: content is larger than was allowed.
var ErrTooLarge = errors.New("larger than allowed")

// Error is an answer by which GitHub refused a call, underneath a *fault.Error.
type Error struct {
	Status    int
	Message   string // GitHub's words, cleaned and bounded
	RequestID string // what GitHub's support asks for; may be empty
}

// Error says the status and GitHub's words.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%d %s", e.Status, e.Message)
}

// says reports whether GitHub's words hold one of the phrases. Its errors have
// no codes for most of what we must tell apart.
func (e *Error) says(phrases ...string) bool {
	said := strings.ToLower(e.Message)
	for _, p := range phrases {
		if strings.Contains(said, p) {
			return true
		}
	}
	return false
}

// hintURL is for a host that is no GitHub's API.
const hintURL = "set GITHUB_API_URL to https://HOST/api/v3/, or unset it for github.com"

// status is GitHub's status in err's chain, or 0.
func status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// interrupted is the error of a call whose context ended.
func interrupted(ctx context.Context, o op) error {
	err := context.Cause(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "%s: GitHub did not answer in time: %w", o.does, err)
	case err == context.Canceled: //nolint:errorlint // without a reason of its own
		return fault.New(fault.Cancelled, "%s: stopped by hand", o.does)
	}
	return fmt.Errorf("%s: %w", o.does, err)
}

// explain turns a failed attempt into what the user is told.
func (c *Client) explain(o op, resp *http.Response, err error) error {
	if resp == nil {
		return c.unanswered(o, c.name()+" did not answer", err)
	}
	if resp.StatusCode < 300 && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return fault.New(fault.Failed, "%s: %s does not answer as GitHub's API does: it sent a web page", o.does, c.base.Host).WithHint(hintURL)
	}
	if resp.StatusCode < 300 {
		return c.unanswered(o, "the answer of "+c.name()+" broke off or cannot be read", err)
	}
	e := answered(resp)
	kind, sentence, hint := c.judge(o, e, resp)
	f := &fault.Error{Kind: kind, Message: o.does + ": " + sentence, Hint: hint, Err: e}
	if e.Status == http.StatusConflict && e.says("repository is empty") {
		f.Err = errors.Join(ErrEmpty, e)
	}
	return f
}

// unanswered explains an attempt that brought no answer, or half of one.
func (c *Client) unanswered(o op, what string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", o.does, err)
	}
	if errors.Is(err, ErrTooLarge) {
		return fault.New(fault.Limit, "%s: %w", o.does, err)
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, errRedirect) {
		return fault.New(fault.Failed, "%s: %w", o.does, bare(err))
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return fault.New(fault.Failed, "%s: %s has a certificate that this machine does not trust: %w", o.does, c.base.Host, untrusted.Err).
			WithHint("check GITHUB_API_URL, this machine's clock and its certificates; SSL_CERT_FILE names a file of them")
	}
	hint := "check the network and https://www.githubstatus.com, then run it again"
	if !c.official() {
		hint = "check GITHUB_API_URL and the network, then run it again"
	}
	return fault.New(fault.Unavailable, "%s: %s: %w", o.does, what, bare(err)).WithHint("%s", hint)
}

// official reports whether the API is GitHub's own.
func (c *Client) official() bool { return c.base.String() == DefaultAPIURL }

// name is what errors call the service: with its host, unless that is known.
func (c *Client) name() string {
	if c.official() {
		return "GitHub"
	}
	return "GitHub at " + c.base.Host
}

// bare takes off the method and URL that net/http puts around an error.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// answered reads what GitHub says in an error's answer.
func answered(resp *http.Response) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: untrusted.Line(resp.Header.Get("X-GitHub-Request-Id"), 80)}
	var said github.ErrorResponse
	if json.Unmarshal(body(resp), &said) != nil {
		return e
	}
	words := []string{said.Message}
	for _, d := range said.Errors {
		if d.Message != "" {
			words = append(words, d.Message)
		} else if d.Field != "" {
			words = append(words, fmt.Sprintf("%s of %s: %s", d.Field, d.Resource, d.Code))
		}
	}
	e.Message = untrusted.Line(strings.Join(words, "; "), 400)
	return e
}
