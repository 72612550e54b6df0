package hub

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxAnswer bounds an answer; a complete recursive tree, the largest one
	// asked for besides blobs, ends at 7 MB (GitHub's "Get a tree").
	maxAnswer = 64 << 20
	// maxErrorAnswer bounds what is read of an answer that tells an error.
	maxErrorAnswer = 64 << 10
	maxRedirects   = 5
)

// errRedirect is a redirect that is not followed: it would have left the API's
// host, or there were too many.
var errRedirect = errors.New("GitHub redirected to another host, or without end")

// transport adds the token, keeps it on the API's host and bounds answers.
type transport struct {
	next  http.RoundTripper
	base  *url.URL
	token tokenSource
	most  int64 // bytes of an answer
}

// newHTTP returns given, or a client with time-outs for connecting, with
// transport around its own.
func newHTTP(given *http.Client, base *url.URL, token tokenSource) *http.Client {
	var c http.Client
	if given != nil {
		c = *given
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       90 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
	}
	c.Transport = &transport{next: c.Transport, base: base, token: token, most: maxAnswer}
	c.CheckRedirect = checkRedirect
	c.Jar = nil
	return &c
}

// checkRedirect follows moved repositories. A redirect that would turn a write
// into a GET is not followed: its answer would look like the write's success.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errRedirect
	}
	return nil
}

// RoundTrip sends one request with the token, or refuses to.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	fail := func(err error) (*http.Response, error) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if req.URL.Scheme != t.base.Scheme || req.URL.Host != t.base.Host {
		return fail(errRedirect)
	}
	token, err := t.token(req.Context())
	if err != nil {
		return fail(err)
	}
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		resp.Body = http.MaxBytesReader(nil, resp.Body, t.most)
		return resp, nil
	}
	// go-github does not close the body of an error: read here, it needs no
	// closing. One that breaks off still has its status.
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	resp.Body.Close()
	if err != nil && req.Context().Err() != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(said))
	return resp, nil
}
