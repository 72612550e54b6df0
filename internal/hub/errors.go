package hub

import (
	"context"
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
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Unavailable, "%s: GitHub did not answer in time: %w", o.does, err)
	}
	return fmt.Errorf("%s: %w", o.does, err)
}

// explain turns a failed attempt into what the user is told.
func (c *Client) explain(o op, resp *http.Response, err error) error {
	if resp == nil {
		return unanswered(o, "GitHub did not answer", err)
	}
	if resp.StatusCode < 300 {
		return unanswered(o, "GitHub's answer broke off or cannot be read", err)
	}
	e := answered(resp)
	kind, sentence, hint := c.judge(o, e, resp.Header)
	f := &fault.Error{Kind: kind, Message: o.does + ": " + sentence, Hint: hint, Err: e}
	if e.Status == http.StatusConflict && e.says("repository is empty") {
		f.Err = errors.Join(ErrEmpty, e)
	}
	return f
}

// unanswered explains an attempt that brought no answer, or half of one.
func unanswered(o op, what string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return fmt.Errorf("%s: %w", o.does, err)
	}
	if errors.Is(err, ErrTooLarge) {
		return fault.New(fault.Limit, "%s: %w", o.does, err)
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, errOtherHost) {
		return fault.New(fault.Failed, "%s: %w", o.does, bare(err))
	}
	return fault.New(fault.Unavailable, "%s: %s: %w", o.does, what, bare(err)).
		WithHint("check the network and https://www.githubstatus.com, then run it again")
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

// judge says what an error means to the user: its kind, the sentence after
// "attempting this: ", and the next step.
func (c *Client) judge(o op, e *Error, h http.Header) (kind fault.Kind, sentence, hint string) {
	switch {
	case e.Status < 400:
		return fault.Conflict, "the repository or issue has moved", "run it again with its new name"
	case e.Status == http.StatusUnauthorized && c.anon:
		return fault.Auth, "GitHub wants a token (401)", "set GITHUB_TOKEN"
	case e.Status == http.StatusUnauthorized:
		return fault.Auth, fmt.Sprintf("GitHub refused the token (%s)", e),
			"the token is wrong, expired or revoked: set GITHUB_TOKEN to a new one"
	case e.Status == http.StatusForbidden || e.Status == http.StatusUnavailableForLegalReasons:
		return c.judgeForbidden(o, e, h)
	case e.Status == http.StatusNotFound:
		return fault.NotFound, "not found, or the token has no access to it", "check the name; " + c.accessHint(o, h)
	case e.Status == http.StatusConflict && e.says("repository is empty"):
		return fault.Conflict, ErrEmpty.Error(), "push a first commit to it"
	case e.Status == http.StatusConflict:
		return fault.Conflict, fmt.Sprintf("GitHub reports a conflict (%s)", e), "run it again"
	case e.Status == http.StatusGone && e.says("disabled"):
		return fault.NotFound, "the repository has its issues switched off", "switch issues on in the repository's settings"
	case e.Status == http.StatusGone:
		return fault.NotFound, fmt.Sprintf("it was deleted (%s)", e), ""
	case e.Status == http.StatusUnprocessableEntity:
		return judgeInvalid(e)
	case e.Status >= 500 || e.Status == http.StatusRequestTimeout:
		sentence = fmt.Sprintf("GitHub is in trouble (%s)", e)
		if e.RequestID != "" {
			sentence = fmt.Sprintf("GitHub is in trouble (%s, request %s)", e, e.RequestID)
		}
		return fault.Unavailable, sentence, "see https://www.githubstatus.com, then run it again"
	}
	return fault.Failed, fmt.Sprintf("GitHub answered %s", e), ""
}

func (c *Client) judgeForbidden(o op, e *Error, h http.Header) (kind fault.Kind, sentence, hint string) {
	if sso := h.Get("X-GitHub-SSO"); sso != "" {
		hint = "authorise the token for the organisation's single sign-on in your token settings"
		if _, link, ok := strings.Cut(sso, "url="); ok && strings.HasPrefix(link, "https://") {
			hint = "authorise the token for the organisation at " + untrusted.Line(link, 400)
		}
		return fault.Auth, "the organisation's single sign-on does not know the token", hint
	}
	switch {
	case e.says("archived"):
		return fault.NotAdmitted, "the repository is archived and takes no changes", "unarchive it in the repository's settings"
	case e.says("is locked"):
		return fault.NotAdmitted, "the issue is locked", "unlock it, or give the token's user write access"
	case e.says("not permitted to create or approve pull requests"):
		return fault.Auth, "the repository does not let GitHub Actions open pull requests",
			"allow it in the repository's settings (Actions, General, Workflow permissions), or use a token other than the workflow's"
	case e.says("blocked", "suspended") || e.Status != http.StatusForbidden:
		return fault.NotAdmitted, fmt.Sprintf("GitHub refuses it (%s)", e), ""
	}
	return fault.Auth, fmt.Sprintf("the token lacks a permission (%s)", e), c.accessHint(o, h)
}

// accessHint names the permission a call wants: as GitHub says it in headers,
// else as we know it.
// https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
func (c *Client) accessHint(o op, h http.Header) string {
	if c.anon {
		return "set GITHUB_TOKEN: private repositories and all changes need a token"
	}
	where := ""
	if o.repo != "" {
		where = " on " + o.repo
	}
	if scopes, classic := h["X-Oauth-Scopes"]; classic {
		has := untrusted.Line(strings.Join(scopes, ", "), 200)
		if has == "" {
			has = "none"
		}
		return fmt.Sprintf("the token (classic, scopes: %s) needs the scope `repo`, and its user access%s", has, where)
	}
	needs := o.needs
	if wants := h.Get("X-Accepted-GitHub-Permissions"); wants != "" {
		needs = permissions(wants)
	}
	return fmt.Sprintf("give the token the permission `%s`%s", needs, where)
}

// permissions makes "pull_requests=write,contents=read; issues=write" readable:
// all of a comma's, any of a semicolon's.
func permissions(header string) string {
	s := untrusted.Line(header, 200)
	return strings.NewReplacer("=", ": ", ",", ", ", "; ", "` or `", "_", " ").Replace(s)
}

func judgeInvalid(e *Error) (kind fault.Kind, sentence, hint string) {
	switch {
	case e.says("already exists"):
		return fault.Conflict, fmt.Sprintf("GitHub has it already (%s)", e), "run it again"
	case e.says("not a fast forward", "reference does not exist", "reference update failed"):
		return fault.Conflict, fmt.Sprintf("the branch changed meanwhile (%s)", e), "run it again"
	case e.says("rule violation", "protected branch", "push declined"):
		return fault.NotAdmitted, fmt.Sprintf("a rule of the repository refuses it (%s)", e),
			"let the rulesets and branch protection take branches named dayclaude/*"
	}
	return fault.Failed, fmt.Sprintf("GitHub refuses it as invalid (%s)", e), ""
}

// incomplete is a successful answer that lacks what it must hold.
func incomplete(does string) error {
	return fault.New(fault.Unavailable, "%s: GitHub's answer is incomplete", does)
}
