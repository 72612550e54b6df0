package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// problem is an error as the API answers it.
type problem struct {
	status  int
	message string
	// body, when set, is what v0.190's daemon says in place of a toolboxError;
	// nothing at all when it is silent.
	body   any
	silent bool
}

func (p *problem) Error() string { return p.message }

func problemf(status int, format string, args ...any) error {
	return &problem{status: status, message: fmt.Sprintf(format, args...)}
}

// refusef is for the toolbox operations that put their errors shortly.
func refusef(status int, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	return &problem{status: status, message: message, body: map[string]string{"error": message}}
}

// hasStatus reports whether an error is a problem with a status.
func hasStatus(err error, status int) bool {
	var p *problem
	return errors.As(err, &p) && p.status == status
}

// asProblem gives an error the status it is answered with.
func asProblem(err error) *problem {
	var p *problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return &problem{status: http.StatusRequestEntityTooLarge, message: "request entity too large"}
	case errors.Is(err, ErrStopped):
		return &problem{status: http.StatusBadRequest, message: notStarted}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{status: http.StatusRequestTimeout, message: "request timed out"}
	}
	return &problem{status: http.StatusInternalServerError, message: err.Error()}
}

// errUnexpected is all that the API says of its own faults.
var errUnexpected = problemf(http.StatusInternalServerError, "An unexpected error occurred.")

// notStarted is what the proxies answer for a sandbox that does not run.
const notStarted = "bad request: no IP address found. Is the Sandbox started?"

// apiError is the body of the API's errors.
type apiError struct {
	Path       string    `json:"path"`
	Timestamp  time.Time `json:"timestamp"`
	StatusCode int       `json:"statusCode"`
	Error      string    `json:"error"`
	Message    string    `json:"message"`
}

// toolboxError is the body of the toolbox's and the preview proxy's errors.
type toolboxError struct {
	StatusCode int       `json:"statusCode"`
	Message    string    `json:"message"`
	Code       string    `json:"code"`
	Timestamp  time.Time `json:"timestamp"`
	Path       string    `json:"path"`
	Method     string    `json:"method"`
}

func (s *Server) writeAPIError(w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	writeJSON(w, p.status, apiError{
		Path: r.URL.RequestURI(), Timestamp: s.now().UTC(), StatusCode: p.status,
		Error: http.StatusText(p.status), Message: p.message,
	})
}

func (s *Server) writeToolboxError(w http.ResponseWriter, r *http.Request, err error) {
	p := asProblem(err)
	switch {
	case p.silent:
		w.WriteHeader(p.status)
		return
	case p.body != nil:
		writeJSON(w, p.status, p.body)
		return
	}
	code := map[int]string{
		http.StatusBadRequest:     "BAD_REQUEST",
		http.StatusUnauthorized:   "UNAUTHORIZED",
		http.StatusForbidden:      "FORBIDDEN",
		http.StatusNotFound:       "NOT_FOUND",
		http.StatusRequestTimeout: "REQUEST_TIMEOUT",
		http.StatusConflict:       "CONFLICT",
		http.StatusGone:           "GONE",
	}[p.status]
	if code == "" {
		code = "INTERNAL_SERVER_ERROR"
	}
	writeJSON(w, p.status, toolboxError{
		StatusCode: p.status, Message: p.message, Code: code,
		Timestamp: s.now().UTC(), Path: r.URL.Path, Method: r.Method,
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// An error here is the client's connection: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// maxJSON bounds a request's JSON body, in bytes.
const maxJSON = 1 << 20

// readJSON decodes a request's body; unknown fields are ignored, as Daytona
// does. An empty body is an empty object.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSON))
	var tooLarge *http.MaxBytesError
	switch err := decoder.Decode(into); {
	case err == nil, err == io.EOF: // not wrapped: nothing was sent
		return nil
	case errors.As(err, &tooLarge):
		return err
	default:
		return problemf(http.StatusBadRequest, "%v", err)
	}
}
