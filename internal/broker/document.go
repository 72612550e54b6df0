package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// value is parsed JSON that can be written out again with the order of its
// keys: that's the order in which the model sees and fills a tool's
// parameters, and encoding/json would sort it. What is written has one
// meaning for every parser: no key twice in an object, valid UTF-8, no
// unpaired surrogates, nothing around it.
type value struct {
	kind   byte // the first byte of its syntax: { [ " t f n, or 0 for a number
	text   []byte
	fields []field
	items  []value
}

type field struct {
	key   string
	value value
}

// Bounds of a document. A call of Claude Code holds a few thousand values; a
// value takes about 100 bytes of memory.
const (
	maxValues = 1 << 18
	maxDepth  = 256
)

var (
	errSyntax = errors.New("the body is not valid JSON")
	errLarge  = errors.New("the body's JSON is too large or too deeply nested")
)

// parseDocument reads one JSON value. The value keeps parts of body.
func parseDocument(body []byte) (value, error) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return value{}, errSyntax
	}
	p := parser{rest: body}
	return p.value(0)
}

// parser walks JSON that is known to be valid: it can rely on each next byte.
type parser struct {
	rest   []byte
	values int
}

// next skips white space and the separators, whose places are known to be
// right, and returns the byte after them.
func (p *parser) next() byte {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n,:")
	return p.rest[0]
}

func (p *parser) value(depth int) (value, error) {
	p.values++
	if p.values > maxValues || depth > maxDepth {
		return value{}, errLarge
	}
	switch c := p.next(); c {
	case '{':
		return p.object(depth)
	case '[':
		v := value{kind: c}
		p.rest = p.rest[1:]
		for p.next() != ']' {
			item, err := p.value(depth + 1)
			if err != nil {
				return value{}, err
			}
			v.items = append(v.items, item)
		}
		p.rest = p.rest[1:]
		return v, nil
	case '"':
		text, err := p.string()
		return value{kind: c, text: text}, err
	default:
		n := bytes.IndexAny(p.rest, " \t\r\n,:]}")
		if n < 0 {
			n = len(p.rest)
		}
		v := value{text: p.rest[:n]}
		if c >= 'a' { // true, false, null
			v.kind = c
		}
		p.rest = p.rest[n:]
		return v, nil
	}
}

func (p *parser) object(depth int) (value, error) {
	v := value{kind: '{'}
	p.rest = p.rest[1:]
	var seen map[string]bool // for objects that are not small
	for p.next() != '}' {
		token, err := p.string()
		if err != nil {
			return value{}, err
		}
		key := value{kind: '"', text: token}.string()
		if len(v.fields) == 16 {
			seen = make(map[string]bool)
			for _, f := range v.fields {
				seen[f.key] = true
			}
		}
		if seen == nil && v.get(key) != nil || seen[key] {
			return value{}, fmt.Errorf("the key %.40q occurs twice in one object", key)
		}
		if seen != nil {
			seen[key] = true
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.fields = append(v.fields, field{key, item})
	}
	p.rest = p.rest[1:]
	return v, nil
}

// string takes a string with its quotes. Escapes of UTF-16 surrogates, the
// one thing in a valid string that parsers read differently, are resolved.
func (p *parser) string() ([]byte, error) {
	end := 1
	for p.rest[end] != '"' {
		if p.rest[end] == '\\' {
			end++
		}
		end++
	}
	token := p.rest[:end+1]
	p.rest = p.rest[end+1:]
	if !bytes.Contains(token, []byte(`\u`)) {
		return token, nil
	}
	return json.Marshal(value{kind: '"', text: token}.string())
}

// string is a string's value, "" for anything else.
func (v value) string() string {
	if v.kind != '"' {
		return ""
	}
	if !bytes.ContainsRune(v.text, '\\') {
		return string(v.text[1 : len(v.text)-1])
	}
	var s string
	if json.Unmarshal(v.text, &s) != nil {
		return ""
	}
	return s
}

// get returns an object's field, nil if v has none of that name.
func (v value) get(key string) *value {
	for i := range v.fields {
		if v.fields[i].key == key {
			return &v.fields[i].value
		}
	}
	return nil
}

// set replaces a field that is there.
func (v value) set(key string, to value) {
	if f := v.get(key); f != nil {
		*f = to
	}
}

// appendTo writes v without white space.
func (v value) appendTo(b []byte) []byte {
	switch v.kind {
	case '{':
		b = append(b, '{')
		for i, f := range v.fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, f.key)
			b = append(b, ':')
			b = f.value.appendTo(b)
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendTo(b)
		}
		return append(b, ']')
	}
	return append(b, v.text...)
}

func appendString(b []byte, s string) []byte {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
		escaped, _ := json.Marshal(s) // a string always has an encoding
		return append(b, escaped...)
	}
	return append(append(append(b, '"'), s...), '"')
}
