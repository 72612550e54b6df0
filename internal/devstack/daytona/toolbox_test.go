package daytona_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestExecute(t *testing.T) {
	suite(t, func(b *bench, id string) {
		for name, c := range map[string]struct {
			request object
			exit    float64
			result  string
		}{
			"outputs are merged":             {object{"command": "echo out; echo err >&2; exit 3"}, 3, "out\nerr\n"},
			"a reader eats the script":       {object{"command": "cat\necho eaten"}, 0, "echo eaten"},
			"a reader with its own input":    {object{"command": "cat </dev/null\necho whole"}, 0, "whole\n"},
			"environment and directory":      {object{"command": "echo $X; pwd", "cwd": "/usr", "envs": object{"X": "a b"}}, 0, "a b\n/usr\n"},
			"a directory that is not":        {object{"command": "true", "cwd": "/nowhere"}, -1, ""},
			"a background child holds it":    {object{"command": "(sleep 2.5; echo late) & echo now"}, 0, "now\nlate\n"},
			"one with its outputs away":      {object{"command": "sleep 60 >/dev/null 2>&1 & echo now", "timeout": 20}, 0, "now\n"},
			"a signal is 128 and its number": {object{"command": "kill -KILL $$"}, 137, ""},
		} {
			var got struct {
				ExitCode float64
				Result   string
			}
			b.want(b.toolbox("POST", id, "/process/execute", c.request), 200, "").into(b.T, &got)
			if got.ExitCode != c.exit || c.result != "" && strings.TrimSuffix(got.Result, "\n") != strings.TrimSuffix(c.result, "\n") {
				b.Errorf("%s: %v %q", name, got.ExitCode, got.Result)
			}
		}
		b.want(b.toolbox("POST", id, "/process/execute", object{"command": " "}), 400, "command cannot be empty")

		// The time is up: the command goes, with its children.
		b.want(b.toolbox("POST", id, "/process/execute", object{"command": "sleep 1003 & sleep 1004", "timeout": 1}), 408, "timeout")
		b.eventually("the end of the command", func() bool {
			_, out := b.run(id, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 100[34]'")
			return out == "0\n"
		})
		// More output than is kept does not stop the command.
		_, out := b.run(id, "head -c 20000000 /dev/zero | tr '\\0' x; echo end >&2; exit 0")
		if len(out) != 16<<20 {
			b.Errorf("%d bytes of output", len(out))
		}
	})
}

func TestSession(t *testing.T) {
	suite(t, func(b *bench, id string) {
		const sessions = "/process/session"
		exec := func(session string, request object) reply {
			return b.toolbox("POST", id, sessions+"/"+session+"/exec", request)
		}
		splitting := func(session string, request object) reply {
			return b.toolbox("POST", id, sessions+"/"+session+"/exec", request, "X-Daytona-SDK-Version", "0.205.1")
		}
		b.want(b.toolbox("POST", id, sessions, object{"sessionId": "s"}), 201, "")
		b.want(b.toolbox("POST", id, sessions, object{"sessionId": "s"}), 409, "exists")
		b.want(b.toolbox("POST", id, sessions, object{}), 400, "sessionId")
		b.want(exec("none", object{"command": "true"}), 500, "session not found")
		b.want(b.toolbox("GET", id, sessions+"/none", nil), 404, "session not found")
		if r := b.want(exec("s", object{"command": " "}), 400, ""); len(r.body) != 0 {
			b.Errorf("v0.190 says nothing here: %s", r.body)
		}

		// The shell is the same from command to command.
		b.want(exec("s", object{"command": "cd /usr; X=kept; echo err >&2; (exit 4)"}), 200, `"exitCode":4`)
		r := b.want(splitting("s", object{"command": "echo $X; printf no-newline; pwd >&2"}), 200, `"exitCode":0`)
		if r.text("stdout") != "kept\nno-newline\n" || r.text("stderr") != "/usr\n" ||
			!strings.Contains(r.text("output"), "\x01\x01\x01kept\n") || !strings.Contains(r.text("output"), "\x02\x02\x02/usr\n") {
			b.Errorf("%s", r.body)
		}
		// Redirections of the shell itself stay with their command.
		b.want(exec("s", object{"command": "exec >/dev/null 2>&1"}), 200, `"exitCode":0`)
		b.want(splitting("s", object{"command": "echo back"}), 200, `"stdout":"back\n"`)

		slow := b.want(exec("s", object{"command": "echo begun; sleep 0.3; echo done", "runAsync": true}), 202, "cmdId").text("cmdId")
		next := b.want(exec("s", object{"command": "echo queued", "runAsync": true}), 202, "cmdId").text("cmdId")
		command := func(id2 string) reply { return b.toolbox("GET", id, sessions+"/s/command/"+id2, nil) }
		if r := command(slow); r.text("exitCode") != "" {
			b.Errorf("the command has ended at once: %s", r.body)
		}
		b.eventually("the end of both", func() bool { return command(next).text("exitCode") == "0" })
		b.want(command(slow), 200, `"exitCode":0`)
		b.want(command("none"), 404, "command not found")

		logs := sessions + "/s/command/" + slow + "/logs"
		for version, json := range map[string]bool{"0.205.1": true, "0.167.0": true, "dev": true, "0.166.9": false, "": false} {
			r := b.want(b.toolbox("GET", id, logs, nil, "X-Daytona-SDK-Version", version), 200, "begun")
			if got := strings.HasPrefix(r.header.Get("Content-Type"), "application/json"); got != json {
				b.Errorf("version %q: %s", version, r.header.Get("Content-Type"))
			}
			if want := map[bool]string{true: "begun\ndone\n", false: "\x01\x01\x01begun\n\x01\x01\x01done\n"}[version == ""]; !json && string(r.body) != want {
				b.Errorf("version %q: %q", version, r.body)
			}
		}
		b.want(b.toolbox("GET", id, sessions, nil), 200, `"sessionId":"s"`)

		// exit ends the session: no exit code, and a broken pipe ever after.
		b.want(b.toolbox("POST", id, sessions, object{"sessionId": "dead"}), 201, "")
		last := b.want(exec("dead", object{"command": "exit 3", "runAsync": true}), 202, "").text("cmdId")
		b.eventually("a broken pipe", func() bool {
			return strings.Contains(string(exec("dead", object{"command": "true", "runAsync": true}).body), "broken pipe")
		})
		b.want(exec("dead", object{"command": "true"}), 500, "broken pipe")
		if r := b.toolbox("GET", id, sessions+"/dead/command/"+last, nil); r.text("exitCode") != "" {
			b.Errorf("exit code of the command that ended the shell: %s", r.body)
		}
		b.want(b.toolbox("GET", id, sessions+"/dead", nil), 200, "exit 3")

		// Deleting a session kills what it runs.
		b.want(exec("s", object{"command": "sleep 1005", "runAsync": true}), 202, "")
		b.want(b.toolbox("DELETE", id, sessions+"/s", nil), 204, "")
		b.want(b.toolbox("GET", id, sessions+"/s", nil), 404, "session not found")
		b.gone(id, "sleep 1005")
	})
}

// A command that is not waited for can be sent input; one that is has none.
func TestSessionInput(t *testing.T) {
	suite(t, func(b *bench, id string) {
		const session = "/process/session/s"
		b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "s"}), 201, "")
		exec := func(request object) reply {
			return b.toolbox("POST", id, session+"/exec", request, "X-Daytona-SDK-Version", "0.205.1")
		}
		send := func(command, data string) reply {
			return b.toolbox("POST", id, session+"/command/"+command+"/input", object{"data": data})
		}
		command := func(id2 string) reply { return b.toolbox("GET", id, session+"/command/"+id2, nil) }
		logs := func(id2 string) reply {
			return b.toolbox("GET", id, session+"/command/"+id2+"/logs", nil, "X-Daytona-SDK-Version", "0.205.1")
		}
		b.want(exec(object{"command": "cat; echo whole"}), 200, `"stdout":"whole\n"`)

		first := b.want(exec(object{"command": "echo ready; read -r a; read -r b; echo \"<$a|$b>\"", "runAsync": true}), 202, "").text("cmdId")
		next := b.want(exec(object{"command": "read -r a; echo \"<$a>\"", "runAsync": true, "suppressInputEcho": true}), 202, "").text("cmdId")
		b.eventually("the first command", func() bool { return strings.Contains(string(logs(first).body), "ready") })
		b.want(send(next, "too early"), 500, "input pipe")
		b.want(send(first, "one"), 204, "")
		b.want(send(first, "two\nleft over\n"), 204, "")
		b.eventually("its end", func() bool { return command(first).text("exitCode") == "0" })
		// What it did not read is lost; what it was sent is in its log.
		if r := logs(first); r.text("stdout") != "ready\none\n<one|two>\ntwo\nleft over\n" && r.text("stdout") != "ready\none\ntwo\nleft over\n<one|two>\n" {
			b.Errorf("%s", r.body)
		}
		b.eventually("the second command", func() bool { return send(next, "three").status == 204 })
		b.eventually("its end", func() bool { return command(next).text("exitCode") == "0" })
		if r := logs(next); r.text("stdout") != "<three>\n" {
			b.Errorf("%s", r.body)
		}
		b.want(send(next, "late"), 410, "already completed")
		b.want(send("none", "x"), 404, "command not found")
	})
}

// The entrypoint's session can only be looked at.
func TestEntrypointReserved(t *testing.T) {
	suite(t, func(b *bench, id string) {
		const session = "/process/session/entrypoint"
		b.want(b.toolbox("GET", id, session+"/command/entrypoint_command", nil), 200, `"id":"entrypoint_command"`)
		b.want(b.toolbox("GET", id, "/process/session", nil), 200, "[]")
		b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "entrypoint"}), 400, "reserved")
		b.want(b.toolbox("POST", id, session+"/exec", object{"command": "true"}), 400, "entrypoint session")
		b.want(b.toolbox("POST", id, session+"/command/entrypoint_command/input", object{"data": "x"}), 400, "entrypoint session")
		b.want(b.toolbox("DELETE", id, session, nil), 400, "entrypoint session")
	})
}

// Logs can be followed by WebSocket, which ends with the command, and by
// plain HTTP, which does not.
func TestFollow(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "s"}), 201, "")
		start := func() string {
			command := b.want(b.toolbox("POST", id, "/process/session/s/exec",
				object{"command": "echo one; sleep 0.2; echo two >&2", "runAsync": true}), 202, "").text("cmdId")
			return strings.TrimSuffix(b.server.URL(), "/api") + "/toolbox/" + id + "/process/session/s/command/" + command + "/logs?follow=true"
		}
		header := http.Header{"Authorization": {"Bearer " + b.server.Key()}, "X-Daytona-Sdk-Version": {"0.205.1"}}
		const whole = "\x01\x01\x01one\n\x02\x02\x02two\n"

		conn, _, err := websocket.Dial(b.Context(), start(), &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			b.Fatal(err)
		}
		defer conn.CloseNow()
		var all []byte
		for {
			_, data, err := conn.Read(b.Context())
			if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, data...)
		}
		if string(all) != whole {
			b.Errorf("followed %q", all)
		}

		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, "GET", start(), nil)
		if err != nil {
			b.Fatal(err)
		}
		request.Header = header
		response, err := b.http.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		defer response.Body.Close()
		part := make([]byte, len(whole))
		if _, err := io.ReadFull(response.Body, part); err != nil || string(part) != whole {
			b.Errorf("followed %q, %v", part, err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := bufio.NewReader(response.Body).ReadByte()
			ended <- err
		}()
		select {
		case err := <-ended:
			b.Errorf("the stream ended with the command: %v", err)
		case <-time.After(100 * time.Millisecond): // no end to wait for
		}
		cancel()
		<-ended
	})
}

func TestFiles(t *testing.T) {
	suite(t, func(b *bench, id string) {
		home := b.want(b.toolbox("GET", id, "/user-home-dir", nil), 200, "dir").text("dir")
		if _, out := b.run(id, "echo $HOME"); out != home+"\n" {
			b.Errorf("home %q, %q", home, out)
		}
		b.want(b.toolbox("GET", id, "/work-dir", nil), 200, "dir")

		// A name that a shell would trip over, and bytes that a text would.
		const dir, name = "a b'c/$(id)", "-n \"q\"\nline"
		path := "?path=" + escape(home+"/"+dir+"/"+name)
		content := make([]byte, 3<<20)
		_, _ = rand.Read(content)
		b.want(b.upload(id, home+"/"+dir+"/"+name, content), 200, "")
		if got := b.toolbox("GET", id, "/files/download"+path, nil); got.status != 200 || !bytes.Equal(got.body, content) {
			b.Errorf("downloaded %d, %d bytes", got.status, len(got.body))
		}
		b.want(b.upload(id, home+"/"+dir+"/"+name, nil), 200, "")
		b.want(b.toolbox("GET", id, "/files/info"+path, nil), 200, `"size":0`)
		b.want(b.toolbox("POST", id, "/files/permissions"+path+"&mode=640", nil), 200, "")

		var list []struct {
			Name, Permissions, Mode string
			IsDir                   bool
		}
		b.want(b.toolbox("GET", id, "/files?path="+escape(home+"/"+dir), nil), 200, "").into(b.T, &list)
		if len(list) != 1 || list[0].Name != name || list[0].Permissions != "0640" || list[0].Mode != "-rw-r-----" || list[0].IsDir {
			b.Errorf("listed %+v", list)
		}
		b.want(b.toolbox("POST", id, "/files/move?source="+escape(home+"/"+dir)+"&destination=moved", nil), 200, "")
		b.want(b.toolbox("POST", id, "/files/folder?path=x/y&mode=0750", nil), 201, "")
		b.want(b.toolbox("GET", id, "/files/info?path=x/y", nil), 200, `"permissions":"0750"`)
		b.want(b.toolbox("DELETE", id, "/files?path=x&recursive=true", nil), 204, "")

		// What is wrong is told by the status alone.
		b.run(id, "mkdir -p full; echo x >full/x; ln -s nowhere dangling; ln -s full link; mkfifo pipe; [ $(id -u) = 0 ] || { mkdir -p shut; echo x >closed; chmod 0 shut closed; }")
		for call, status := range map[string]int{
			"GET /files/info?path=none":                     404,
			"GET /files/info?path=dangling":                 404,
			"GET /files/info":                               400,
			"GET /files/download?path=none":                 404,
			"GET /files/download?path=full":                 400,
			"GET /files/download?path=closed":               403,
			"GET /files/download":                           400,
			"DELETE /files?path=none":                       404,
			"DELETE /files?path=full":                       400,
			"DELETE /files?path=link":                       400,
			"GET /files?path=none":                          404,
			"GET /files?path=full/x":                        400,
			"GET /files?path=shut":                          403,
			"POST /files/folder?path=full/x":                400,
			"POST /files/folder?path=new&mode=rwx":          400,
			"POST /files/move?source=none&destination=x":    404,
			"POST /files/move?source=full&destination=x/y":  404,
			"POST /files/move?source=full&destination=link": 409,
			"POST /files/permissions?path=full&mode=x":      400,
			"POST /files/permissions?path=full&owner=-R":    400,
			"POST /files/permissions?path=none&mode=644":    404,
		} {
			method, path, _ := strings.Cut(call, " ")
			if r := b.toolbox(method, id, path, nil); r.status != status || len(r.body) != 0 {
				b.Errorf("%s: %d %q, want %d and nothing", call, r.status, r.body, status)
			}
		}
		if r := b.want(b.toolbox("GET", id, "/files/download?path=full/x", nil), 200, "x\n"); r.header.Get("Content-Length") != "2" {
			b.Errorf("headers %v", r.header)
		}
		b.want(b.toolbox("GET", id, "/files/download?path=pipe", nil), 200, "")
		// Links are what they lead to; those that lead nowhere are left out.
		b.want(b.toolbox("GET", id, "/files", nil), 200, `"name":"link","isDir":true`)
		if r := b.toolbox("GET", id, "/files", nil); strings.Contains(string(r.body), "dangling") {
			b.Errorf("listed %s", r.body)
		}
		_, uid := b.run(id, "id -u")
		b.want(b.toolbox("GET", id, "/files/info?path=full/x", nil), 200, `"owner":"`+strings.TrimSpace(uid)+`"`)
		b.want(b.toolbox("GET", id, "/files/upload", nil), 404, "does not have")
		b.want(b.upload(id, "full", []byte("x")), 400, "irectory")
		b.want(b.upload(id, "/proc/none/x", []byte("x")), 400, "/proc/none/x")
	})
}

// Every path gets a part, and a missing one is no error of the whole.
func TestBulkDownload(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.want(b.upload(id, "full", []byte("content")), 200, "")
		b.want(b.upload(id, "empty", nil), 200, "")
		r := b.want(b.toolbox("POST", id, "/files/bulk-download", object{"paths": []string{"full", "none", "empty"}}), 200, "")
		_, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
		if err != nil {
			b.Fatal(err)
		}
		var got []string
		for parts := multipart.NewReader(bytes.NewReader(r.body), params["boundary"]); ; {
			part, err := parts.NextPart()
			if err != nil {
				break
			}
			data, _ := io.ReadAll(part)
			if part.FormName() == "error" {
				data = nil
			}
			got = append(got, part.FormName()+" "+part.FileName()+" "+string(data))
		}
		if want := "file full content|error none |file empty "; strings.Join(got, "|") != want {
			b.Errorf("got %q", got)
		}
		b.want(b.toolbox("POST", id, "/files/bulk-download", object{}), 400, "non-empty")
	})
}

func TestUploadRefused(t *testing.T) {
	suite(t, func(b *bench, id string) {
		form := func(write func(*multipart.Writer)) reply {
			var body bytes.Buffer
			w := multipart.NewWriter(&body)
			write(w)
			_ = w.Close()
			return b.toolbox("POST", id, "/files/bulk-upload", &body, "Content-Type", w.FormDataContentType())
		}
		b.want(form(func(w *multipart.Writer) { _, _ = w.CreateFormFile("files[0].file", "x") }), 400, "missing .path")
		b.want(form(func(w *multipart.Writer) { _ = w.WriteField("files[0].path", strings.Repeat("x", 5000)) }), 400, "cannot be used")
		b.want(b.toolbox("POST", id, "/files/bulk-upload", strings.NewReader("x")), 400, "multipart")
		b.want(b.toolbox("POST", id, "/files/bulk-upload", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut"),
			"Content-Type", "multipart/form-data; boundary=x"), 400, "multipart")
		// A file that cannot be written is told by its name, and the others are
		// written. The client may be sending yet.
		big := bytes.Repeat([]byte("x"), 8<<20)
		r := form(func(w *multipart.Writer) {
			for i, path := range []string{"made/one", "/proc/none", "made/two"} {
				_ = w.WriteField(fmt.Sprintf("files[%d].path", i), path)
				part, _ := w.CreateFormFile(fmt.Sprintf("files[%d].file", i), "x")
				_, _ = part.Write(big)
			}
		})
		b.want(r, 400, `"errors":["/proc/none: `)
		for _, name := range []string{"one", "two"} {
			b.want(b.toolbox("GET", id, "/files/info?path=made/"+name, nil), 200, `"size":8388608`)
		}
		b.want(b.upload(id, "made/three", []byte("x")), 200, `{"files":[{"path":"made/three","bytes":1}]}`)
		b.want(b.toolbox("POST", id, "/files/upload?path=old", strings.NewReader(
			"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nold form\r\n--x--\r\n"),
			"Content-Type", "multipart/form-data; boundary=x"), 200, "")
		b.want(b.toolbox("GET", id, "/files/download?path=old", nil), 200, "old form")
	})
}
