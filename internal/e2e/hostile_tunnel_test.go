package e2e_test

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/dayclaude/dayclaude/internal/e2e"
)

// spell is how long a misuse of the tunnel lasts at most, where nothing ends
// it before.
const spell = 3 * time.Second

// streams is a misuse of the tunnel by that many streams at once, each doing
// as it likes for a spell.
func streams(many int, each func(i int, stream net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		config := yamux.DefaultConfig()
		config.AcceptBacklog = 1 << 16
		config.LogOutput = io.Discard
		session, err := yamux.Client(conn, config)
		if err != nil {
			panic(err) // a wrong configuration
		}
		defer session.Close()
		var all sync.WaitGroup
		defer all.Wait()
		for i := range many {
			stream, err := session.Open()
			if err != nil {
				return
			}
			_ = stream.SetDeadline(time.Now().Add(spell))
			all.Go(func() { each(i, stream) })
		}
	}
}

// frames is a misuse by frames that no yamux would send, and reads nothing.
func frames(next func(i uint32) []byte) func(net.Conn) {
	return func(conn net.Conn) {
		_ = conn.SetDeadline(time.Now().Add(spell))
		for i := uint32(0); ; i++ {
			if _, err := conn.Write(next(i)); err != nil {
				return
			}
		}
	}
}

// frame is one of yamux's frames.
func frame(kind byte, flags uint16, stream uint32, data []byte) []byte {
	head := make([]byte, 12, 12+len(data))
	head[1] = kind
	binary.BigEndian.PutUint16(head[2:], flags)
	binary.BigEndian.PutUint32(head[4:], stream)
	binary.BigEndian.PutUint32(head[8:], uint32(len(data)))
	return append(head, data...)
}

const frameData, frameWindow, framePing, flagSYN = 0, 1, 2, 1

// again writes the same until that fails.
func again(w io.Writer, text string) {
	for b := []byte(text); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// TestHostileTunnel: however a taken-over sandbox uses the tunnel, the command
// stays within bounds, and the run is none the worse for it.
func TestHostileTunnel(t *testing.T) {
	t.Parallel()
	const few, many = 48, 10_000
	const (
		get  = "GET /nothing HTTP/1.1\r\nHost: host\r\n"
		call = "POST /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Type: application/json\r\n"
	)
	long := `{"model":"m","messages":[` + strings.Repeat(`{},`, 10<<20) + `{}]}`
	window, noise := make([]byte, 256<<10), make([]byte, 64<<10)
	_, _ = rand.Read(noise) // never fails
	for name, tt := range map[string]struct {
		misuse func(net.Conn)
		says   string
	}{
		"10,000 streams": {misuse: streams(many, func(_ int, stream net.Conn) {
			_, _ = io.WriteString(stream, get[:9])
		})},
		"10,000 streams that are left open": {misuse: streams(many, func(_ int, stream net.Conn) {
			_, _ = io.WriteString(stream, get+"\r\n")
			_, _ = io.Copy(io.Discard, stream)
		})},
		"requests at line rate": {says: "requests from the sandbox were refused", misuse: streams(few, func(_ int, stream net.Conn) {
			var asking sync.WaitGroup
			asking.Go(func() { again(stream, get+"\r\n") })
			_, _ = io.Copy(io.Discard, stream)
			asking.Wait()
		})},
		"half requests": {misuse: streams(few, func(i int, stream net.Conn) {
			half := call + "Content-Length: 1000\r\n\r\n{"
			_, _ = io.WriteString(stream, half[:len(half)-2*i])
			_, _ = io.Copy(io.Discard, stream)
		})},
		"heads without end": {misuse: streams(few, func(_ int, stream net.Conn) {
			_, _ = io.WriteString(stream, get+"X: ")
			again(stream, strings.Repeat("x", 1<<16))
		})},
		"bodies without end": {misuse: streams(few, func(_ int, stream net.Conn) {
			_, _ = io.WriteString(stream, call+"Transfer-Encoding: chunked\r\n\r\n")
			again(stream, "10000\r\n"+strings.Repeat("[", 1<<16)+"\r\n")
		})},
		"bodies that take long to read": {misuse: streams(4, func(_ int, stream net.Conn) {
			fmt.Fprintf(stream, "%sContent-Length: %d\r\n\r\n%s", call, len(long), long)
			_, _ = io.Copy(io.Discard, stream)
		})},
		"answers that nobody reads": {misuse: streams(few, func(_ int, stream net.Conn) {
			again(stream, strings.Repeat(get+"\r\n", 1000))
		})},
		"frames that nobody reads": {misuse: frames(func(i uint32) []byte {
			return append(frame(frameWindow, flagSYN, 2*i+1, nil), frame(frameData, 0, 2*i+1, []byte(get[:9]))...)
		})},
		"windows that are filled": {misuse: frames(func(i uint32) []byte {
			return append(frame(frameWindow, flagSYN, 2*i+1, nil), frame(frameData, 0, 2*i+1, window)...)
		})},
		"pings at line rate": {says: "a flood of pings", misuse: frames(func(uint32) []byte {
			return frame(framePing, flagSYN, 0, nil)
		})},
		"noise": {says: "opening the tunnel again", misuse: frames(func(uint32) []byte { return noise })},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := misused(t, tt.misuse)
			if logs := s.Run("runs", "logs", r.JSON()["run_id"].(string)); !strings.Contains(logs.Stdout, tt.says) {
				t.Errorf("the log lacks %q:\n%s", tt.says, logs)
			}
		})
	}
}

// misused is a run whose sandbox is well but for what it does with its first
// tunnel. Nothing of that reaches the model.
func misused(t *testing.T, misuse func(net.Conn)) (*e2e.Stack, *e2e.Result) {
	t.Helper()
	var once sync.Once
	l := &liar{set: readme, spent: make(chan struct{})}
	l.tunnel = func(conn net.Conn) {
		once.Do(func() { defer close(l.spent); misuse(conn) })
	}
	s, r := l.lie(t, 0, "")
	<-l.spent
	s.Pull("demo/shop")
	if calls := s.Anthropic.Requests(); len(calls) != 0 {
		t.Errorf("the model's API got %+v", calls)
	}
	return s, r
}

// TestTunnelReopened: a sandbox that hangs up again and again is dialled
// again, at leisure, and does not fill the log with that.
func TestTunnelReopened(t *testing.T) {
	l := &liar{set: readme, spent: make(chan struct{})}
	var mu sync.Mutex
	var dials int
	l.tunnel = func(conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if dials++; dials == 20 {
			close(l.spent)
		}
		_ = conn.Close()
	}
	s, r := l.lie(t, 0, "")
	s.Pull("demo/shop")
	logs := s.Run("runs", "logs", r.JSON()["run_id"].(string)).Stdout
	if told := strings.Count(logs, "opening the tunnel again"); told < 5 || told > 10 {
		t.Errorf("told %d times:\n%s", told, logs)
	}
	if dials > 100 {
		t.Errorf("dialled %d times", dials)
	}
}

// TestOddRequests: what is not a call that the broker lends goes nowhere,
// however it is put.
func TestOddRequests(t *testing.T) {
	astray := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path+r.Host, "astray") {
			t.Errorf("the sandbox was let out: %s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(astray.Close)
	place := strings.TrimPrefix(astray.URL, "http://")
	requests := []string{
		"GET " + astray.URL + "/astray HTTP/1.1\r\nHost: host\r\n\r\n",
		"POST " + astray.URL + "/anthropic/v1/messages?astray HTTP/1.1\r\nHost: astray\r\nContent-Length: 2\r\n\r\n{}",
		"CONNECT " + place + " HTTP/1.1\r\nHost: " + place + "\r\n\r\nGET /astray HTTP/1.1\r\nHost: astray\r\n\r\n",
		"GET //" + place + "/astray HTTP/1.1\r\nHost: " + place + "\r\n\r\n",
		"GET /anthropic/v1/models HTTP/1.1\r\nHost: host\r\n\r\n",
		"GET /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\n\r\n",
		"PUT /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"post /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"POST /anthropic/v1/files HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"POST /anthropic/v1/messages/../models HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"POST /anthropic/v1/messages/batches HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"POST /anthropic/v1/%6dessages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}",
		"POST /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /astray HTTP/1.1\r\n\r\n",
		"POST /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
		"POST /anthropic/v1/messages HTTP/1.1\r\nHost: host\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
		"GET / HTTP/1.1\r\nHost: host\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: host\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: host\r\n\r\n",
		"GET /git/demo/other.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: host\r\n\r\n",
		"GET /git/demo/shop.git/info/refs?service=git-receive-pack HTTP/1.1\r\nHost: host\r\n\r\n",
		"POST /git/demo/shop.git/git-receive-pack HTTP/1.1\r\nHost: host\r\nContent-Length: 0\r\n\r\n",
		"GET /git/demo/../api/v3/user HTTP/1.1\r\nHost: host\r\n\r\n",
		"GET /git/demo%2fshop.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: host\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"GET / HTTP/1.1\nHost: a\nHost: b\n\n",
	}
	statuses := make([]int, len(requests)) // 0: no answer
	s, _ := misused(t, streams(len(requests), func(i int, stream net.Conn) {
		_, _ = io.WriteString(stream, requests[i])
		if answer, err := http.ReadResponse(bufio.NewReader(stream), nil); err == nil {
			statuses[i] = answer.StatusCode
		}
	}))
	for i, status := range statuses {
		if status != 0 && status < http.StatusBadRequest {
			t.Errorf("%q is answered with %d", requests[i], status)
		}
	}
	for _, q := range s.GitHub.Requests() {
		if strings.Contains(q.Path, "git-") || strings.Contains(q.Path, "other") {
			t.Errorf("GitHub got %+v", q)
		}
	}
}
