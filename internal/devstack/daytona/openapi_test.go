package daytona_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// cleanup is for work after the test's own context has ended.
func cleanup(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// documents reads Daytona's OpenAPI documents, api.json and toolbox.json, from
// the directory that DAYCLAUDE_OPENAPI names.
var documents = sync.OnceValues(func() (map[string]*openapi3.T, error) {
	dir := os.Getenv("DAYCLAUDE_OPENAPI")
	if dir == "" {
		return nil, nil
	}
	api, err := openapi3.NewLoader().LoadFromFile(filepath.Join(dir, "api.json"))
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "toolbox.json"))
	if err != nil {
		return nil, err
	}
	var old openapi2.T
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, err
	}
	toolbox, err := openapi2conv.ToV3(&old)
	return map[string]*openapi3.T{"/api": api, "/toolbox": toolbox}, err
})

// validating holds every JSON answer against the documents, if there are any.
func validating(t *testing.T, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	docs, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	if docs == nil && os.Getenv("CI") == "true" {
		t.Fatal("DAYCLAUDE_OPENAPI is not set")
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err != nil || docs == nil || !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
			return response, err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		response.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil {
			return response, err
		}
		for prefix, doc := range docs {
			if path, found := strings.CutPrefix(r.URL.EscapedPath(), prefix+"/"); found {
				if prefix == "/toolbox" {
					_, path, _ = strings.Cut(path, "/") // the sandbox's id
				}
				validate(t, doc, r.Method, "/"+path, response.StatusCode, body)
			}
		}
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func validate(t *testing.T, doc *openapi3.T, method, path string, status int, body []byte) {
	t.Helper()
	operation := operationOf(doc, method, path)
	if operation == nil {
		if status < 400 {
			t.Errorf("%s %s is in no document", method, path)
		}
		return
	}
	answer := operation.Responses.Value(strconv.Itoa(status))
	if answer == nil || answer.Value == nil {
		if status < 300 {
			t.Errorf("%s %s: status %d is not in the document", method, path, status)
		}
		return
	}
	content := answer.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil {
		return
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return
	}
	if err := content.Schema.Value.VisitJSON(value, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s %s %d breaks the document: %v\n%s", method, path, status, err, body)
	}
}

// operationOf finds the operation with the fewest parameters in its path.
func operationOf(doc *openapi3.T, method, path string) *openapi3.Operation {
	parameter := regexp.MustCompile(`\\\{[^/]+\\\}`)
	var matches []string
	for template := range doc.Paths.Map() {
		pattern := parameter.ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		if regexp.MustCompile("^" + pattern + "$").MatchString(path) {
			matches = append(matches, template)
		}
	}
	slices.SortFunc(matches, func(a, b string) int { return strings.Count(a, "{") - strings.Count(b, "{") })
	if len(matches) == 0 {
		return nil
	}
	return doc.Paths.Value(matches[0]).GetOperation(method)
}
