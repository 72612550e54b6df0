package daytona_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// What a run does with a sandbox, by the client that runs use.
func TestClient(t *testing.T) {
	each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) {
		e := engine(t, place(t))
		b := serve(t, daytona.Options{Engine: e})
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		c, err := client.New(client.Config{
			BaseURL: b.server.URL(), Key: secret.New(b.server.Key()), HTTP: &http.Client{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		asked := client.CreateSandbox{
			Name: "dayclaude-1-42-1", Labels: map[string]string{"dayclaude/store": "s"},
			Domains: client.Domains{"example.com"}, AutoStop: new(15),
		}
		sandbox, err := c.Create(ctx, asked)
		if err != nil {
			t.Fatal(err)
		}
		if missing := sandbox.Ungranted(asked); missing != nil || sandbox.NetworkBlockAll != e.Isolates() {
			t.Errorf("not granted: %v; the network is blocked: %v", missing, sandbox.NetworkBlockAll)
		}

		program, err := echo()
		if err != nil {
			t.Fatal(err)
		}
		tools := c.Toolbox(sandbox)
		home, err := tools.HomeDir(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tools.Upload(ctx, client.File{Path: home + "/bin/echo", Content: program, Mode: 0o700}); err != nil {
			t.Fatal(err)
		}
		if err := tools.Spawn(ctx, "echo", home+"/bin/echo >/dev/null 2>&1"); err != nil {
			t.Fatal(err)
		}
		preview, err := c.Preview(ctx, sandbox.ID, 8080)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{previewToken: {preview.Token.Reveal()}}
		var conn *websocket.Conn
		b.eventually("the WebSocket", func() bool {
			conn, _, err = websocket.Dial(ctx, preview.URL+"/ws", &websocket.DialOptions{HTTPHeader: header})
			return err == nil
		})
		defer conn.CloseNow()
		if err := conn.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != "x" {
			t.Fatalf("%q, %v", got, err)
		}

		if result, err := tools.Execute(ctx, client.Command{Line: "cat; pwd; exit 5", Dir: "/usr"}); err != nil || result.ExitCode != 5 || result.Output != "/usr\n" {
			t.Errorf("%+v, %v", result, err)
		}
		if _, err := tools.Execute(ctx, client.Command{Line: "sleep 60", Timeout: time.Second}); fault.KindOf(err) != fault.Sandbox {
			t.Errorf("a command out of time: %v", err)
		}
		if _, err := tools.Download(ctx, home+"/none"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("a file that is not there: %v", err)
		}
		if err := c.Stop(ctx, sandbox.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, sandbox.ID, client.Stopped); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(ctx, sandbox.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, sandbox.ID, client.Started); err != nil {
			t.Fatal(err)
		}
		file, err := tools.Download(ctx, home+"/bin/echo")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if got, err := io.ReadAll(file); err != nil || len(got) != len(program) {
			t.Errorf("%d of %d bytes, %v", len(got), len(program), err)
		}
		if err := c.Delete(ctx, sandbox.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(ctx, sandbox.ID, client.Destroyed); err != nil {
			t.Fatal(err)
		}
		for s, err := range c.List(ctx, client.Filter{}) {
			t.Errorf("listed after its end: %+v, %v", s, err)
		}
	})
}
