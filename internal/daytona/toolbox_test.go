package daytona

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// shellToolbox runs commands as the toolbox does: a real shell reads them from
// its standard input.
func shellToolbox(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Command, Cwd string
			Envs         map[string]string
			Timeout      int
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Timeout < 1 {
			t.Errorf("%v in %+v", err, in)
		}
		cmd := exec.CommandContext(r.Context(), "sh")
		cmd.Stdin, cmd.Dir = strings.NewReader(in.Command), in.Cwd
		for k, v := range in.Envs {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, _ := cmd.CombinedOutput()
		answer(w, 200, map[string]any{"exitCode": cmd.ProcessState.ExitCode(), "result": string(out)})
	})
}

func TestExecute(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, shellToolbox(t))
	for _, tt := range []struct {
		cmd  Command
		want Result
	}{
		{Command{Line: "echo a; echo b >&2; exit 3"}, Result{3, "a\nb\n"}},
		{Command{Line: "cat; echo after # a comment"}, Result{0, "after\n"}}, // cat does not eat the rest
		{Command{Line: "cat <<'EOF'\nit's\nEOF"}, Result{0, "it's\n"}},
		{Command{Line: "pwd; echo $A", Dir: "/", Env: map[string]string{"A": "$B"}, Timeout: time.Millisecond}, Result{0, "/\n$B\n"}},
	} {
		got, err := srv.toolbox(c).Execute(t.Context(), tt.cmd)
		if err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v", tt.cmd.Line, got, err)
		}
	}
}

func TestExecuteOutOfTime(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { Refuse(w, 408, "command execution timeout") }))
	_, err := srv.toolbox(c).Execute(t.Context(), Command{Line: "sleep 9", Timeout: 1500 * time.Millisecond})
	if fault.KindOf(err) != fault.Sandbox || !strings.Contains(err.Error(), "within 2 s") || len(srv.seen()) != 1 {
		t.Errorf("got %v after %v", err, srv.seen())
	}
}

func TestSpawn(t *testing.T) {
	t.Parallel()
	for _, session := range []int{201, 409} {
		var sent struct {
			Command  string
			RunAsync bool
		}
		c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/exec") {
				if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
					t.Error(err)
				}
				answer(w, 202, map[string]string{"cmdId": "c"})
				return
			}
			w.WriteHeader(session)
		}))
		if err := srv.toolbox(c).Spawn(t.Context(), "sandboxd", "exec ./sandboxd"); err != nil {
			t.Errorf("session answered %d: %v", session, err)
		}
		if !sent.RunAsync || sent.Command != "(\nexec ./sandboxd\n) </dev/null" {
			t.Errorf("sent %+v", sent)
		}
		if want := []string{"POST /toolbox/" + id + "/process/session", "POST /toolbox/" + id + "/process/session/sandboxd/exec"}; !slices.Equal(srv.seen(), want) {
			t.Errorf("requests %v", srv.seen())
		}
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	files := []File{
		{Path: `/home/u/we"ird` + "\r\n.txt", Content: []byte("--boundary\r\n"), Mode: 0o600},
		{Path: "/bin/empty"},
		{Path: "/bin/sandboxd", Content: []byte(strings.Repeat("\x00\xff", 1<<16)), Mode: 0o4755},
	}
	got, modes, tries := map[string]string{}, map[string]string{}, 0
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/permissions") {
			modes[r.URL.Query().Get("path")] = r.URL.Query().Get("mode")
			return
		}
		if tries++; tries == 1 { // answered before all of it was read
			w.WriteHeader(502)
			return
		}
		parts, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		name := "" // each path precedes its file
		for {
			p, err := parts.NextPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			b, _ := io.ReadAll(p)
			switch {
			case strings.HasSuffix(p.FormName(), "].path"):
				name = string(b)
			case strings.HasSuffix(p.FormName(), "].file") && p.FileName() != "":
				got[name] = string(b)
			default:
				t.Errorf("part %q", p.FormName())
			}
		}
	}))
	if err := srv.toolbox(c).Upload(t.Context(), files...); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if content, ok := got[f.Path]; !ok || content != string(f.Content) {
			t.Errorf("%q: got %d bytes, %v", f.Path, len(content), ok)
		}
	}
	if len(got) != 3 || len(modes) != 2 || modes[files[0].Path] != "0600" || modes["/bin/sandboxd"] != "0755" {
		t.Errorf("%d files, modes %v", len(got), modes)
	}
}

func TestFilesWantAbsolutePaths(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, http.NotFoundHandler())
	tb := srv.toolbox(c)
	for _, bad := range []string{"", "x", "./x", "~/x", "/a\x00b"} {
		if err := tb.Upload(t.Context(), File{Path: bad}); fault.KindOf(err) != fault.Usage {
			t.Errorf("upload %q: %v", bad, err)
		}
		if _, err := tb.Download(t.Context(), bad); fault.KindOf(err) != fault.Usage {
			t.Errorf("download %q: %v", bad, err)
		}
	}
	if n := len(srv.seen()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestDownloadIsBounded(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, started())
	rc, err := srv.toolbox(c).Download(t.Context(), "/tmp/x")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	rc.(*stream).limit = 4
	if _, err := io.ReadAll(rc); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

func TestHomeDirIsAPath(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"dir": "home\n"}) }))
	if got, err := srv.toolbox(c).HomeDir(t.Context()); fault.KindOf(err) != fault.Sandbox {
		t.Errorf("got %q, %v", got, err)
	}
}
