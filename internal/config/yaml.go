package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decodeStrict reads YAML into a struct. Unknown and repeated keys and values
// of the wrong kind are errors that begin with their line. An empty document
// leaves the struct as it is.
func decodeStrict(content []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(content))
	d.KnownFields(true)
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if wrong := (*yaml.TypeError)(nil); errors.As(err, &wrong) {
		said := strings.ToValidUTF8(wrong.Errors[0], "") // the library cuts values anywhere
		return errors.New(unknownKey.ReplaceAllString(said, "unknown key $1"))
	} else if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one YAML document")
	}
	return nil
}

// unknownKey is how the library says it.
var unknownKey = regexp.MustCompile(`field (.*) not found in type \S+$`)
