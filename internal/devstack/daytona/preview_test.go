package daytona_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

func escape(text string) string { return url.QueryEscape(text) }

const previewToken = "x-daytona-preview-token"

func TestPreview(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.serveEcho(id)
		base, token := b.preview(id, 8080)
		key := b.server.Key()

		for name, c := range map[string]struct {
			path    string
			headers []string
			status  int
			has     string // in the headers that the application sees
			hasNot  string
		}{
			"none":                          {"/headers", nil, 307, "", ""},
			"wrong token":                   {"/headers", []string{previewToken, "wrong"}, 307, "", ""},
			"token":                         {"/headers", []string{previewToken, token}, 200, "User-Agent", token},
			"token in the query":            {"/headers?a=1&DAYTONA_SANDBOX_AUTH_KEY=" + token, nil, 200, "a=1", token},
			"token in a cookie":             {"/headers", []string{"Cookie", "DAYTONA_SANDBOX_AUTH_KEY=" + token}, 200, "", ""},
			"key":                           {"/headers", []string{"Authorization", "Bearer " + key}, 200, "", key},
			"key and token":                 {"/headers", []string{"Authorization", "Bearer " + key, previewToken, token}, 200, "", token},
			"other bearer":                  {"/headers", []string{"Authorization", "Bearer app"}, 307, "", ""},
			"other bearer beside the token": {"/headers", []string{"Authorization", "Bearer app", previewToken, token}, 200, "Bearer app", token},
			"websocket without a token":     {"/ws", []string{"Upgrade", "websocket", "Connection", "upgrade"}, 307, "", ""},
		} {
			r := b.send("GET", base+c.path, nil, c.headers...)
			if r.status != c.status || !strings.Contains(string(r.body), c.has) || c.hasNot != "" && strings.Contains(string(r.body), c.hasNot) {
				b.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}

		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		conn, _, err := websocket.Dial(ctx, base+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{previewToken: {token}}})
		if err != nil {
			b.Fatal(err)
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		message := strings.Repeat("frame ", 10_000)
		if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			b.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != message {
			b.Fatalf("echo of %d bytes, %v", len(got), err)
		}

		// Nothing listens there. (Ports are the machine's own with the process
		// engine: 1 is free everywhere.)
		nothing, other := b.preview(id, 1)
		b.want(b.send("GET", nothing, nil, previewToken, other), 502, "")
		b.want(b.api("GET", "/sandbox/"+id+"/ports/0/preview-url", nil), 400, "port")

		// The stop cuts what is open; the token lives on to the next start.
		b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
		if _, _, err := conn.Read(ctx); err == nil {
			b.Error("the WebSocket outlived its sandbox")
		}
		b.wait(id, "stopped")
		b.want(b.send("GET", base, nil, previewToken, token), 400, "Is the Sandbox started?")
		b.want(b.send("GET", base, nil, previewToken, "wrong"), 307, "")

		// Another start, another token; a read at once may be a second old.
		b.clock.advance(2 * time.Second)
		b.preview(id, 8080)
		b.want(b.api("POST", "/sandbox/"+id+"/start", nil), 200, "")
		b.wait(id, "started")
		if _, stale := b.preview(id, 8080); stale != token {
			b.Error("the answer is not cached")
		}
		b.want(b.send("GET", base, nil, previewToken, token), 502, "") // the proxy has not asked since
		b.clock.advance(2 * time.Minute)
		b.want(b.send("GET", base, nil, previewToken, token), 307, "")
		again, fresh := b.preview(id, 8080)
		if fresh == token || again != base {
			b.Errorf("after the next start: %s, same token %v", again, fresh == token)
		}
		b.startEcho(id)
		b.want(b.send("GET", base+"/headers", nil, previewToken, fresh), 200, "User-Agent")
		b.want(b.api("DELETE", "/sandbox/"+id, nil), 200, "")
		b.wait(id, "destroyed")
	})
}

// Preview requests are activity unless they say that they are not.
func TestPreviewActivity(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(nil)
	base, token := b.preview(id, 8080)
	last := func() string { return b.api("GET", "/sandbox/"+id, nil).text("lastActivityAt") }
	before := last()
	b.want(b.send("GET", base, nil, previewToken, token, "X-Daytona-Skip-Last-Activity-Update", "true"), 502, "")
	b.want(b.send("GET", base, nil), 307, "")
	if last() != before {
		t.Error("a request that should not count did")
	}
	b.want(b.send("GET", base, nil, previewToken, token), 502, "")
	if last() == before {
		t.Error("a request that should count did not")
	}
}

// A public sandbox needs no token, but its toolbox does.
func TestPreviewPublic(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(object{"public": true})
	for port, status := range map[int]int{8080: 502, 2280: 307, 22222: 307} {
		base, _ := b.preview(id, port)
		b.want(b.send("GET", base, nil), status, "")
	}
}

// A signed URL lets everybody in until it expires, whatever happens to the
// sandbox.
func TestSignedPreview(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.serveEcho(id)
		path := "/sandbox/" + id + "/ports/8080/signed-preview-url"
		sign := func(query string) (url, token string) {
			b.Helper()
			r := b.want(b.api("GET", path+query, nil), 200, `"port":8080`)
			return r.text("url"), r.text("token")
		}
		standard, _ := b.preview(id, 8080)
		short, _ := sign("")
		long, token := sign("?expiresInSeconds=86400")
		if short == long || long == standard {
			b.Errorf("URLs %s, %s, %s", standard, short, long)
		}
		b.want(b.send("GET", short+"/headers", nil), 200, "User-Agent")
		b.want(b.send("GET", standard+"/headers", nil), 307, "")
		b.clock.advance(time.Minute)
		b.want(b.send("GET", short+"/headers", nil), 307, "")
		_, standardToken := b.preview(id, 8080)
		b.want(b.send("GET", short+"/headers", nil, previewToken, standardToken), 200, "User-Agent")

		b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
		b.wait(id, "stopped")
		b.want(b.send("GET", long, nil), 400, "Is the Sandbox started?")
		b.want(b.api("POST", "/sandbox/"+id+"/start", nil), 200, "")
		b.wait(id, "started")
		b.startEcho(id)
		b.want(b.send("GET", long+"/headers", nil), 200, "User-Agent")

		b.want(b.api("POST", "/sandbox/"+id+"/ports/8081/signed-preview-url/"+token+"/expire", nil), 201, "")
		b.want(b.send("GET", long+"/headers", nil), 200, "User-Agent")
		for range 2 {
			b.want(b.api("POST", path+"/"+token+"/expire", nil), 201, "")
			b.want(b.send("GET", long+"/headers", nil), 307, "")
		}
		b.clock.advance(10 * time.Minute)
		b.eventually("the listener's end", func() bool {
			request, err := http.NewRequestWithContext(b.Context(), "GET", long, nil)
			if err != nil {
				b.Fatal(err)
			}
			response, err := b.http.Do(request)
			if err == nil {
				response.Body.Close()
			}
			return err != nil
		})
		for _, seconds := range []string{"0", "86401", "soon"} {
			b.want(b.api("GET", path+"?expiresInSeconds="+seconds, nil), 400, "between 1 second and 24 hours")
		}
		b.want(b.api("GET", "/sandbox/"+id+"/ports/0/signed-preview-url", nil), 400, "port")
		b.want(b.api("GET", "/sandbox/none/ports/8080/signed-preview-url", nil), 404, "")
	})
}

// The entrypoint runs in the background at each start; its end is its own.
func TestEntrypoint(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		b := serve(t, daytona.Options{
			Engine: engine(t, place(t)),
			Snapshots: []daytona.Snapshot{{Name: "dev", Image: image,
				Entrypoint: []string{"sh", "-c", `echo "it's $0"; echo start >>"$HOME/starts"; exit 7`, "a b"}}},
		})
		id := b.create(nil)
		for starts := 1; starts <= 2; starts++ {
			b.eventually("the entrypoint's end", func() bool {
				return strings.Contains(string(b.toolbox("GET", id, "/process/session/entrypoint", nil).body), `"exitCode":7`)
			})
			b.want(b.toolbox("GET", id, "/process/session/entrypoint/logs", nil, "X-Daytona-SDK-Version", "dev"), 200, `"stdout":"it's a b\n"`)
			if _, out := b.run(id, "cat $HOME/starts"); out != strings.Repeat("start\n", starts) {
				t.Errorf("after %d starts: %q", starts, out)
			}
			b.want(b.api("POST", "/sandbox/"+id+"/stop", nil), 200, "")
			b.wait(id, "stopped")
			b.want(b.api("POST", "/sandbox/"+id+"/start", nil), 200, "")
			b.wait(id, "started")
		}
	})
}
