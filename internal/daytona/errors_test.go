package daytona

import (
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status  int
		message string
		reason  Reason
		kind    fault.Kind
		says    string
	}{
		{400, "", ReasonInvalid, fault.Failed, "bad request"},
		{400, "Total CPU limit exceeded. Maximum allowed: 10.", ReasonQuota, fault.Quota, "Total CPU"},
		{400, "CPU request 64 exceeds maximum allowed per sandbox (4)", ReasonQuota, fault.Quota, "CPU request"},
		{400, "Snapshot quota exceeded. Maximum allowed: 30", ReasonQuota, fault.Quota, "Snapshot quota"},
		{400, "Snapshot nope not found. Did you add it?", ReasonNotFound, fault.NotFound, "nope"},
		{400, "Snapshot old is not active", ReasonSnapshot, fault.Sandbox, "old"},
		{400, "No available runners", ReasonRunners, fault.Unavailable, "runners"},
		{400, "Sandbox failed to start: no such image", ReasonSandbox, fault.Sandbox, "no such image"},
		{400, "no IP address found. Is the Sandbox started?", ReasonSandbox, fault.Sandbox, "started"},
		{401, "Invalid credentials", ReasonKey, fault.Auth, "refused the API key: Invalid"},
		{307, "", ReasonKey, fault.Auth, "refused the API key"},
		{403, "Access denied", ReasonPermission, fault.Auth, "denied access: Access"},
		{403, "Region eu is not available to the organization", ReasonPermission, fault.Auth, "denied access: Region eu"},
		{403, "Sandbox storage cannot be further expanded. Please contact support", ReasonQuota, fault.Quota, "expanded"},
		{404, "Region not found", ReasonNotFound, fault.NotFound, "Region"},
		{403, "Organization is suspended: no credits", ReasonSuspended, fault.Quota, "no credits"},
		{402, "", ReasonQuota, fault.Quota, "payment required"},
		{404, "Disk quota volume not found", ReasonNotFound, fault.NotFound, "volume"},
		{408, "", ReasonFault, fault.Unavailable, "request timeout"},
		{409, "Sandbox state change in progress", ReasonConflict, fault.Conflict, "in progress"},
		{422, "class does not support pause", ReasonInvalid, fault.Failed, "pause"},
		{429, "", ReasonRateLimit, fault.Quota, "rate limit"},
		{308, "", ReasonElsewhere, fault.Usage, "redirect"},
		{503, "Object storage is not configured", ReasonFault, fault.Unavailable, "not configured"},
		{599, "", ReasonFault, fault.Unavailable, "no reason given"},
	} {
		reason, f := classify(tt.status, tt.message)
		if reason != tt.reason || f.Kind != tt.kind || !strings.Contains(f.Message, tt.says) {
			t.Errorf("%d %q: got %s, %+v", tt.status, tt.message, reason, f)
		}
		if hinted := f.Hint != ""; !hinted && !slices.Contains([]Reason{ReasonInvalid, ReasonNotFound, ReasonConflict, ReasonSandbox}, reason) {
			t.Errorf("%d %q: no hint", tt.status, tt.message)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	for _, seed := range []string{
		`{"statusCode":400,"message":"a\nb","error":"Bad Request"}`, `{"message":["a","b"]}`, `{"statusCode":"x","message":5}`,
		`<html>`, "", `{"statusCode":400,"mess`, "plain\x00\x1b[2J", `null`, `[]`, `{"message":"Is the Sandbox started?"}`,
	} {
		f.Add([]byte(seed), 400)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		got, message := parseRefusal(body)
		if got != 0 && (got < 400 || got > 599) {
			t.Errorf("status %d", got)
		}
		reason, fe := classify(status, clean(message))
		if reason == "" || fe.Kind == "" || fe.Message == "" || len(fe.Message) > 600 || strings.ContainsFunc(fe.Message, func(r rune) bool { return r < ' ' }) {
			t.Errorf("fault %#v", fe)
		}
	})
}
