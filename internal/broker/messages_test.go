package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestForwards(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		credential       Credential
		key, auth, betas string
	}{
		"API key":      {Credential{APIKey: secret.New(canary)}, canary, "", "effort-2025-11-24"},
		"subscription": {Credential{OAuth: secret.New(canary)}, "", "Bearer " + canary, "effort-2025-11-24," + oauthBeta},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Anthropic-Ratelimit-Requests-Remaining", "7")
				w.Header().Set("Request-Id", "req_1")
				w.Header().Set("Set-Cookie", "c=1")
				w.Header().Set("X-Echo", r.Header.Get("X-Api-Key")+r.Header.Get("Authorization"))
				streamed(12, 34)(w, r)
			})
			b := serve(t, Config{Anthropic: up.URL + "/base/", Credential: tt.credential})
			status, header, answer := b.post(t, requestBody(`"stream":true,"speed":"fast"`),
				"X-Api-Key", "theirs", "Cookie", "c=2", "X-Forwarded-For", "1.2.3.4", "Proxy-Authorization", "x",
				"Anthropic-Beta", "effort-2025-11-24", "Anthropic-Beta", "web-fetch-2025-09-10", "User-Agent", "claude-cli/2", "X-Stainless-Os", "Linux")
			if status != http.StatusOK || !strings.Contains(answer, "message_stop") {
				t.Fatalf("got %d %s", status, answer)
			}
			if header.Get("Request-Id") != "req_1" || header.Get("Anthropic-Ratelimit-Requests-Remaining") != "7" ||
				header.Get("Set-Cookie") != "" || header.Get("X-Echo") != "" {
				t.Errorf("headers of the answer: %v", header)
			}
			got := up.requests()[0]
			if got.URI != "/base/v1/messages?beta=true" || got.Body != `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}],"stream":true}` {
				t.Errorf("upstream got %s %s", got.URI, got.Body)
			}
			for name, want := range map[string]string{"X-Api-Key": tt.key, "Authorization": tt.auth, "Anthropic-Beta": tt.betas,
				"Anthropic-Version": "2023-06-01", "Cookie": "", "X-Forwarded-For": "", "Proxy-Authorization": "",
				"User-Agent": "claude-cli/2", "X-Stainless-Os": "Linux", "Accept-Encoding": "identity"} {
				if v := strings.Join(got.Header.Values(name), "|"); v != want {
					t.Errorf("%s is %q, want %q", name, v, want)
				}
			}
			if c := b.Spent(); c.InputTokens != 12 || c.OutputTokens != 34 || math.Abs(c.USD-(12*2+34*10)/1e6) > 1e-12 {
				t.Errorf("spent %+v", c)
			}
		})
	}
}

// TestRefusesPaths sends each request line as it is, past what Go's client
// would clean up.
func TestRefusesPaths(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(1, 1))
	b := serve(t, Config{Anthropic: up.URL, GitURL: up.URL, Repositories: []string{"demo/shop"}})
	address := strings.TrimPrefix(b.url, "http://")
	for _, tt := range []struct {
		line   string
		status int
	}{
		{"GET /anthropic/v1/messages", 403},
		{"PUT /anthropic/v1/messages", 403},
		{"POST /anthropic/v1/files", 403},
		{"POST /anthropic/v1/messages/batches", 403},
		{"POST /anthropic/v1/messages/", 403},
		{"POST /anthropic//v1/messages", 403},
		{"POST /anthropic/v1/../v1/messages", 403},
		{"POST /anthropic/v1/messages/../files", 403},
		{"POST /anthropic/v1/%6dessages", 403},
		{"POST /anthropic/v1%2fmessages", 403},
		{"POST /anthropic/V1/messages", 403},
		{"POST /Anthropic/v1/messages", 404},
		{"POST //anthropic/v1/messages", 404},
		{"POST /%61nthropic/v1/messages", 404},
		{"POST /v1/messages", 404},
		{"GET /", 404},
		{"GET /anthropic", 404},
		{"GET http://169.254.169.254/latest/meta-data/", 403},
		{"POST http://api.anthropic.com/anthropic/v1/messages", 403},
		{"CONNECT api.anthropic.com:443", 403},
		{"GET /git/demo/shop.git/info/refs?service=git-receive-pack", 403},
		{"POST /git/demo/shop.git/git-receive-pack", 403},
		{"GET /git/demo/shop.git/info/refs", 403},
		{"GET /git/demo/shop.git/info/refs?service=git-upload-pack&x=1", 403},
		{"GET /git/demo/shop.git/HEAD", 403},
		{"GET /git/demo/shop.git/info/lfs/objects/batch", 403},
		{"POST /git/demo/shop.git/git-upload-pack", 403}, // no content type
		{"GET /git/demo/other.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo/shop/../other.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo/..%2fdemo/shop.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo%2fshop.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo//shop.git/info/refs?service=git-upload-pack", 403},
		{"GET /git//demo/shop.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo/shop.git.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/demo/shop.git/x/info/refs?service=git-upload-pack", 403},
		{"GET /git/x@evil.example/demo/shop.git/info/refs?service=git-upload-pack", 403},
		{"GET /git/info/refs?service=git-upload-pack", 403},
		{"GET /git/../anthropic/v1/messages", 403},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: broker\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", tt.line)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || len(answer) == 0 {
				t.Errorf("got %d %q, %v; want %d", resp.StatusCode, answer, err, tt.status)
			}
			if strings.Contains(tt.line, " /git/") != strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("content type %q", resp.Header.Get("Content-Type"))
			}
		})
	}
	t.Cleanup(func() {
		if got := up.requests(); len(got) > 0 {
			t.Errorf("forwarded: %+v", got)
		}
	})
}

func TestRefusesBodies(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(1, 1))
	b := serve(t, Config{Anthropic: up.URL, MaxCostUSD: 1})
	for name, tt := range map[string]struct {
		body   string
		header []string
		status int
		kind   string
	}{
		"not JSON":         {`hi`, nil, 400, "invalid_request_error"},
		"duplicate":        {requestBody(`"model":"claude-opus-5"`), nil, 400, "invalid_request_error"},
		"other model":      {strings.Replace(requestBody(``), "sonnet", "opus", 1), nil, 403, "permission_error"},
		"model's prefix":   {strings.Replace(requestBody(``), "sonnet-5", "sonnet-5-5", 1), nil, 403, "permission_error"},
		"no model":         {`{"max_tokens":1,"messages":[]}`, nil, 403, "permission_error"},
		"MCP":              {requestBody(`"mcp_servers":[]`), nil, 403, "permission_error"},
		"compressed":       {"\x1f\x8b", []string{"Content-Encoding", "gzip"}, 400, "invalid_request_error"},
		"larger than ours": {strings.Repeat(" ", maxBody+1), nil, 413, "request_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{messagesPath, countPath} {
				status, _, answer := do(t, http.MethodPost, b.url+"/anthropic"+path, tt.body, tt.header...)
				var got struct {
					Type  string
					Error struct{ Type, Message string }
				}
				if err := json.Unmarshal([]byte(answer), &got); err != nil || status != tt.status ||
					got.Type != "error" || got.Error.Type != tt.kind || got.Error.Message == "" {
					t.Errorf("%s: got %d %s, want %d %s", path, status, answer, tt.status, tt.kind)
				}
			}
		})
	}
	t.Cleanup(func() {
		if got := up.requests(); len(got) > 0 {
			t.Errorf("forwarded: %+v", got)
		}
	})
}

func TestCountTokens(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(77, 0))
	b := serve(t, Config{Anthropic: up.URL})
	status, _, answer := do(t, http.MethodPost, b.url+"/anthropic"+countPath+"?x=1", `{"model":"claude-sonnet-5-20260630","messages":[],"metadata":{}}`)
	if status != http.StatusOK || answer != `{"input_tokens":77}` {
		t.Fatalf("got %d %s", status, answer)
	}
	if got := up.requests()[0]; got.URI != countPath || got.Body != `{"model":"claude-sonnet-5-20260630","messages":[]}` {
		t.Errorf("upstream got %+v", got)
	}
	if c := b.Spent(); c.USD != 0 || c.InputTokens != 0 {
		t.Errorf("spent %+v", c)
	}
}

func TestUpstreamErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		holds  string
	}{
		"rate limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"type":"error","error":{"type":"rate_limit_error"}}`)
		}, 429, "rate_limit_error"},
		"echo of the key": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, "invalid key %s", r.Header.Get("X-Api-Key"))
		}, 403, "invalid key [redacted]"}, // Claude Code would ask ten times
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 502, "api_error"},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "zstd")
			fmt.Fprint(w, "x")
		}, 502, "api_error"},
		"endless error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			for range 100 {
				fmt.Fprint(w, strings.Repeat("e", 4096))
			}
		}, 500, "could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, tt.answer)
			b := serve(t, Config{Anthropic: up.URL})
			status, header, answer := b.post(t, requestBody(``))
			if status != tt.status || !strings.Contains(answer, tt.holds) || len(answer) > maxError {
				t.Errorf("got %d %.300s", status, answer)
			}
			if tt.status == 429 && header.Get("Retry-After") != "3" {
				t.Errorf("headers %v", header)
			}
			if n := len(up.requests()); n != 1 {
				t.Errorf("%d requests upstream", n)
			}
			if usd := b.Spent().USD; name != "compressed" && usd != 0 || name == "compressed" && usd == 0 {
				t.Errorf("charged $%f", usd)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, nil)
		up.Close()
		b := serve(t, Config{Anthropic: up.URL})
		if status, _, answer := b.post(t, requestBody(``)); status != 502 || b.Spent().USD != 0 {
			t.Errorf("got %d %s, charged $%f", status, answer, b.Spent().USD)
		}
	})
}

// TestFlushes: the caller sees each event before the next is sent.
func TestFlushes(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			event(w, "ping", ``)
			flush(w)
			<-next
		}
	})
	b := serve(t, Config{Anthropic: up.URL})
	resp, err := b.open(t, requestBody(`"stream":true`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for range 3 {
		for range 3 {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
		}
		next <- struct{}{}
	}
}

// TestCut: whichever side goes away, the caller sees a cut and the call is
// charged.
func TestCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		events func(w io.Writer)
		input  int64
	}{
		"before the head": {nil, int64(len(requestBody(`"stream":true`))) + 4096},
		"before usage":    {func(w io.Writer) { event(w, "ping", ``) }, int64(len(requestBody(`"stream":true`))) + 4096},
		"after usage": {func(w io.Writer) {
			event(w, "message_start", `,"message":{"usage":{"input_tokens":5,"output_tokens":1}}`)
		}, 5},
		"after a first delta": {func(w io.Writer) {
			event(w, "message_start", `,"message":{"usage":{"input_tokens":5,"output_tokens":1}}`)
			event(w, "message_delta", `,"usage":{"output_tokens":9}`)
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.events != nil {
					w.Header().Set("Content-Type", "text/event-stream")
					tt.events(w)
					flush(w)
				}
				panic(http.ErrAbortHandler)
			})
			now := time.Now()
			b := serve(t, Config{Anthropic: up.URL, Now: func() time.Time { return now }})
			resp, err := b.open(t, requestBody(`"stream":true`))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
			if cut := tt.events != nil; cut != (err != nil) || cut != (resp.StatusCode == http.StatusOK) {
				t.Errorf("status %d, error %v", resp.StatusCode, err)
			}
			if c := b.Spent(); c.InputTokens != tt.input || c.OutputTokens != 100 {
				t.Errorf("spent %+v, want %d in, 100 out", c, tt.input)
			}
		})
	}
}

// TestSilentUpstream: an upstream that says nothing does not hold a call for
// ever, whether before its head or in the middle.
func TestSilentUpstream(t *testing.T) {
	t.Parallel()
	for _, head := range []bool{false, true} {
		up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			if head {
				w.WriteHeader(http.StatusOK)
				flush(w)
			}
			<-r.Context().Done()
		})
		b := serve(t, Config{Anthropic: up.URL})
		b.idle, b.whole = 50*time.Millisecond, 50*time.Millisecond
		if head { // which must come before that
			b.idle, b.whole = 2*time.Second, 2*time.Second
		}
		resp, err := b.open(t, requestBody(``))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); head != (err != nil) || !head && resp.StatusCode != http.StatusBadGateway {
			t.Errorf("head %v: status %d, %v", head, resp.StatusCode, err)
		}
		resp.Body.Close()
	}
}

// TestSlowCaller: neither a body that doesn't come nor an answer that isn't
// read holds a call for ever.
func TestSlowCaller(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			event(w, "ping", strings.Repeat(" ", 1<<16))
		}
	})
	b := serve(t, Config{Anthropic: up.URL})
	b.upload, b.idle = 500*time.Millisecond, 500*time.Millisecond
	body := requestBody(`"stream":true`)
	for _, tt := range []struct {
		path, status string
		announced    int
	}{
		{"/elsewhere", "404 Not Found", len(body) + 1},
		{"/anthropic/v1/messages", "400 Bad Request", len(body) + 1},
		{"/anthropic/v1/messages", "200 OK", len(body)},
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: broker\r\nContent-Length: %d\r\n\r\n%s", tt.path, tt.announced, body)
		status, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(status, tt.status) {
			t.Errorf("got %q, %v; want %s", status, err, tt.status)
		}
	}
	<-ended // the last caller still holds its connection
}

// TestBodiesAreBounded: a request whose body doesn't fit into memory is not
// read, and nothing is held once a call was forwarded.
func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, whole(1, 1))
	bodies := semaphore.NewWeighted(maxBody)
	b := serve(t, Config{Anthropic: up.URL, Bodies: bodies})
	if !bodies.TryAcquire(maxBody) {
		t.Fatal("no room")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	body := strings.NewReader(requestBody(``))
	answer := httptest.NewRecorder()
	b.ServeHTTP(answer, httptest.NewRequestWithContext(gone, http.MethodPost, "/anthropic/v1/messages", body))
	if answer.Code != http.StatusTooManyRequests || body.Len() != int(body.Size()) {
		t.Errorf("answered %d, read %d bytes", answer.Code, int(body.Size())-body.Len())
	}
	bodies.Release(maxBody)
	for _, text := range []string{requestBody(``), `{`} {
		b.post(t, text)
		if !bodies.TryAcquire(maxBody) {
			t.Errorf("memory is still held after %s", text)
		}
		bodies.Release(maxBody)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Credential: Credential{APIKey: secret.New(canary)}, Models: []string{"claude-sonnet-5"}, MaxCostUSD: 1}
	for name, spoil := range map[string]func(*Config){
		"no credential":     func(c *Config) { c.APIKey = secret.String{} },
		"two credentials":   func(c *Config) { c.OAuth = secret.New("x") },
		"no model":          func(c *Config) { c.Models = nil },
		"no price":          func(c *Config) { c.Models = []string{"claude-sonnet-5", "claude-next"} },
		"negative limit":    func(c *Config) { c.MaxCostUSD = -1 },
		"repository":        func(c *Config) { c.Repositories = []string{"demo/.."} },
		"repository's path": func(c *Config) { c.Repositories = []string{"demo/shop/x"} },
		"URL":               func(c *Config) { c.Anthropic = "api.anthropic.com" },
		"user in URL": func(c *Config) {
			c.GitURL = (&url.URL{Scheme: "https", User: url.UserPassword("u", canary), Host: "h"}).String()
		},
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: the error holds the key", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	good.Models, good.MaxCostUSD = []string{"claude-next"}, 0
	if _, err := New(good); err != nil {
		t.Errorf("without a limit no price is needed: %v", err)
	}
}
