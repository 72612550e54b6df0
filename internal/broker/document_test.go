package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`"k":0,`, 3)
	keys := `{`
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		keys += `"` + string(c) + `":1,`
	}
	for name, tt := range map[string]struct {
		in, out string // out "": refused
	}{
		"order of keys":        {` { "z" : 1 , "a" : [ true , null , -1.5e3 ] } `, `{"z":1,"a":[true,null,-1.5e3]}`},
		"empty":                {`{"a":{},"b":[],"":""}`, `{"a":{},"b":[],"":""}`},
		"escapes":              {`"a\n\"\\\/"`, `"a\n\"\\\/"`},
		"separators in text":   {`{"a":", : ]}\\","b":"{\""}`, `{"a":", : ]}\\","b":"{\""}`},
		"surrogate pair":       {`"\ud83d\ude00"`, `"😀"`},
		"lone surrogate":       {`"a\ud83d"`, `"a` + "\ufffd" + `"`},
		"escaped key":          {`{"t\u0079pe":"u\u0072l"}`, `{"type":"url"}`},
		"number":               {`12`, `12`},
		"duplicate":            {`{` + many + `"x":1}`, ``},
		"escaped duplicate":    {`{"type":"text","t\u0079pe":"url"}`, ``},
		"nested duplicate":     {`[[{"a":{"b":1,"b":2}}]]`, ``},
		"late duplicate":       {keys + `"c":2}`, ``},
		"many keys":            {keys + `"A":2}`, keys + `"A":2}`},
		"after the end":        {`{} {}`, ``},
		"byte order mark":      {"\ufeff{}", ``},
		"invalid UTF-8":        {"\"a\xff\"", ``},
		"comment":              {`{/**/}`, ``},
		"trailing comma":       {`[1,]`, ``},
		"NaN":                  {`NaN`, ``},
		"control character":    {"\"\x01\"", ``},
		"nothing":              {``, ``},
		"too deep":             {strings.Repeat("[", 300) + strings.Repeat("]", 300), ``},
		"too many":             {"[" + strings.Repeat("0,", maxValues) + "0]", ``},
		"deeper than the Go's": {strings.Repeat("[", 1<<20), ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := parseDocument([]byte(tt.in))
			if tt.out == "" {
				if err == nil {
					t.Fatalf("accepted as %.200s", v.appendTo(nil))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(v.appendTo(nil)); got != tt.out {
				t.Errorf("got %s, want %s", got, tt.out)
			}
		})
	}
}

// FuzzDocument: what is written means what was read, to encoding/json, and is
// what is written for it again.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x\u00e9\n",{"b":null}],"c":-0.1e+7}`, `"\ud800"`, `{"a":1,"a":2}`, ` [ ] `, "{\"\\u0041\":\"\u2028\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := parseDocument(in)
		if err != nil {
			if json.Valid(in) && errors.Is(err, errSyntax) && bytes.Equal(in, bytes.ToValidUTF8(in, nil)) {
				t.Fatalf("valid JSON refused: %q", in)
			}
			return
		}
		out := v.appendTo(nil)
		if want, got := decode(t, in), decode(t, out); !reflect.DeepEqual(want, got) {
			t.Fatalf("%q became %q", in, out)
		}
		again, err := parseDocument(out)
		if err != nil || !bytes.Equal(again.appendTo(nil), out) {
			t.Fatalf("%q is not stable: %q, %v", out, again.appendTo(nil), err)
		}
	})
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
