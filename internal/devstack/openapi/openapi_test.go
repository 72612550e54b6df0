package openapi

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const apiJSON = `{"openapi": "3.0.0", "info": {"title": "a", "version": "1"}, "paths": {
	"/box": {
		"post": {"tags": ["box"], "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}},
			"responses": {"200": {"description": "", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Box"}}}}}},
		"get": {"tags": ["box"], "parameters": [{"name": "limit", "in": "query", "schema": {"type": "number", "maximum": 200}}, {"name": "X-Org", "in": "header", "schema": {"type": "integer"}}],
			"responses": {"200": {"description": ""}}}},
	"/box/{idOrName}": {"get": {"tags": ["box"], "parameters": [{"name": "idOrName", "in": "path", "required": true, "schema": {"type": "string"}}], "responses": {"200": {"description": ""}}}},
	"/box/{id}/key": {"get": {"responses": {"200": {"description": ""}}}},
	"/box/{idOrName}/key": {"put": {"responses": {"200": {"description": ""}}}},
	"/box/all": {"get": {"tags": ["box"], "responses": {"200": {"description": ""}}}}
}, "components": {"schemas": {
	"New": {"type": "object", "properties": {"name": {"type": "string"}, "cpu": {"type": "integer"}}},
	"Box": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "made": {"type": "string", "format": "date-time"}, "state": {"allOf": [{"$ref": "#/components/schemas/State"}]}}},
	"State": {"type": "string", "enum": ["started"]}
}}}`

const toolboxJSON = `{"swagger": "2.0", "info": {"title": "t", "version": "1"}, "paths": {
	"/file": {"get": {"tags": ["files"], "produces": ["application/octet-stream"], "parameters": [{"name": "path", "in": "query", "type": "string", "required": true}],
		"responses": {"200": {"description": "", "schema": {"type": "file"}}, "404": {"description": "", "schema": {"$ref": "#/definitions/ErrorResponse"}}}}},
	"/socket": {"get": {"responses": {"101": {"description": ""}}}}
}, "definitions": {"ErrorResponse": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}}}`

// load loads the two documents above.
func load(t *testing.T) *Documents {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"api.json": apiJSON, "toolbox.json": toolboxJSON} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	docs.exceptions = nil
	return docs
}

// checked is a server behind the check, and what that has reported.
func checked(t *testing.T, docs *Documents, h http.HandlerFunc) (url string, reports func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	srv := httptest.NewServer(docs.Check(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, err.Error())
	})(h))
	t.Cleanup(srv.Close)
	return srv.URL, func() []string {
		srv.Close() // waits for what is under way
		return all
	}
}

const refusal = `{"path": "/x", "timestamp": "2026-11-23T10:00:00Z", "statusCode": 404, "error": "e", "message": "m"}`

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request string // method, path, body, content type
		header  string // of the request
		status  int
		kind    string // of the answer, default JSON
		answer  string
		want    string // part of the one violation; none if empty
	}{
		"good":                     {request: `POST|/api/box|{"name": "a"}`, answer: `{"id": "1", "made": "2026-11-23T10:00:00Z", "state": "started"}`},
		"unknown field asked":      {request: `POST|/api/box|{"colour": "a"}`, answer: `{"id": "1"}`, want: `request of POST /box (200): request body has an error: doesn't match schema #/components/schemas/New: /: property "colour" is unsupported`},
		"wrong type asked":         {request: `POST|/api/box|{"cpu": "1"}`, answer: `{"id": "1"}`, want: "request of POST /box (200)"},
		"no body asked":            {request: `POST|/api/box|`, answer: `{"id": "1"}`, want: "request of POST /box (200)"},
		"body that is not JSON":    {request: `POST|/api/box|a=b|text/plain`, answer: `{"id": "1"}`, want: "Content-Type"},
		"field missing":            {request: `POST|/api/box|{}`, answer: `{}`, want: `answer of POST /box (200): /id: property "id" is missing`},
		"unknown field answered":   {request: `POST|/api/box|{}`, answer: `{"id": "1", "x": 1}`, want: `property "x" is unsupported`},
		"not of the enumeration":   {request: `POST|/api/box|{}`, answer: `{"id": "1", "state": "running"}`, want: "answer of POST /box (200): /state: "},
		"no date":                  {request: `POST|/api/box|{}`, answer: `{"id": "1", "made": "soon"}`, want: "/made: "},
		"not JSON":                 {request: `POST|/api/box|{}`, answer: `{"id"`, want: "unexpected end of JSON"},
		"another type":             {request: `POST|/api/box|{}`, kind: "text/html", answer: `<html>`, want: `content type "text/html" is not documented`},
		"body missing":             {request: `POST|/api/box|{}`, want: "the body is missing"},
		"status":                   {request: `POST|/api/box|{}`, status: 201, answer: `{"id": "1"}`, want: "status 201 is not documented"},
		"query":                    {request: `GET|/api/box?limit=200`},
		"query out of bounds":      {request: `GET|/api/box?limit=201`, want: `parameter "limit" in query has an error: /: number must be at most 200`},
		"unknown query":            {request: `GET|/api/box?page=1`, want: "no query parameter page is documented"},
		"header":                   {request: `GET|/api/box`, header: "seven", want: `parameter "X-Org" in header`},
		"body answered for none":   {request: `GET|/api/box`, answer: `{}`, want: "answer of GET /box (200): no body is documented"},
		"body asked for none":      {request: `GET|/api/box|{}`, want: "request of GET /box (200): no body is documented"},
		"refusal":                  {request: `GET|/api/box`, status: 404, answer: refusal},
		"refusal of another shape": {request: `GET|/api/box`, status: 404, answer: `{"path": "/x", "timestamp": "2026-11-23T10:00:00Z", "error": "e", "message": "m"}`, want: `property "statusCode" is missing`},
		"escaped":                  {request: `GET|/api/box/a%2Fb`},
		"fewest parameters":        {request: `GET|/api/box/all?x=1`, want: "request of GET /box/all"},
		"twins":                    {request: `PUT|/api/box/1/key?x=1`, want: "request of PUT /box/{idOrName}/key"},
		"no operation":             {request: `GET|/api/nothing`, want: "answer of GET /nothing (200): is in no document"},
		"no operation, refused":    {request: `GET|/api/nothing`, status: 404},
		"elsewhere":                {request: `GET|/login?x=1`, answer: "anything"},
		"download":                 {request: `GET|/toolbox/7/file?path=a`, kind: "application/octet-stream", answer: "anything"},
		"download of nothing":      {request: `GET|/toolbox/7/file?path=a`, status: 404, answer: `{"message": "m"}`},
		"download without a path":  {request: `GET|/toolbox/7/file`, kind: "application/octet-stream", answer: "a", want: `parameter "path" in query`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, reports := checked(t, load(t), func(w http.ResponseWriter, r *http.Request) {
				asked, err := io.ReadAll(r.Body)
				if parts := strings.Split(c.request, "|"); err != nil || len(parts) > 2 && string(asked) != parts[2] {
					t.Errorf("the server reads %q, %v", asked, err)
				}
				w.Header().Set("Content-Type", c.kind)
				if c.kind == "" {
					w.Header().Set("Content-Type", "application/json; charset=utf-8")
				}
				w.WriteHeader(max(c.status, 200))
				_, _ = io.WriteString(w, c.answer)
			})
			parts := append(strings.Split(c.request, "|"), "", "")
			request, err := http.NewRequestWithContext(t.Context(), parts[0], url+parts[1], strings.NewReader(parts[2]))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", cmp.Or(parts[3], "application/json"))
			request.Header.Set("X-Org", c.header)
			if c.header == "" {
				request.Header.Del("X-Org")
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != c.answer {
				t.Errorf("the client reads %q, %v", got, err)
			}
			got := reports()
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

// A download is with the client while the server still writes it.
func TestStreams(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	url, reports := checked(t, load(t), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, "first\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-read
		_, _ = io.WriteString(w, "second\n")
	})
	response, err := http.Get(url + "/toolbox/7/file?path=a")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for _, want := range []string{"first\n", "second\n"} {
		if line, err := lines.ReadString('\n'); line != want {
			t.Fatalf("read %q, %v", line, err)
		}
		if want == "first\n" {
			close(read)
		}
	}
	if got := reports(); got != nil {
		t.Errorf("reported %q", got)
	}
}

// Of a WebSocket the request is checked; the connection is the server's.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	url, reports := checked(t, load(t), func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	})
	request, err := http.NewRequestWithContext(t.Context(), "GET", url+"/toolbox/7/socket?x=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := reports(); response.StatusCode != 101 || len(got) != 1 || !strings.Contains(got[0], "no query parameter x") {
		t.Errorf("%d, reported %q", response.StatusCode, got)
	}
}

func TestExceptions(t *testing.T) {
	t.Parallel()
	docs := load(t)
	docs.exceptions = []exception{
		{"^GET /box$", "status 201", "why"}, {"^GET /box$", "status 202", "why not"}, {"^GET /box/all$", "status 201", "another"},
	}
	url, reports := checked(t, docs, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201) })
	response, err := http.Get(url + "/api/box")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := reports(); got != nil {
		t.Errorf("reported %q", got)
	}
	if got := docs.Unneeded(); !slices.Equal(got, []string{"^GET /box$: status 202 (why not)", "^GET /box/all$: status 201 (another)"}) {
		t.Errorf("unneeded: %q", got)
	}
}

func TestMet(t *testing.T) {
	t.Parallel()
	docs := load(t)
	var all []string
	for _, o := range docs.Operations() {
		all = append(all, fmt.Sprint(o.Toolbox, o.Tag, o))
	}
	if want := []string{
		"falsePUT /box/{idOrName}/key", "falseGET /box/{id}/key", "falseboxGET /box", "falseboxPOST /box", "falseboxGET /box/all",
		"falseboxGET /box/{idOrName}", "trueGET /socket", "truefilesGET /file",
	}; !slices.Equal(all, want) {
		t.Errorf("operations %q", all)
	}
	url, reports := checked(t, docs, func(http.ResponseWriter, *http.Request) {})
	for _, path := range []string{"/toolbox/7/file?path=a", "/api/box", "/api/box", "/api/none"} {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	reports()
	if met := docs.Met(); len(met) != 2 || met[0].String() != "GET /box" || met[1].String() != "GET /file" || len(docs.Met()) != 0 {
		t.Errorf("met %v", met)
	}
}

func TestLoadNothing(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("documents out of nothing: %v", err)
	}
}
