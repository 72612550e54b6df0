package broker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is the key that nothing but the upstream may see.
const canary = "sk-ant-api03-CANARY-0123456789"

// sent is a request as the upstream got it.
type sent struct {
	Method, URI string
	Header      http.Header
	Body        string
}

// upstream is an API that records what it gets and answers as a test says.
type upstream struct {
	*httptest.Server
	mu  sync.Mutex
	got []sent
}

func newUpstream(t testing.TB, answer http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.got = append(u.got, sent{r.Method, r.RequestURI, r.Header.Clone(), string(body)})
		u.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength, r.TransferEncoding = int64(len(body)), nil // CGI takes no chunks
		answer(w, r)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) requests() []sent {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]sent(nil), u.got...)
}

// served is a broker behind a real server.
type served struct {
	*Broker
	url string
	log *logged
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a broker; what cfg leaves out is set so that it works.
func serve(t testing.TB, cfg Config) *served {
	t.Helper()
	s := &served{log: &logged{}}
	if cfg.APIKey.IsZero() && cfg.OAuth.IsZero() {
		cfg.APIKey = secret.New(canary)
	}
	if cfg.Models == nil {
		cfg.Models = []string{"claude-sonnet-5"}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	cfg.HTTP = &http.Client{Transport: transport}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Broker = b
	server := httptest.NewServer(b)
	s.url = server.URL
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
		if strings.Contains(s.log.String(), "CANARY") {
			t.Errorf("the log holds the key:\n%s", s.log)
		}
	})
	return s
}

// do sends a request and returns the status and the whole answer.
func do(t testing.TB, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer dummy")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprint(resp.Header, string(answer)); strings.Contains(all, "CANARY") {
		t.Errorf("the answer holds the key: %s", all)
	}
	return resp.StatusCode, resp.Header, string(answer)
}

func (s *served) post(t testing.TB, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	return do(t, http.MethodPost, s.url+"/anthropic/v1/messages?beta=true", body, header...)
}

// open calls the API and leaves the answer to be read.
func (s *served) open(t testing.TB, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/anthropic/v1/messages", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return http.DefaultClient.Do(req)
}

// flush sends what was written so far.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// event writes a server-sent event.
func event(w io.Writer, kind, fields string) {
	fmt.Fprintf(w, "event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, fields)
}

// streamed answers with a small stream of that usage.
func streamed(input, output int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		event(w, "message_start", fmt.Sprintf(`,"message":{"usage":{"input_tokens":%d,"output_tokens":1}}`, input))
		event(w, "content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
		event(w, "content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"\"message_stop\" usage"}`)
		event(w, "content_block_stop", `,"index":0`)
		event(w, "message_delta", fmt.Sprintf(`,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":%d}`, output))
		event(w, "message_stop", ``)
	}
}

// whole answers with one message of that usage, and counts tokens.
func whole(input, output int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/count_tokens") {
			fmt.Fprintf(w, `{"input_tokens":%d}`, input)
			return
		}
		fmt.Fprintf(w, `{"type":"message","content":[],"usage":{"input_tokens":%d,"output_tokens":%d}}`, input, output)
	}
}
