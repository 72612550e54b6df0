package daytona

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

// documents returns routers of api.json and toolbox.json, which Daytona
// publishes, as the test server serves them.
func documents(t *testing.T) []routers.Router {
	t.Helper()
	dir := os.Getenv("DAYCLAUDE_OPENAPI")
	if dir == "" {
		testenv.Missing(t, "DAYCLAUDE_OPENAPI names no folder with Daytona's api.json and toolbox.json")
	}
	api, err := openapi3.NewLoader().LoadFromFile(filepath.Join(dir, "api.json"))
	if err != nil {
		t.Fatal(err)
	}
	api.Paths.Delete("/sandbox/{sandboxId}/secrets") // not called here, and its twin {sandboxIdOrName} makes the document invalid
	b, err := os.ReadFile(filepath.Join(dir, "toolbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	var old openapi2.T
	if err := json.Unmarshal(b, &old); err != nil {
		t.Fatal(err)
	}
	toolbox, err := openapi2conv.ToV3(&old)
	if err != nil {
		t.Fatal(err)
	}
	var all []routers.Router
	for prefix, doc := range map[string]*openapi3.T{"/api": api, "/toolbox/" + id: toolbox} {
		doc.Servers = openapi3.Servers{{URL: prefix}}
		r, err := legacy.NewRouter(doc, openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// What the client sends, and what good answers in these tests, holds against
// Daytona's documents.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	all := documents(t)
	healthy := good()
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	c, srv, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var route *routers.Route
		var params map[string]string
		err := errors.New("no document")
		for _, doc := range all {
			if route, params, err = doc.FindRoute(r); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		for key := range r.URL.Query() { // servers ignore what they do not know
			if route.Operation.Parameters.GetByInAndName("query", key) == nil {
				t.Errorf("%s %s: no query parameter %s", r.Method, r.URL, key)
			}
		}
		if content := route.Operation.RequestBody; content != nil && r.Header.Get("Content-Type") == "application/json" {
			known := content.Value.Content.Get("application/json").Schema.Value.Properties
			var sent map[string]any
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
			for key := range sent {
				if known[key] == nil {
					t.Errorf("%s %s: no field %s", r.Method, r.URL, key)
				}
			}
		}

		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		healthy.ServeHTTP(rec, r)
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: options}
		out.SetBodyBytes(rec.Body.Bytes())
		if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
			t.Errorf("answer to %s %s: %v", r.Method, r.URL, err)
		}
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	}))
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			if err := m.call(t.Context(), c, srv.toolbox(c)); err != nil {
				t.Error(err)
			}
		})
	}
}
