package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
)

// decodeStrict reads YAML into a struct. Unknown and repeated keys and values
// of the wrong kind are errors that begin with their line. An empty document
// leaves the struct as it is.
func decodeStrict(content []byte, into any) error {
	err := yaml.NewDecoder(strings.NewReader(string(content)), yaml.Strict()).Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return errors.New(firstLine(err.Error()))
	}
	return fmt.Errorf("line %d: %s", at.GetToken().Position.Line, firstLine(at.GetMessage()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
