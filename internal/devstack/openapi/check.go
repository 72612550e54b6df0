package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// maxBody bounds the bodies that are checked, in bytes.
const maxBody = 32 << 20

// Violation is one way in which a request or its answer breaks the documents.
type Violation struct {
	Operation string // "GET /sandbox/{sandboxIdOrName}", or method and path of none
	Request   bool   // the request breaks them, else the answer
	Status    int    // of the answer
	Err       error
}

func (v *Violation) Error() string {
	side := "answer"
	if v.Request {
		side = "request"
	}
	return fmt.Sprintf("%s of %s (%d): %v", side, v.Operation, v.Status, v.Err)
}

func (v *Violation) Unwrap() error { return v.Err }

// Check wraps a server of the API at /api and of toolboxes at /toolbox/{id}.
// It reports a *Violation for each way in which a request or an answer breaks
// the documents, when it has been answered. Bodies pass while they come: only
// JSON is copied. Of a WebSocket the request is checked. What leads elsewhere,
// as previews do, passes.
func (d *Documents) Check(report func(error)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			doc, path := d.of(r.URL)
			if doc == nil {
				next.ServeHTTP(w, r)
				return
			}
			x := &exchange{ResponseWriter: w, status: http.StatusOK}
			defer func() { d.report(x, report) }()
			found, params := doc.find(r.Method, path)
			if found == nil {
				x.operation = r.Method + " " + path
				next.ServeHTTP(x, r)
				if x.status < 400 {
					x.broken(false, errors.New("is in no document"))
				}
				return
			}
			x.operation = found.String()
			d.mu.Lock()
			d.met[found.Operation] = true
			d.mu.Unlock()
			x.checkRequest(doc, found, params, r)
			if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
				x.status = http.StatusSwitchingProtocols
				d.report(x, report) // now: nobody waits for the end of a hijacked connection
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(x, r)
			if x.lost {
				return
			}
			x.checkAnswer(doc, found.item.GetOperation(found.Method))
		})
	}
}

// of says which document a URL is of, and its path there.
func (d *Documents) of(u *url.URL) (*document, string) {
	escaped := u.EscapedPath()
	if path, ok := strings.CutPrefix(escaped, "/api/"); ok && path != "socket.io/" { // the event socket is no operation
		return d.api, "/" + path
	}
	if rest, ok := strings.CutPrefix(escaped, "/toolbox/"); ok {
		_, path, _ := strings.Cut(rest, "/") // behind the sandbox's id
		return d.toolbox, "/" + path
	}
	return nil, ""
}

// report leaves out what an exception allows.
func (d *Documents) report(x *exchange, to func(error)) {
	violations := x.violations
	x.violations = nil
	for _, v := range violations {
		v.Operation, v.Status = x.operation, x.status
		if !d.excused(v) {
			to(v)
		}
	}
}

// exchange is a request and, as it is written, its answer.
type exchange struct {
	http.ResponseWriter
	operation  string
	violations []*Violation

	status int
	wrote  bool
	body   bytes.Buffer // of JSON
	size   int          // of whatever was written
	lost   bool         // the client is gone
}

func (x *exchange) broken(request bool, errs ...error) {
	for _, err := range errs {
		x.violations = append(x.violations, &Violation{Request: request, Err: err})
	}
}

// Unwrap is how http.ResponseController flushes and hijacks.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *exchange) WriteHeader(status int) {
	if !x.wrote && status >= 200 {
		x.wrote, x.status = true, status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	x.wrote = true
	n, err := x.ResponseWriter.Write(p)
	x.lost = x.lost || err != nil
	if x.size += n; mediaType(x.Header()) == "application/json" && x.body.Len() <= maxBody {
		x.body.Write(p[:n])
	}
	return n, err
}

func (x *exchange) checkRequest(doc *document, found *route, params map[string]string, r *http.Request) {
	operation := found.item.GetOperation(found.Method)
	for name := range r.URL.Query() {
		if operation.Parameters.GetByInAndName("query", name) == nil {
			x.broken(true, fmt.Errorf("no query parameter %s is documented", name))
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r.Clone(r.Context()), PathParams: make(map[string]string),
		Route: &routers.Route{Spec: doc.spec, Path: found.Path, PathItem: found.item, Method: found.Method, Operation: operation},
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
			MultiError:         true, SkipSettingDefaults: true,
		},
	}
	in.Options.WithCustomSchemaErrorFunc(short)
	for name, escaped := range params {
		// An http.Server has refused what cannot be decoded.
		in.PathParams[name], _ = url.PathUnescape(escaped)
	}
	switch {
	case operation.RequestBody != nil:
		data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		rest := io.MultiReader(bytes.NewReader(data), r.Body)
		if err != nil {
			rest = io.MultiReader(bytes.NewReader(data), failed{err})
		}
		r.Body = body{rest, r.Body}
		if err != nil || len(data) > maxBody {
			return // the server's to refuse
		}
		in.Request.Body = io.NopCloser(bytes.NewReader(data))
	case r.ContentLength != 0:
		x.broken(true, errors.New("no body is documented"))
	}
	x.broken(true, each(openapi3filter.ValidateRequest(r.Context(), in))...)
}

// body is a request's body that was read already, once more.
type body struct {
	io.Reader
	io.Closer
}

// failed is a reader that fails as the one before it did.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// checkAnswer takes a refusal that the operation does not describe for one of
// those that all may answer with.
func (x *exchange) checkAnswer(doc *document, operation *openapi3.Operation) {
	var content openapi3.Content
	described := operation.Responses.Status(x.status)
	if described != nil {
		content = described.Value.Content
	}
	switch {
	case described == nil && x.status < 400:
		x.broken(false, fmt.Errorf("status %d is not documented", x.status))
		return
	case x.status >= 400 && content["application/json"] == nil:
		// Swagger 2 has one list of media types for all answers of an
		// operation: a download's refusals are no octet streams.
		content = openapi3.NewContentWithJSONSchema(doc.fault)
	case len(content) == 0:
		if x.size > 0 {
			x.broken(false, errors.New("no body is documented"))
		}
		return
	}
	if x.size == 0 && content["application/json"] != nil {
		x.broken(false, errors.New("the body is missing"))
		return
	}
	kind := mediaType(x.Header())
	media := content[kind]
	switch {
	case media == nil:
		x.broken(false, fmt.Errorf("content type %q is not documented", x.Header().Get("Content-Type")))
	case kind != "application/json" || media.Schema == nil:
	case x.body.Len() > maxBody:
		x.broken(false, errors.New("the body is too long to be checked"))
	default:
		var value any
		if err := json.Unmarshal(x.body.Bytes(), &value); err != nil {
			x.broken(false, err)
			return
		}
		x.broken(false, each(media.Schema.Value.VisitJSON(value, openapi3.VisitAsResponse(), openapi3.MultiErrors(),
			openapi3.EnableFormatValidation(), openapi3.SetSchemaErrorMessageCustomizer(short)))...)
	}
}

func mediaType(header http.Header) string {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// each returns the single errors of a validator's.
func each(err error) (all []error) {
	several, ok := err.(openapi3.MultiError) //nolint:errorlint // one that wraps several says where they are
	if !ok && err != nil {
		return []error{err}
	}
	for _, one := range several {
		all = append(all, each(one)...)
	}
	return all
}

// short says where and what: by itself a validator quotes schema and value.
func short(e *openapi3.SchemaError) string {
	text := "/" + strings.Join(e.JSONPointer(), "/") + ": " + e.Reason
	if e.Origin != nil {
		text += ": " + e.Origin.Error()
	}
	return text
}
