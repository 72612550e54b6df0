package daytona_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// screen is a client of a PTY session.
type screen struct {
	b    *bench
	conn *websocket.Conn
	seen string
}

// look connects to a PTY session and returns its first message.
func (b *bench) look(id, pty string) (*screen, string) {
	b.Helper()
	url := strings.TrimSuffix(b.server.URL(), "/api") + "/toolbox/" + id + "/process/pty/" + pty + "/connect"
	header := http.Header{"Authorization": {"Bearer " + b.server.Key()}}
	conn, _, err := websocket.Dial(b.Context(), url, &websocket.DialOptions{
		HTTPHeader: header, Subprotocols: []string{"X-Daytona-SDK-Version~0.205.1"},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.CloseNow() })
	if conn.Subprotocol() == "" {
		b.Error("the SDK's protocol was not taken")
	}
	kind, text, err := conn.Read(b.Context())
	if err != nil || kind != websocket.MessageText {
		b.Fatalf("first message: %v %s %v", kind, text, err)
	}
	return &screen{b: b, conn: conn}, string(text)
}

func (s *screen) typed(keys string) {
	s.b.Helper()
	if err := s.conn.Write(s.b.Context(), websocket.MessageBinary, []byte(keys)); err != nil {
		s.b.Fatal(err)
	}
}

// until reads until the screen has shown a text, and forgets what it showed
// up to there.
func (s *screen) until(text string) {
	s.b.Helper()
	ctx, cancel := context.WithTimeout(s.b.Context(), 30*time.Second)
	defer cancel()
	for {
		if _, after, found := strings.Cut(s.seen, text); found {
			s.seen = after
			return
		}
		kind, data, err := s.conn.Read(ctx)
		if err != nil || kind != websocket.MessageBinary {
			s.b.Fatalf("waiting for %q after %q: %v %v", text, s.seen, kind, err)
		}
		s.seen += string(data)
	}
}

// ends reads to the end and returns the last frame; its code is -1 when the
// connection was cut.
func (s *screen) ends() (websocket.StatusCode, string) {
	s.b.Helper()
	ctx, cancel := context.WithTimeout(s.b.Context(), 30*time.Second)
	defer cancel()
	for {
		_, _, err := s.conn.Read(ctx)
		if e, ok := errors.AsType[websocket.CloseError](err); ok {
			return e.Code, e.Reason
		}
		if ctx.Err() != nil {
			s.b.Fatal("the connection stayed open")
		}
		if err != nil {
			return -1, ""
		}
	}
}

const connected = `{"type":"control","status":"connected"}`

// gone waits until nothing with the words in its command line runs.
func (b *bench) gone(id, words string) {
	b.Helper()
	pattern := words[:len(words)-1] + "[" + words[len(words)-1:] + "]" // not the command that looks
	b.eventually("the end of "+words, func() bool {
		_, out := b.run(id, `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -c '`+pattern+`'`)
		return out == "0\n"
	})
}

func TestPTY(t *testing.T) {
	suite(t, func(b *bench, id string) {
		const ptys = "/process/pty"
		create := func(request object) reply { return b.toolbox("POST", id, ptys, request) }
		b.want(create(object{"id": "p", "cols": 100, "rows": 40, "cwd": "/usr", "envs": object{"X": "a b"}}), 201, `"sessionId":"p"`)
		b.want(create(object{"id": "p"}), 409, "already exists")
		b.want(create(object{}), 400, "session ID is required")
		b.want(create(object{"id": "q", "cols": 1001}), 400, "cols")
		b.want(create(object{"id": "q", "rows": 70000}), 400, "")
		b.want(create(object{"id": "q", "cwd": "/nowhere"}), 500, "failed to start")
		b.want(b.toolbox("GET", id, ptys, nil), 200, `"sessions":[{"id":"p","cwd":"/usr","envs":{"TERM":"xterm-256color","X":"a b"},"cols":100,"rows":40,`)
		b.want(b.toolbox("GET", id, ptys+"/p", nil), 200, `"active":true,"lazyStart":false`)
		b.want(b.toolbox("GET", id, ptys+"/q", nil), 404, "not found")

		first, said := b.look(id, "p")
		second, _ := b.look(id, "p")
		if said != connected {
			b.Errorf("the server said %s", said)
		}
		first.typed("stty size; echo \"<$X $TERM $PWD>\"\n")
		for _, s := range []*screen{first, second} {
			s.until("40 100")
			s.until("<a b xterm-256color /usr>")
		}
		b.want(b.toolbox("POST", id, ptys+"/p/resize", object{"cols": 120, "rows": 50}), 200, `"cols":120,"rows":50`)
		b.want(b.toolbox("POST", id, ptys+"/p/resize", object{"cols": 0, "rows": 50}), 400, "")
		b.want(b.toolbox("POST", id, ptys+"/q/resize", object{"cols": 120, "rows": 50}), 410, "not found")
		second.typed("stty size\n")
		first.until("50 120")

		// The keys are a terminal's: one of them interrupts.
		first.typed("sleep 1012; echo $((41+1))\n")
		first.until("sleep")
		b.eventually("the command", func() bool {
			_, out := b.run(id, `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -c 'sleep 101[2]'`)
			return out == "1\n"
		})
		first.typed("\x03")
		b.gone(id, "sleep 1012")

		// Everybody is told the exit code, and the session is gone.
		first.typed("sleep 1013 & exit 7\n")
		for _, s := range []*screen{first, second} {
			if code, reason := s.ends(); code != 1011 || reason != `{"exitCode":7,"exitReason":"non-zero exit"}` {
				b.Errorf("ended with %d %s", code, reason)
			}
		}
		b.want(b.toolbox("GET", id, ptys+"/p", nil), 404, "")
		b.want(b.toolbox("DELETE", id, ptys+"/p", nil), 404, "")
		b.want(create(object{"id": "p"}), 201, "")
		b.want(b.toolbox("DELETE", id, ptys+"/p", nil), 200, "deleted")
	})
}

func TestPTYLazy(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.want(b.toolbox("POST", id, "/process/pty", object{"id": "lazy", "lazyStart": true}), 201, "")
		b.want(b.toolbox("GET", id, "/process/pty/lazy", nil), 200, `"active":false,"lazyStart":true`)
		b.want(b.toolbox("POST", id, "/process/pty/lazy/resize", object{"cols": 9, "rows": 9}), 500, "inactive")
		s, said := b.look(id, "lazy")
		if said != connected {
			b.Errorf("the server said %s", said)
		}
		s.typed("printf '%05d\\n' 7\n")
		s.until("00007")
		s.typed("exit\n")
		if code, reason := s.ends(); code != 1000 || reason != `{"exitCode":0}` {
			b.Errorf("ended with %d %s", code, reason)
		}

		// What is wrong comes as a message, not as a status.
		s, said = b.look(id, "lazy")
		var message struct{ Type, Status, Error string }
		if err := json.Unmarshal([]byte(said), &message); err != nil || message.Type != "control" || message.Status != "error" || !strings.Contains(message.Error, "not found") {
			b.Errorf("the server said %s", said)
		}
		if code, _ := s.ends(); code != -1 {
			b.Errorf("ended with %d", code)
		}
		b.want(b.toolbox("POST", id, "/process/pty", object{"id": "never", "lazyStart": true}), 201, "")
		b.want(b.toolbox("DELETE", id, "/process/pty/never", nil), 200, "")
	})
}

// A deleted session is killed with its jobs; a stopped sandbox cuts its
// clients off.
func TestPTYKilled(t *testing.T) {
	suite(t, func(b *bench, id string) {
		open := func(name string) *screen {
			b.want(b.toolbox("POST", id, "/process/pty", object{"id": name}), 201, "")
			s, _ := b.look(id, name)
			s.typed("nohup sleep 1014 >/dev/null 2>&1 & sleep 1014 & printf '%05d\\n' 8; sleep 1014\n")
			s.until("00008")
			return s
		}
		s := open("one")
		b.want(b.toolbox("DELETE", id, "/process/pty/one", nil), 200, "")
		if code, reason := s.ends(); code != 1011 || reason != `{"exitCode":137,"exitReason":"SIGKILL"}` {
			b.Errorf("ended with %d %s", code, reason)
		}
		b.gone(id, "sleep 1014")

		s = open("two")
		b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
		if code, reason := s.ends(); code != -1 {
			b.Errorf("ended with %d %s", code, reason)
		}
		b.wait(id, "stopped")
		b.want(b.toolbox("GET", id, "/process/pty", nil), 400, "Is the Sandbox started?")
	})
}
