// Package openapi holds the requests to a Daytona and its answers against the
// OpenAPI documents that Daytona publishes: api.json, OpenAPI 3, and
// toolbox.json, Swagger 2. It checks, as a handler before the embedded
// Daytona, what both sides say, and changes nothing of it.
package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// Env is the environment variable that names the folder of the documents.
const Env = "DAYCLAUDE_OPENAPI"

// Operation is one operation of a document.
type Operation struct {
	Toolbox bool   // of toolbox.json, else of api.json
	Tag     string // the group that the document puts it in
	Method  string
	Path    string // as the document spells it: /sandbox/{sandboxIdOrName}
}

// String is the operation as exceptions name it: GET /sandbox/{sandboxIdOrName}.
func (o Operation) String() string { return o.Method + " " + o.Path }

// Documents are the two documents, and what was met of them, whichever server
// was asked. Its methods are safe for concurrent use.
type Documents struct {
	api, toolbox *document
	exceptions   []exception

	mu     sync.Mutex
	met    map[Operation]bool
	needed map[exception]bool
}

// document is one of them, with its operations by the number of their path's
// segments.
type document struct {
	spec       *openapi3.T
	operations map[int][]route
	fault      *openapi3.Schema // the body of an answer that says no
}

type route struct {
	Operation
	segments []string
	item     *openapi3.PathItem
}

// Load reads api.json and toolbox.json from a folder.
func Load(dir string) (*Documents, error) {
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
		return nil, fmt.Errorf("toolbox.json: %w", err)
	}
	toolbox, err := openapi2conv.ToV3(&old)
	if err != nil {
		return nil, fmt.Errorf("toolbox.json: %w", err)
	}
	refusal := toolbox.Components.Schemas["ErrorResponse"]
	if refusal == nil {
		return nil, fmt.Errorf("toolbox.json has no ErrorResponse")
	}
	return &Documents{
		api:        newDocument(api, false, apiFault()),
		toolbox:    newDocument(toolbox, true, refusal.Value),
		exceptions: exceptions(),
		met:        make(map[Operation]bool), needed: make(map[exception]bool),
	}, nil
}

// apiFault is the body of the API's refusals, of which api.json says nothing.
func apiFault() *openapi3.Schema {
	text := openapi3.NewStringSchema()
	return openapi3.NewObjectSchema().WithProperties(map[string]*openapi3.Schema{
		"path": text, "error": text, "message": text,
		"timestamp": openapi3.NewDateTimeSchema(), "statusCode": openapi3.NewIntegerSchema(),
	}).WithRequired([]string{"path", "timestamp", "statusCode", "error", "message"}).WithoutAdditionalProperties()
}

func newDocument(spec *openapi3.T, toolbox bool, fault *openapi3.Schema) *document {
	d := &document{spec: spec, operations: make(map[int][]route), fault: fault}
	closeObjects(spec)
	for path, item := range spec.Paths.Map() {
		segments := strings.Split(path, "/")
		for method, operation := range item.Operations() {
			o := Operation{Toolbox: toolbox, Method: method, Path: path}
			if len(operation.Tags) > 0 {
				o.Tag = operation.Tags[0]
			}
			d.operations[len(segments)] = append(d.operations[len(segments)], route{o, segments, item})
		}
	}
	return d
}

// closeObjects makes a field that the document does not name an error: the
// documents leave objects open, and servers ignore what they do not know.
func closeObjects(spec *openapi3.T) {
	for _, ref := range spec.Components.Schemas {
		if s := ref.Value; len(s.Properties) > 0 && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
			s.AdditionalProperties.Has = new(bool)
		}
	}
}

// Operations are those of both documents: api.json's before toolbox.json's,
// by group, path and method.
func (d *Documents) Operations() []Operation {
	var all []Operation
	for _, doc := range []*document{d.api, d.toolbox} {
		for _, routes := range doc.operations {
			for _, r := range routes {
				all = append(all, r.Operation)
			}
		}
	}
	return sorted(all)
}

// Met returns the operations that were asked for since the last call of Met.
func (d *Documents) Met() []Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	met := slices.Collect(maps.Keys(d.met))
	clear(d.met)
	return sorted(met)
}

func sorted(all []Operation) []Operation {
	key := func(o Operation) string {
		document := "api"
		if o.Toolbox {
			document = "toolbox"
		}
		return strings.Join([]string{document, o.Tag, o.Path, o.Method}, "\x00")
	}
	slices.SortFunc(all, func(a, b Operation) int { return strings.Compare(key(a), key(b)) })
	return all
}

// find returns the operation of a request, and what its path's parameters are.
// Where two paths fit, the one with the fewest parameters is meant.
func (d *document) find(method, escaped string) (found *route, params map[string]string) {
	segments := strings.Split(escaped, "/")
	for _, r := range d.operations[len(segments)] {
		if r.Method != method {
			continue
		}
		if fits, ok := r.match(segments); ok && (found == nil || len(fits) < len(params)) {
			found, params = &r, fits
		}
	}
	return found, params
}

func (r *route) match(segments []string) (params map[string]string, ok bool) {
	params = make(map[string]string)
	for i, segment := range r.segments {
		switch {
		case strings.HasPrefix(segment, "{"):
			params[strings.Trim(segment, "{}")] = segments[i]
		case segment != segments[i]:
			return nil, false
		}
	}
	return params, true
}
