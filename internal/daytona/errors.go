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
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

const (
	hintKey         = "set DAYTONA_API_KEY to a key that is valid"
	hintURL         = "check DAYTONA_API_URL: it ends in /api, as in " + DefaultURL
	hintPermissions = "the API key needs write:sandboxes and delete:sandboxes"
	hintRegion      = "set DAYTONA_TARGET to a region that your organization may use"
	hintQuota       = "delete sandboxes that nobody needs (`dayclaude sandboxes cleanup`), or raise the limits in Daytona's dashboard"
	hintSuspended   = "Daytona's dashboard says why, under billing; run the command again once that is mended"
	hintClock       = "check this machine's clock and DAYTONA_API_URL"
	hintRate        = "wait a minute, or run fewer at once"
	hintService     = "check the network and DAYTONA_API_URL, or try again later"
	hintRunners     = "Daytona has no machine free for a sandbox: run the command again later, or set DAYTONA_TARGET to another region"
	hintSnapshot    = "docs/snapshots.md says how to make one"
)

// Reason is why a call did not succeed. Several share a fault.Kind, which is
// coarser: it decides the exit code.
type Reason string

// The reasons.
const (
	ReasonKey        Reason = "key"        // Daytona does not know the API key: 401, or its proxy's redirect to the login page
	ReasonPermission Reason = "permission" // the key may not do this: 403
	ReasonSuspended  Reason = "suspended"  // the organization is
	ReasonQuota      Reason = "quota"      // a limit on what sandboxes or snapshots may use; v0.190 says so with 400 and words
	ReasonRateLimit  Reason = "rate_limit" // 429; RetryAfter says how long it lasts
	ReasonNotFound   Reason = "not_found"  // 404, or the snapshot of a new sandbox
	ReasonConflict   Reason = "conflict"   // 409: the name is taken, or another change is under way
	ReasonSandbox    Reason = "sandbox"    // the sandbox does not run, broke or was deleted
	ReasonSnapshot   Reason = "snapshot"   // the snapshot broke or is not ready
	ReasonRunners    Reason = "runners"    // there is no machine for a sandbox now
	ReasonInvalid    Reason = "invalid"    // Daytona refused for another reason, in its own words
	ReasonElsewhere  Reason = "elsewhere"  // what answers there is no Daytona API
	ReasonFault      Reason = "fault"      // 408, 5xx, or an answer that did not come, was cut or cannot be read
)

// Error is a call of Daytona's API or toolbox that did not succeed, or what a
// call waited for and will not come.
//
// It wraps a *fault.Error: Auth for ReasonKey and ReasonPermission; Quota for
// ReasonSuspended, ReasonQuota and ReasonRateLimit; NotFound and Conflict for
// those; Sandbox for ReasonSandbox and ReasonSnapshot; Unavailable for
// ReasonRunners and ReasonFault; Usage for ReasonElsewhere; Failed for the
// rest. If the caller's context ended, it wraps that context's error and cause
// instead.
type Error struct {
	Op         string        // what was attempted, on what
	Reason     Reason        // "" if the caller's context ended
	Method     string        // of the request
	Path       string        // below the base URL
	Status     int           // 0: no answer came, or the state of something is the error; 2xx: an answer came, but cannot be read
	Message    string        // the server's words, cleaned and cut; else what happened
	RequestID  string        // for Daytona's support, "" if the answer had none
	RetryAfter time.Duration // how long the server asked to wait; 0 if it did not

	causes   []error
	unsent   bool // no connection came about, so the server heard nothing
	tried    bool // for as long as patience lasts
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
func (e *Error) unclear() bool { return e.Reason == ReasonFault }

// is reports whether err is an *Error for a reason.
func is(err error, reason Reason) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == reason
}

// NotRunning reports whether a toolbox did not answer because its sandbox does
// not run.
func NotRunning(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Reason == ReasonSandbox && e.Status != 0
}

// notFound reports whether Daytona said that the thing does not exist.
func notFound(err error) bool { return is(err, ReasonNotFound) }

// standing is the error of something whose own state is the trouble: what it
// is, and what it or Daytona says.
func standing(reason Reason, f *fault.Error, what string) *Error {
	return &Error{Op: what, Reason: reason, Message: f.Message, causes: []error{f}}
}

// failure is the error of a sandbox that is broken: its own reason in it.
func (s *Sandbox) failure() *Error {
	f := fault.New(fault.Sandbox, "%s", cmp.Or(clean(s.ErrorReason), "Daytona gives no reason")).
		WithHint("run the command again: it makes a new sandbox; if the image is missing, docs/snapshots.md says how to make it")
	return standing(ReasonSandbox, f, "sandbox "+clean(cmp.Or(s.Name, s.ID))+" is in state "+clean(string(s.State)))
}

// lacks is the error of a good answer without something that is needed.
func (r request) lacks(what string) *Error {
	f := fault.New(fault.Unavailable, "the answer has no %s", what).WithHint(hintURL)
	return &Error{Op: r.op, Reason: ReasonFault, Method: r.method, Path: r.route(), Message: f.Message, causes: []error{f}}
}

// unanswered is the error of an attempt that ended without an answer.
func (r request) unanswered(ctx context.Context, err error) *Error {
	e := &Error{Op: r.op, Method: r.method, Path: r.route()}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		e.Message, e.causes = cause.Error(), []error{cause, ctx.Err()}
		if fault.KindOf(cause) == fault.Unavailable { // the attempt's own end, see late
			e.Reason = ReasonFault
		}
		return e
	}
	e.Reason = ReasonFault
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
	for _, hidden := range []func() string{c.key, r.hide} {
		if hidden != nil && hidden() != "" {
			message = strings.ReplaceAll(message, hidden(), "[redacted]")
		}
	}
	message = clean(message)
	reason, f := classify(e.Status, message)
	if f.Hint == hintPermissions && r.needs != "" {
		f.Hint = "the API key needs " + r.needs
	}
	switch {
	case resp.StatusCode == http.StatusNotFound && (webPage(resp) || noRoute.MatchString(message)):
		reason = ReasonElsewhere
		f = fault.New(fault.Usage, "no Daytona API answers at %s: %s", r.host(), cmp.Or(message, "not found")).WithHint(hintURL)
	case e.Status < 500 && e.Status != http.StatusTooManyRequests && message != "":
		c.heard(ctx)
	}
	e.Reason, e.Message, e.causes = reason, f.Message, []error{f}
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
		Errors     json.RawMessage `json:"errors"` // of an upload
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
	for _, raw := range []json.RawMessage{body.Message, body.Error, body.Errors} {
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
	quotaText     = regexp.MustCompile(`(?i)limit exceeded|maximum allowed|quota|cannot be further expanded`)
	suspendedText = regexp.MustCompile(`(?i)suspended`)
	notRunning    = regexp.MustCompile(`(?i)is the sandbox started|sandbox (is not|failed to) start|sandbox is not running`)
	regionWords   = regexp.MustCompile(`(?i)^region .*not (available|found)`)
	snapshotWords = regexp.MustCompile(`(?i)snapshot .*(not found|does not exist|not available)`)
	snapshotState = regexp.MustCompile(`(?i)^snapshot \S+ is (not active|inactive|pending|pulling|building|snapshotting|error|build_failed|removing)$`)
	noRunners     = regexp.MustCompile(`(?i)no available runners`)
	noRoute       = regexp.MustCompile(`^Cannot (GET|POST|DELETE|PUT) /`) // of the framework that Daytona's API is made with
)

// refusal says what statuses, and the words that come with them, mean.
type refusal struct {
	from, to int            // statuses
	words    *regexp.Regexp // in the message; nil: whatever it says
	reason   Reason
	kind     fault.Kind
	hint     string
	what     string // in place of a message, or before it where the message alone says little
}

func (r refusal) fits(status int, message string) bool {
	return status >= r.from && status <= r.to && (r.words == nil || r.words.MatchString(message))
}

// refusals: the first that fits counts.
var refusals = []refusal{
	{429, 429, nil, ReasonRateLimit, fault.Quota, hintRate, "Daytona's rate limit is reached"},
	{400, 499, suspendedText, ReasonSuspended, fault.Quota, hintSuspended, ""},
	{404, 404, regionWords, ReasonNotFound, fault.NotFound, hintRegion, ""},
	{404, 404, nil, ReasonNotFound, fault.NotFound, "", ""},
	{400, 499, quotaText, ReasonQuota, fault.Quota, hintQuota, ""},
	{402, 402, nil, ReasonQuota, fault.Quota, hintQuota, ""},
	{401, 401, nil, ReasonKey, fault.Auth, hintKey, "Daytona refused the API key"},
	{307, 307, nil, ReasonKey, fault.Auth, hintKey, "Daytona refused the API key"},
	{403, 403, regionWords, ReasonPermission, fault.Auth, hintRegion, "Daytona denied access"},
	{403, 403, nil, ReasonPermission, fault.Auth, hintPermissions, "Daytona denied access"},
	{409, 409, nil, ReasonConflict, fault.Conflict, "", ""},
	{400, 400, notRunning, ReasonSandbox, fault.Sandbox, "", ""},
	{400, 400, noRunners, ReasonRunners, fault.Unavailable, hintRunners, ""},
	{400, 400, snapshotWords, ReasonNotFound, fault.NotFound, hintSnapshot, ""},
	{400, 400, snapshotState, ReasonSnapshot, fault.Sandbox, hintSnapshot, ""},
	{408, 408, nil, ReasonFault, fault.Unavailable, hintService, ""},
	{500, 599, nil, ReasonFault, fault.Unavailable, hintService, ""},
	{300, 399, nil, ReasonElsewhere, fault.Usage, hintURL, "Daytona answered with a redirect"},
}

// classify finds what a refusal means by its status and cleaned message.
func classify(status int, message string) (Reason, *fault.Error) {
	means := refusal{reason: ReasonInvalid, kind: fault.Failed}
	if i := slices.IndexFunc(refusals, func(r refusal) bool { return r.fits(status, message) }); i >= 0 {
		means = refusals[i]
	}
	says := cmp.Or(message, means.what, strings.ToLower(http.StatusText(status)), "no reason given")
	if message != "" && means.kind == fault.Auth {
		says = means.what + ": " + message
	}
	return means.reason, &fault.Error{Kind: means.kind, Message: says, Hint: means.hint}
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
