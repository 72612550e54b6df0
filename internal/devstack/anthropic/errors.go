package anthropic

import (
	"encoding/json"
	"net/http"
)

// apiError is an error as the API tells it.
type apiError struct {
	status  int
	kind    string
	message string
}

// failures are the statuses a step may fail with and the error type of each,
// from the API's documentation of errors.
var failures = map[int]string{
	400: "invalid_request_error",
	401: "authentication_error",
	402: "billing_error",
	403: "permission_error",
	404: "not_found_error",
	413: "request_too_large",
	429: "rate_limit_error",
	500: "api_error",
	504: "timeout_error",
	529: "overloaded_error",
}

func invalid(message string) *apiError {
	return &apiError{http.StatusBadRequest, "invalid_request_error", message}
}

func unauthenticated(message string) *apiError {
	return &apiError{http.StatusUnauthorized, "authentication_error", message}
}

// refuse answers with an error in the API's shape.
func refuse(w http.ResponseWriter, err *apiError) {
	writeJSON(w, err.status, map[string]any{
		"type":       "error",
		"error":      map[string]string{"type": err.kind, "message": err.message},
		"request_id": w.Header().Get("Request-Id"),
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a client that is gone needs no answer
}
