package daytona

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	hintKey         = "set DAYTONA_API_KEY to a key that is valid"
	hintURL         = "check DAYTONA_API_URL: it ends in /api, as in " + DefaultURL
	hintPermissions = "the API key needs write:sandboxes and delete:sandboxes"
	hintQuota       = "delete sandboxes that nobody needs, or raise the limits, in Daytona's dashboard"
	hintSuspended   = "Daytona's dashboard says why, under billing; the run goes on with the same command once that is mended"
	hintClock       = "check this machine's clock and DAYTONA_API_URL"
	hintRate        = "wait a minute, or run fewer at once"
	hintService     = "check the network and DAYTONA_API_URL, or try again later"
	hintRunners     = "Daytona has no machine free for a sandbox: run the command again later, or set DAYTONA_TARGET to another region"
	hintSnapshot    = "docs/snapshots.md says how to make one"
)

// Error is a call of Daytona's API or toolbox that did not succeed.
//
// It wraps a *fault.Error: Auth for 401, 403 and the proxy's redirect to its
// login page; Quota for 429 and for refusals that speak of a limit, whatever
// their status; NotFound for 404; Conflict for 409; Sandbox when the sandbox
// does not run; Unavailable for 408, 5xx and for answers that did not come or
// cannot be read, and while there is no runner; Usage for other redirects and
// for what is no Daytona; Failed for the rest. If the caller's context ended, it wraps that context's error and cause instead.
type Error struct {
	Op         string        // what was attempted, on what
	Method     string        // of the request
	Path       string        // below the base URL
	Status     int           // 0: no answer came; 2xx: it came, but cannot be read
	Message    string        // the server's words, cleaned and cut; else what happened
	RequestID  string        // for Daytona's support, "" if the answer had none
	RetryAfter time.Duration // how long the server asked to wait; 0 if it did not

	causes   []error
	unsent   bool // no connection came about, so the server heard nothing
	hopeless bool // unless Daytona answered here before, the URL is another's
}

// Error says what was attempted, what came of it, the status and request id.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Op, e.Message)
	switch {
	case e.Status != 0 && e.RequestID != "":
		fmt.Fprintf(&b, " (%d, request %s)", e.Status, e.RequestID)
	case e.Status != 0:
		fmt.Fprintf(&b, " (%d)", e.Status)
	}
	return b.String()
}

// Unwrap returns the fault, or the context's cause and error.
func (e *Error) Unwrap() []error { return e.causes }

// unclear reports whether the server may have done what was asked although it
// did not say so, or may do it when asked again.
func (e *Error) unclear() bool {
	return e.Status < 300 || e.Status == http.StatusRequestTimeout || e.Status >= 500
}

// NotRunning reports whether a toolbox did not answer because its sandbox does
// not run.
func NotRunning(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusBadRequest && notRunning.MatchString(e.Message)
}

// notFound reports whether Daytona said that the thing does not exist.
func notFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}

// unanswered is the error of an attempt that ended without an answer.
func (r request) unanswered(ctx context.Context, err error) *Error {
	e := &Error{Op: r.op, Method: r.method, Path: r.route()}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		e.Message, e.causes = cause.Error(), []error{cause, ctx.Err()}
		return e
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the URL adds nothing: Op and Path are there
	}
	op, ok := errors.AsType[*net.OpError](err)
	e.unsent = ok && op.Op == "dial"
	f := &fault.Error{Kind: fault.Unavailable, Hint: hintService, Err: err}
	what := err.Error()
	if ok {
		what = op.Err.Error() // without the address: it is the host's, or a resolver's
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		what, e.hopeless = "there is no such host", name.IsNotFound
		if !name.IsNotFound {
			what = "its address could not be looked up"
		}
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		what, e.hopeless = certificate.Err.Error(), true
		f.Hint = hintClock // an old certificate or a new clock
	}
	e.Message = clean(fmt.Sprintf("Daytona does not answer at %s: %s", r.host(), what))
	f.Message = e.Message
	e.causes = []error{f}
	return e
}

// late is why an attempt that takes too long is given up.
func (r request) late(limit time.Duration) error {
	return fault.New(fault.Unavailable, "Daytona did not answer at %s within %s", r.host(), limit).WithHint(hintService)
}

// host is where the request goes.
func (r request) host() string { return clean(r.base.Host) }

// unreadable is the error of an attempt whose good answer cannot be read.
func (r request) unreadable(ctx context.Context, resp *http.Response, err error) *Error {
	e := r.unanswered(ctx, err)
	e.Status, e.RequestID = resp.StatusCode, requestID(resp.Header)
	if f, ok := errors.AsType[*fault.Error](e.causes[0]); ok && ctx.Err() == nil {
		e.Message, e.hopeless = clean(fmt.Sprintf("%s: %v", r.host(), err)), !errors.Is(err, io.ErrUnexpectedEOF)
		f.Message, f.Hint = e.Message, hintURL // a web page in place of JSON means that the URL is another's
	}
	return e
}

// refused is the error of an answer that is not a success.
func (c *Client) refused(ctx context.Context, r request, resp *http.Response) *Error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // a cut body still says something
	e := &Error{
		Op: r.op, Method: r.method, Path: r.route(), Status: resp.StatusCode,
		RequestID: requestID(resp.Header), RetryAfter: retryAfter(resp.Header),
	}
	status, message := parseRefusal(b)
	if status != 0 && e.Status >= 400 {
		e.Status = status // proxies pass some refusals on under a status of their own
	}
	message = clean(strings.ReplaceAll(message, c.key(), "[redacted]"))
	f := classify(e.Status, message)
	switch {
	case resp.StatusCode == http.StatusNotFound && (webPage(resp) || noRoute.MatchString(message)):
		f = fault.New(fault.Usage, "no Daytona API answers at %s: %s", r.host(), cmp.Or(message, "not found")).WithHint(hintURL)
	case e.Status < 500 && e.Status != http.StatusTooManyRequests && message != "":
		c.heard(ctx)
	}
	e.Message, e.causes = f.Message, []error{f}
	return e
}

// webPage reports whether what answered speaks to people.
func webPage(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}

// parseRefusal takes status and message from an error's body: the API's, the
// toolbox's, or anything else. Each may be missing.
func parseRefusal(b []byte) (status int, message string) {
	var body struct {
		StatusCode json.RawMessage `json:"statusCode"`
		Message    json.RawMessage `json:"message"`
		Error      json.RawMessage `json:"error"`
	}
	if json.Unmarshal(b, &body) != nil {
		if text := strings.TrimSpace(string(b)); !strings.HasPrefix(text, "<") && !strings.HasPrefix(text, "{") {
			return 0, text
		}
		return 0, "" // a proxy's web page, or the first half of a JSON text
	}
	if json.Unmarshal(body.StatusCode, &status) != nil || status < 400 || status > 599 {
		status = 0
	}
	for _, raw := range []json.RawMessage{body.Message, body.Error} {
		var one string
		var several []string
		if json.Unmarshal(raw, &one) == nil && one != "" {
			return status, one
		}
		if json.Unmarshal(raw, &several) == nil && len(several) > 0 {
			return status, strings.Join(several, ", ")
		}
	}
	return status, ""
}

// Daytona has no codes for these; v0.190 reports quotas with status 400.
var (
	quotaText     = regexp.MustCompile(`(?i)limit exceeded|maximum allowed|quota`)
	suspendedText = regexp.MustCompile(`(?i)suspended`)
	notRunning    = regexp.MustCompile(`(?i)is the sandbox started|sandbox (is not|failed to) start|sandbox is not running`)
	snapshotWords = regexp.MustCompile(`(?i)snapshot .*(not found|does not exist|not available)`)
	snapshotState = regexp.MustCompile(`(?i)^snapshot \S+ is (not active|inactive|pending|pulling|building|snapshotting|error|build_failed|removing)$`)
	noRunners     = regexp.MustCompile(`(?i)no available runners`)
	noRoute       = regexp.MustCompile(`^Cannot (GET|POST|DELETE|PUT) /`) // of the framework that Daytona's API is made with
)

// classify makes the fault of a refusal from its status and cleaned message.
func classify(status int, message string) *fault.Error {
	f := &fault.Error{Kind: fault.Failed, Message: message}
	what := strings.ToLower(http.StatusText(status))
	switch {
	case status == http.StatusTooManyRequests:
		f.Kind, f.Hint, what = fault.Quota, hintRate, "Daytona's rate limit is reached"
	case status >= 400 && status < 500 && suspendedText.MatchString(message):
		f.Kind, f.Hint = fault.Quota, hintSuspended
	case status >= 400 && status < 500 && status != http.StatusNotFound && quotaText.MatchString(message):
		f.Kind, f.Hint = fault.Quota, hintQuota
	case status == http.StatusPaymentRequired:
		f.Kind, f.Hint = fault.Quota, hintQuota
	case status == http.StatusUnauthorized, status == http.StatusTemporaryRedirect:
		f.Kind, f.Hint, what = fault.Auth, hintKey, "Daytona refused the API key"
	case status == http.StatusForbidden:
		f.Kind, f.Hint, what = fault.Auth, hintPermissions, "Daytona denied access"
	case status == http.StatusNotFound:
		f.Kind = fault.NotFound
	case status == http.StatusConflict:
		f.Kind = fault.Conflict
	case status == http.StatusBadRequest && notRunning.MatchString(message):
		f.Kind = fault.Sandbox
	case status == http.StatusBadRequest && noRunners.MatchString(message):
		f.Kind, f.Hint = fault.Unavailable, hintRunners
	case status == http.StatusBadRequest && snapshotWords.MatchString(message):
		f.Kind, f.Hint = fault.NotFound, hintSnapshot
	case status == http.StatusBadRequest && snapshotState.MatchString(message):
		f.Kind, f.Hint = fault.Sandbox, hintSnapshot
	case status == http.StatusRequestTimeout, status >= 500:
		f.Kind, f.Hint = fault.Unavailable, hintService
	case status >= 300 && status < 400:
		f.Kind, f.Hint, what = fault.Usage, hintURL, "Daytona answered with a redirect"
	}
	switch {
	case message == "" && what == "":
		f.Message = "no reason given"
	case message == "":
		f.Message = what
	case f.Kind == fault.Auth:
		f.Message = what + ": " + message
	}
	return f
}

// requestID finds the id under which the service, or the proxy before it,
// knows the request.
func requestID(h http.Header) string {
	for _, name := range []string{"X-Request-Id", "X-Correlation-Id", "Cf-Ray"} {
		if id := clean(h.Get(name)); id != "" {
			return id
		}
	}
	return ""
}

// clean makes a text from outside fit for one line of an error.
func clean(text string) string { return untrusted.Line(text, 500) }
