package hub

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// judge says what an error means to the user: its kind, the sentence after
// "attempting this: ", and the next step.
func (c *Client) judge(o op, e *Error, resp *http.Response) (kind fault.Kind, sentence, hint string) {
	h := resp.Header
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
		return c.judgeNotFound(o, e, resp)
	case e.Status == http.StatusConflict && e.says("repository is empty"):
		return fault.Conflict, ErrEmpty.Error(), "push a first commit to it"
	case e.Status == http.StatusConflict || e.Status == http.StatusUnprocessableEntity:
		return judgeInvalid(e)
	case e.Status == http.StatusGone && e.says("disabled"):
		return fault.NotAdmitted, "the repository has its issues switched off", "switch issues on in the repository's settings"
	case e.Status == http.StatusGone:
		return fault.NotFound, fmt.Sprintf("it was deleted (%s)", e), ""
	case e.Status >= 500 || e.Status == http.StatusRequestTimeout:
		sentence = fmt.Sprintf("%s is in trouble (%s)", c.name(), e)
		if e.RequestID != "" {
			sentence = fmt.Sprintf("%s is in trouble (%s, request %s)", c.name(), e, e.RequestID)
		}
		if hint = "run it again once it is well"; c.official() {
			hint = "see https://www.githubstatus.com, then run it again"
		}
		return fault.Unavailable, sentence, hint
	}
	return fault.Failed, fmt.Sprintf("GitHub answered %s", e), ""
}

// judgeNotFound tells apart what GitHub does not: it hides what a token may not
// see, and what a classic token may not write.
func (c *Client) judgeNotFound(o op, e *Error, resp *http.Response) (kind fault.Kind, sentence, hint string) {
	switch {
	case e.Message == "" && !c.official():
		return fault.NotFound, fmt.Sprintf("%s does not answer as GitHub's API does (%s)", c.base.Host, e), hintURL
	case o.needs == workflowsWrite:
		return fault.Auth, fmt.Sprintf("the token may not change workflows (%s)", e), c.accessHint(o, resp.Header)
	case resp.Request != nil && resp.Request.Response != nil: // redirected
		return fault.NotFound, "it was moved to where the token has no access", c.accessHint(op{needs: o.needs}, resp.Header)
	}
	return fault.NotFound, "not found, or the token has no access to it", "check the name; " + c.accessHint(o, resp.Header)
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
	case e.says("ip allow list"):
		return fault.Auth, fmt.Sprintf("the organisation does not take calls from this address (%s)", e),
			"run it from an address on the organisation's IP allow list, or ask its owners to add yours"
	case e.says("forbids access via", "app access restrictions"):
		return fault.Auth, fmt.Sprintf("the organisation does not take this kind of token (%s)", e),
			"set GITHUB_TOKEN to one that it takes"
	case e.says("not permitted to create or approve pull requests"):
		return fault.Auth, "the repository does not let GitHub Actions open pull requests",
			"allow it in the repository's settings (Actions, General, Workflow permissions), or use a token other than the workflow's"
	case e.says("blocked", "suspended") || e.Status != http.StatusForbidden:
		return fault.NotAdmitted, fmt.Sprintf("GitHub refuses it (%s)", e), ""
	case e.Message == "" || e.says("not accessible by", "must have", "permission"):
		return fault.Auth, fmt.Sprintf("the token lacks a permission (%s)", e), c.accessHint(o, h)
	}
	return fault.Auth, fmt.Sprintf("GitHub forbids it (%s)", e), "if the words do not say why: " + c.accessHint(o, h)
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
		scope := "repo"
		if o.needs == workflowsWrite {
			scope = "workflow"
		}
		return fmt.Sprintf("the token (classic, scopes: %s) needs the scope `%s`, and its user access%s", has, scope, where)
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

// judgeInvalid explains a conflict or a call that GitHub calls invalid: for
// most of what follows it has used both.
func judgeInvalid(e *Error) (kind fault.Kind, sentence, hint string) {
	switch {
	case e.says("verified signatures"):
		return fault.Refused, fmt.Sprintf("the repository takes signed commits only (%s)", e),
			"use the token of a GitHub App, whose commits GitHub signs, or exempt branches named dayclaude/* from the rule"
	case e.says("rule violation", "protected branch", "push declined", "reference cannot be updated"):
		return fault.Refused, fmt.Sprintf("a rule of the repository refuses it (%s)", e),
			"let the rulesets and branch protection take branches named dayclaude/*"
	case e.says("already exists"):
		return fault.Conflict, fmt.Sprintf("GitHub has it already (%s)", e), "run it again"
	case e.says("not a fast forward", "reference does not exist"):
		return fault.Conflict, fmt.Sprintf("the branch changed meanwhile (%s)", e), "run it again"
	case e.says("reference update failed"): // all that GitHub says
		return fault.Conflict, fmt.Sprintf("GitHub does not take the branch (%s)", e),
			"see whether a rule of the repository, or a branch whose name begins this one's, stands in the way"
	case e.says("base of pullrequest"):
		return fault.Conflict, fmt.Sprintf("the base branch is gone (%s)", e), "make it again, or give another one with --base"
	case e.says("head of pullrequest"):
		return fault.Conflict, fmt.Sprintf("the branch was deleted meanwhile (%s)", e), "run it again"
	case e.says("no commits between"):
		return fault.Conflict, fmt.Sprintf("the base branch holds the changes already (%s)", e), ""
	case e.Status == http.StatusConflict:
		return fault.Conflict, fmt.Sprintf("GitHub reports a conflict (%s)", e), "run it again"
	}
	return fault.Failed, fmt.Sprintf("GitHub refuses it as invalid (%s)", e), ""
}

// incomplete is a successful answer that lacks what it must hold.
func incomplete(does string) error {
	return fault.New(fault.Unavailable, "%s: GitHub's answer is incomplete", does)
}
