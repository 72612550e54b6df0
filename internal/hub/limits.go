package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/notice"
)

// RateLimit is the cause of a fault.Quota: GitHub answers no call of this
// token before Until.
type RateLimit struct {
	Until     time.Time
	Secondary bool // too many calls at once, rather than in the hour
}

// Error says until when.
func (r *RateLimit) Error() string {
	kind := "rate limit"
	if r.Secondary {
		kind = "secondary rate limit"
	}
	return fmt.Sprintf("GitHub's %s is reached until %s", kind, r.Until.UTC().Format("2006-01-02 15:04:05 MST"))
}

// hold waits out a rate limit that any call has met, and reports whether there
// was one. A wait that is too long, or one too many, is a fault.Quota.
func (c *Client) hold(ctx context.Context, o op, holds int) (bool, error) {
	c.mu.Lock()
	limit := c.blocked
	c.mu.Unlock()
	wait := limit.Until.Sub(c.now())
	if wait <= 0 {
		return false, nil
	}
	deadline, bounded := ctx.Deadline()
	if wait > c.maxWait || holds >= c.maxHolds || bounded && time.Until(deadline) < wait {
		return false, (&fault.Error{Kind: fault.Quota, Message: o.does + ": " + limit.Error(), Err: &limit}).
			WithHint("run it again after that; other tools that use the same token share its limit")
	}
	notice.Tell(ctx, limit.Error()+"; waiting for that")
	if c.sleep(ctx, wait) != nil {
		return false, interrupted(ctx, o)
	}
	return true, nil
}

// limited reports whether the answer says that a rate limit was reached, after
// so many waits for one, and remembers until when.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
func (c *Client) limited(resp *http.Response, holds int) bool {
	if resp == nil || resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		return false
	}
	after := resp.Header.Get("Retry-After")
	said := strings.ToLower(peek(resp))
	worded := strings.Contains(said, "rate limit") || strings.Contains(said, "abuse detection")
	if resp.StatusCode == http.StatusForbidden && after == "" && !worded {
		return false
	}
	primary := resp.Header.Get("X-RateLimit-Remaining") == "0" && !strings.Contains(said, "secondary")
	now := c.now()
	until := now.Add(time.Minute << holds) // what GitHub asks for when it names no time
	if seconds, err := strconv.Atoi(after); err == nil && seconds >= 0 {
		until = now.Add(time.Duration(min(seconds, 86400)) * time.Second)
	} else if reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && primary {
		// By GitHub's clock, whatever this machine's shows.
		github, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			github = now
		}
		until = now.Add(time.Unix(reset, 0).Sub(github))
	}
	// Never at once, or a limit that is not lifted would make calls in a tight circle.
	if soonest := now.Add(time.Second); until.Before(soonest) {
		until = soonest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.blocked.Until) {
		c.blocked = RateLimit{Until: until, Secondary: !primary}
	}
	return true
}

// peek returns the message of an error's answer and leaves it readable.
func peek(resp *http.Response) string {
	var said struct{ Message string }
	_ = json.Unmarshal(body(resp), &said) // an answer that is not JSON has no message
	return said.Message
}

// body returns what transport kept of an error's answer, any number of times.
func body(resp *http.Response) []byte {
	b, _ := io.ReadAll(resp.Body) // from memory: transport and go-github read it already
	resp.Body = io.NopCloser(strings.NewReader(string(b)))
	return b
}
