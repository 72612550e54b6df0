package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const oauthBeta = "oauth-2025-04-20"

// droppedBetas are prefixes of beta features that are not lent: the vendor's
// own tools, files, servers and agents, and what changes the price or the
// model of a call. The rules for bodies hold without this list.
var droppedBetas = []string{"mcp-", "code-execution-", "files-api-", "web-", "skills-", "computer-use-",
	"managed-agents-", "environments-", "agent-", "message-threads-", "advisor-tool-", "compact-", "dreaming-", "ccr-",
	"user-profiles-", "fast-mode-", "context-1m-", "server-side-fallback-", "fallback-credit-", "oauth-"}

func forwardedRequestHeader(name string) bool {
	return strings.HasPrefix(name, "X-Stainless-") || slices.Contains([]string{
		"Accept", "Anthropic-Version", "User-Agent", "X-App", "X-Claude-Code-Session-Id"}, name)
}

func forwardedResponseHeader(name string) bool {
	return strings.HasPrefix(name, "Anthropic-Ratelimit-") || slices.Contains([]string{
		"Content-Type", "Request-Id", "Retry-After", "Retry-After-Ms", "X-Should-Retry"}, name)
}

// betas filters the anthropic-beta headers of a request.
func betas(values []string) []string {
	var out []string
	for beta := range strings.SplitSeq(strings.Join(values, ","), ",") {
		beta = strings.TrimSpace(beta)
		dropped := func(prefix string) bool { return strings.HasPrefix(strings.ToLower(beta), prefix) }
		if beta != "" && !slices.ContainsFunc(droppedBetas, dropped) {
			out = append(out, beta)
		}
	}
	return out
}

// refuse answers in the shape of the API's errors.
func (b *Broker) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused := &refusal{http.StatusBadGateway, "api_error", "dayclaude could not forward the request"}
	errors.As(err, &refused)
	b.logRefusal(r, refused.status, err.Error())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refused.status)
	_, _ = w.Write(refused.body()) // to a caller who may have gone
}

// body is the refusal as the API writes errors.
func (r *refusal) body() []byte {
	body, _ := json.Marshal(map[string]any{"type": "error", "error": map[string]string{"type": r.kind, "message": r.message}})
	return body
}

// readCall reads a request's body and holds it against the rules. The
// returned function gives back the memory that the body was granted; it may
// be called more than once.
func (b *Broker) readCall(w http.ResponseWriter, r *http.Request, counting bool) (*call, func(), error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, nil, invalid("dayclaude doesn't take compressed bodies")
	}
	size := r.ContentLength
	if size < 0 {
		size = maxBody
	}
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, "request_too_large", "the request is larger than 32 MiB"}
	if size > maxBody {
		return nil, nil, tooLarge
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.upload)
	defer cancel()
	if err := b.cfg.Bodies.Acquire(ctx, size); err != nil {
		return nil, nil, &refusal{http.StatusTooManyRequests, "rate_limit_error", "too many large requests at once"}
	}
	release := sync.OnceFunc(func() { b.cfg.Bodies.Release(size) })
	var body bytes.Buffer
	body.Grow(int(min(size, 1<<20)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	var c *call
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		err = tooLarge
	case err != nil:
		err = invalid("the request's body is incomplete")
	default:
		c, err = b.parseCall(body.Bytes(), counting)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	arrived(w)
	return c, release, nil
}

func (b *Broker) parseCall(body []byte, counting bool) (*call, error) {
	doc, err := parseDocument(body)
	if err != nil {
		return nil, invalid("%s", err)
	}
	c, err := checkCall(doc, counting)
	if err != nil {
		return nil, err
	}
	c.size = len(body)
	if !slices.Contains(b.cfg.Models, c.model) && !slices.Contains(b.cfg.Models, undated(c.model)) {
		return nil, forbidden("the model %.60q is not allowed in this run", c.model)
	}
	if _, ok := Price(c.model); !ok && b.cfg.MaxCostUSD > 0 {
		return nil, forbidden("the model %.60q has no price, so the run's cost limit can't be kept", c.model)
	}
	return c, nil
}

// request builds the upstream request from our own strings.
func (b *Broker) request(ctx context.Context, r *http.Request, path string, body []byte) (*http.Request, error) {
	url := b.anthropic + path
	if r.URL.Query().Get("beta") == "true" {
		url += "?beta=true"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Anthropic-Version", "2023-06-01")
	copyHeaders(req.Header, r.Header, forwardedRequestHeader)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Encoding", "identity") // the usage is read as the bytes pass
	features := betas(r.Header.Values("Anthropic-Beta"))
	if b.cfg.OAuth.IsZero() {
		req.Header.Set("X-Api-Key", b.cfg.APIKey.Reveal())
	} else {
		req.Header.Set("Authorization", "Bearer "+b.cfg.OAuth.Reveal())
		features = append(features, oauthBeta)
	}
	if len(features) > 0 {
		req.Header.Set("Anthropic-Beta", strings.Join(features, ","))
	}
	return req, nil
}

const messagesPath, countPath = "/v1/messages", "/v1/messages/count_tokens"

// messages forwards a call, metered.
func (b *Broker) messages(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	c, release, err := b.readCall(w, r, false)
	if err != nil {
		b.refuseCall(w, r, err)
		return
	}
	defer release()
	price, _ := Price(c.model)
	body := c.encode()
	prompt, asked := c.promptBound(len(body)), c.maxTokens
	waiting, stop := context.WithTimeout(ctx, b.whole)
	defer stop()
	reserved, err := b.budget.reserve(waiting, c, price, prompt, func() (int64, error) { return b.count(waiting, r, c) })
	if err != nil {
		if waiting.Err() != nil {
			err = &refusal{http.StatusTooManyRequests, "rate_limit_error", "other calls hold what is left of the run's cost limit"}
		}
		b.refuseCall(w, r, err)
		return
	}
	if c.maxTokens != asked {
		body = c.encode()
	}
	c.body = value{} // the answer can take long: keep little meanwhile

	m := &meter{stream: c.stream}
	began := b.cfg.Now()
	sent := false
	defer func() {
		var u usage
		if sent {
			u = m.charge(c, prompt, b.cfg.Now().Sub(began))
		}
		b.budget.settle(reserved, price.usd(u), u)
	}()
	first := b.whole
	if c.stream {
		first = b.idle
	}
	resp, err := b.send(ctx, cancel, r, messagesPath, body, first, &sent)
	release()
	if err != nil {
		b.refuseCall(w, r, err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		sent = false // an error costs nothing
		whole := b.readWhole(cancel, resp)
		b.note(r.Context(), refusalIn(resp, whole))
		relayWhole(w, resp, whole)
		return
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		b.refuseCall(w, r, errors.New("the upstream compressed an answer, which can't be metered"))
		return
	}
	m.stream = strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	b.answered(r.Context())
	copyHeaders(w.Header(), resp.Header, forwardedResponseHeader)
	w.WriteHeader(http.StatusOK)
	err = b.relay(w, resp.Body, cancel, m)
	m.end()
	b.log.Debug("broker forwarded a call", "model", c.model, "complete", m.done, "prompt_tokens", m.usage.prompt(), "output_tokens", m.usage.Output)
	if err != nil {
		if r.Context().Err() == nil {
			b.note(r.Context(), b.refusalOf(fmt.Errorf("the answer was cut: %w", err)))
		}
		b.log.Info("an answer was cut", "model", c.model, "error", err)
		panic(http.ErrAbortHandler) // net/http's way to let the caller see the cut
	}
}

// send forwards a body, and waits so long for the answer's head. It sets sent
// once the upstream may have read it all: from then on the call may cost
// something.
func (b *Broker) send(ctx context.Context, cancel context.CancelCauseFunc, r *http.Request, path string, body []byte, first time.Duration, sent *bool) (*http.Response, error) {
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { wrote.Store(wrote.Load() || info.Err == nil) },
	})
	req, err := b.request(ctx, r, path, body)
	if err != nil {
		return nil, err
	}
	resp, err := b.exchange(cancel, req, first)
	*sent = err == nil || wrote.Load() && !errors.Is(err, errRedirect)
	return resp, err
}

// readWhole reads a small answer, an error or a count, bounded and redacted.
func (b *Broker) readWhole(cancel context.CancelCauseFunc, resp *http.Response) string {
	defer watch(cancel, b.idle).Stop()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError+1))
	if err != nil || len(body) > maxError {
		body = (&refusal{resp.StatusCode, "api_error", "the API's answer could not be read"}).body()
	}
	if resp.StatusCode != http.StatusOK {
		b.log.Info("the API answered with an error", "status", resp.StatusCode, "request_id", fmt.Sprintf("%.80q", resp.Header.Get("Request-Id")))
	}
	return b.redactor.Redact(string(body))
}

// relayWhole passes on what readWhole read. Claude Code decides by the status
// whether to try again. It does so ten times after a 401, for its credential
// may have been renewed; the host's is the same for the whole run, so that a
// refused one becomes a 403. It gives up when it is told to wait for more than
// a minute; up to ten of them are waited for in steps.
func relayWhole(w http.ResponseWriter, resp *http.Response, body string) {
	const step, most = time.Minute, 10 * time.Minute
	status := resp.StatusCode
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	copyHeaders(w.Header(), resp.Header, forwardedResponseHeader)
	if after := retryAfter(resp); after > step && after <= most && usageReset(resp).IsZero() {
		w.Header().Set("Retry-After", strconv.Itoa(int(step.Seconds())))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // to a caller who may have gone
}

// countTokens forwards a count, which is free.
func (b *Broker) countTokens(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	c, release, err := b.readCall(w, r, true)
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	defer release()
	resp, err := b.send(ctx, cancel, r, countPath, c.body.only(countFields).appendTo(nil), b.idle, new(bool))
	if err != nil {
		b.refuse(w, r, err)
		return
	}
	defer resp.Body.Close()
	relayWhole(w, resp, b.readWhole(cancel, resp))
}

// count asks the API how many tokens a call's prompt has.
func (b *Broker) count(ctx context.Context, r *http.Request, c *call) (int64, error) {
	const limit = 30 * time.Second
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer watch(cancel, limit).Stop()
	resp, err := b.send(ctx, cancel, r, countPath, c.body.only(countFields).appendTo(nil), limit, new(bool))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Tokens int64 `json:"input_tokens"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxError)).Decode(&answer); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK || answer.Tokens <= 0 {
		return 0, fmt.Errorf("counting tokens: status %d", resp.StatusCode)
	}
	return answer.Tokens, nil
}
