// Package secret holds values that must never be printed, and the redactor
// that takes them out of streams on their way to a log, a terminal or GitHub.
package secret

import "log/slog"

// String is a secret. However it is printed, logged or marshalled, it shows
// only that it is there; Reveal is the one way to its value.
type String struct {
	// A pointer, because fmt reads the unexported fields of a struct that holds
	// a String without asking String for its methods: it then prints an address.
	value *string
}

const mask = "[redacted]"

// New wraps a secret value.
func New(value string) String {
	if value == "" {
		return String{}
	}
	return String{&value}
}

// Reveal returns the value itself: call it where it is sent, nowhere else.
func (s String) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s String) IsZero() bool { return s.value == nil }

// String returns "[redacted]", or "" for no secret.
func (s String) String() string {
	if s.IsZero() {
		return ""
	}
	return mask
}

// GoString hides the value from %#v.
func (s String) GoString() string { return `secret.String("` + s.String() + `")` }

// MarshalText hides the value from JSON, YAML and everything like them.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the value from slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
