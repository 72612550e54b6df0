package github

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// openAPIVersion is the one that fetch-openapi.sh fetches.
const openAPIVersion = "23.0.2"

// contract holds answers against GitHub's OpenAPI document, and remembers
// which routes have succeeded under it.
type contract struct {
	doc *openapi3.T

	mu   sync.Mutex
	seen map[string]bool
}

var loadContract = sync.OnceValues(func() (*contract, error) {
	data, err := os.ReadFile(filepath.Join(testenv.Root(), ".cache", "octokit-openapi-"+openAPIVersion, "api.github.com.json"))
	if err != nil {
		return nil, err
	}
	if data, err = prune(data); err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	return &contract{doc: doc, seen: map[string]bool{}}, err
})

var reference = regexp.MustCompile(`"#/components/(\w+)/([^"]+)"`)

// prune keeps the paths that the server has and what they refer to: the whole
// document takes many seconds to load.
func prune(data []byte) ([]byte, error) {
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Info       json.RawMessage                       `json:"info"`
		Paths      map[string]json.RawMessage            `json:"paths"`
		Components map[string]map[string]json.RawMessage `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, rt := range allRoutes() {
		used[openAPIPath(rt.pattern)] = true
	}
	maps.DeleteFunc(doc.Paths, func(path string, _ json.RawMessage) bool { return !used[path] })
	kept := map[string]map[string]json.RawMessage{}
	queue := slices.Collect(maps.Values(doc.Paths))
	queue = append(queue, []byte(`"#/components/schemas/basic-error"`))
	for len(queue) > 0 {
		for _, m := range reference.FindAllSubmatch(queue[0], -1) {
			section, name := string(m[1]), string(m[2])
			if kept[section] == nil {
				kept[section] = map[string]json.RawMessage{}
			}
			if kept[section][name] == nil {
				kept[section][name] = doc.Components[section][name]
				queue = append(queue, doc.Components[section][name])
			}
		}
		queue = queue[1:]
	}
	doc.Components = kept
	return json.Marshal(doc)
}

// openAPIPath is the path of a route as the document spells it.
func openAPIPath(pattern string) string {
	_, path, _ := strings.Cut(strings.ReplaceAll(pattern, "...", ""), " ")
	if path == "/repos/{owner}/{repo}/contents" {
		path += "/{path}"
	}
	return path
}

// check holds one answer against the document.
func (k *contract) check(r *http.Request, status int, header http.Header, body []byte) error {
	route := r.Pattern
	item := k.doc.Paths.Value(openAPIPath(route))
	var op *openapi3.Operation
	if item != nil {
		op = item.GetOperation(r.Method)
	}
	if op == nil && status != http.StatusNotFound && status != http.StatusUnauthorized && status != http.StatusForbidden {
		return fmt.Errorf("the document has no %q", route)
	}
	var content openapi3.Content
	declared := false
	if op != nil {
		if res := op.Responses.Status(status); res != nil {
			declared, content = true, res.Value.Content
		}
	}
	switch {
	case status < 300 && !declared:
		return fmt.Errorf("the document has no status %d for %q", status, route)
	case status < 300:
		k.mu.Lock()
		k.seen[route] = true
		k.mu.Unlock()
	case len(content) == 0: // not every refusal is declared
		content = openapi3.NewContentWithJSONSchemaRef(k.doc.Components.Schemas["basic-error"])
	}
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case len(content) == 0 && len(body) == 0:
		return nil
	case err != nil:
		return err
	case mediaType != "application/json": // raw and diff: text is text
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	schema := *content["application/json"].Schema.Value
	if status >= 400 { // where two shapes of an error overlap, one of them is not wrong
		schema.AnyOf, schema.OneOf = append(schema.AnyOf, schema.OneOf...), nil
	}
	return schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.EnableFormatValidation())
}

// checked validates every answer of the API on its way out.
func checked(t *testing.T) func(http.Handler) http.Handler {
	k, err := loadContract()
	if err != nil {
		return func(next http.Handler) http.Handler { return next } // TestOpenAPI says so
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/api/v3/") {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			if err := k.check(r, rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
				t.Errorf("%s %s: %d does not hold against GitHub's OpenAPI document: %v", r.Method, r.URL.Path, rec.Code, err)
			}
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			w.Write(rec.Body.Bytes())
		})
	}
}

// TestOpenAPI is where a missing document shows. The checks themselves run in
// all other tests, and TestMain holds that they covered every route.
func TestOpenAPI(t *testing.T) {
	k, err := loadContract()
	if os.IsNotExist(err) {
		testenv.Missing(t, "GitHub's OpenAPI document (internal/devstack/github/fetch-openapi.sh): %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("fetch-openapi.sh")
	if err != nil || !bytes.Contains(script, []byte("version="+openAPIVersion+"\n")) {
		t.Errorf("fetch-openapi.sh fetches another version than %s (%v)", openAPIVersion, err)
	}
	// The check can fail: an answer that lacks what GitHub promises is found.
	r := httptest.NewRequest("GET", "/", nil)
	r.Pattern = "GET /repos/{owner}/{repo}"
	wrong := &contract{doc: k.doc, seen: map[string]bool{}}
	if wrong.check(r, 200, http.Header{"Content-Type": {"application/json"}}, []byte(`{"id": "x"}`)) == nil {
		t.Error("an answer without its fields passes")
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if k, err := loadContract(); err == nil && code == 0 && flag.Lookup("test.run").Value.String() == "" {
		for _, rt := range allRoutes() {
			if !k.seen[rt.pattern] {
				fmt.Fprintf(os.Stderr, "no test has seen %s succeed\n", rt.pattern)
				code = 1
			}
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
