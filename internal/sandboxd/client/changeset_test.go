package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dayclaude/dayclaude/internal/changeset"
	"github.com/dayclaude/dayclaude/internal/fault"
)

const base = "0123456789abcdef0123456789abcdef01234567"

func TestReadChangeset(t *testing.T) {
	t.Parallel()
	want := &changeset.Set{Base: base, Truncated: true, Changes: []changeset.Change{
		{Path: "a", Mode: changeset.ModeFile, Content: []byte("x\x00\xff")}, {Path: "b", Deleted: true},
		{Path: "c\uFFFD", RawPath: []byte("c\xff"), Mode: changeset.ModeSymlink, Content: []byte("a")},
	}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readChangeset(strings.NewReader(string(data)+"\n"), 4); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := readChangeset(strings.NewReader(string(data)), 3); !errors.Is(err, errBroken) {
		t.Errorf("4 bytes where 3 are allowed: %v", err)
	}
	reset := errors.New("connection reset")
	if _, err := readChangeset(io.MultiReader(strings.NewReader(string(data[:40])), iotest.ErrReader(reset)), 4); !errors.Is(err, reset) || fault.KindOf(err) != fault.Unavailable {
		t.Errorf("cut: %v", err)
	}
	change := func(c string) string { return fmt.Sprintf(`{"base":"%s","changes":[%s]}`, base, c) }
	for name, body := range map[string]string{
		"empty":            "",
		"no base":          `{"changes":[]}`,
		"bad base":         `{"base":"HEAD","changes":[]}`,
		"not an object":    `[]`,
		"no changes":       `{"base":"` + base + `"}`,
		"not a list":       `{"base":"` + base + `","changes":{}}`,
		"two lists":        `{"base":"` + base + `","changes":[],"changes":[]}`,
		"unknown key":      `{"base":"` + base + `","changes":[],"extra":1}`,
		"more behind":      change("") + "{}",
		"cut":              change("")[:50],
		"no path":          change(`{"mode":"100644"}`),
		"long path":        change(`{"path":"` + strings.Repeat("x", 4*maxPath) + `","mode":"100644"}`),
		"no mode":          change(`{"path":"a"}`),
		"directory":        change(`{"path":"a","mode":"040000"}`),
		"mode and deleted": change(`{"path":"a","mode":"100644","deleted":true}`),
		"content, deleted": change(`{"path":"a","content":"eA==","deleted":true}`),
		"unknown field":    change(`{"path":"a","mode":"100644","owner":"root"}`),
		"not base64":       change(`{"path":"a","mode":"100644","content":"%"}`),
		"too much":         change(`{"path":"a","mode":"100644","content":"` + base64.StdEncoding.EncodeToString(make([]byte, 2000)) + `"}`),
		"too many":         change(strings.Repeat(`{"path":"a","deleted":true},`, maxChanges) + `{"path":"a","deleted":true}`),
	} {
		if set, err := readChangeset(strings.NewReader(body), 1000); !errors.Is(err, errBroken) || fault.KindOf(err) != fault.Sandbox {
			t.Errorf("%s: %+v, %v", name, set, err)
		}
	}
	endless := io.MultiReader(strings.NewReader(`{"base":"`), zeros{})
	if _, err := readChangeset(endless, 1000); !errors.Is(err, errBroken) {
		t.Errorf("endless: %v", err)
	}
}

// zeros is a reader of a string that never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// FuzzReadChangeset: what is accepted holds only changes, within bounds, and
// is the same when written and read again; what is not is refused in a
// sentence.
func FuzzReadChangeset(f *testing.F) {
	f.Add(`{"base":"` + base + `","truncated":false,"changes":[{"path":"a","mode":"100644","content":"eA=="}]}`)
	f.Add(`{"base":"` + base + `","changes":[{"path":"a","deleted":true},{"path":"\ud800","raw_path":"/w==","mode":"120000"}]}`)
	f.Add(`{"BASE":"` + base + `","base":1,"changes":[{"path":"../a","Path":".git/a\u0000","mode":"160000","mode":"100755"}]}`)
	f.Add(`{"changes":[{"path":"a","mode":"` + strings.Repeat("1", 10_000) + `"}]}`)
	f.Add(`{"changes":[{"deleted":` + strings.Repeat("1", 10_000) + `}]}`)
	f.Add(`{"` + strings.Repeat("x", 10_000) + `":{}}`)
	f.Fuzz(func(t *testing.T, body string) {
		const most = 64
		set, err := readChangeset(strings.NewReader(body), most)
		if again, errAgain := readChangeset(iotest.OneByteReader(strings.NewReader(body)), most); !reflect.DeepEqual(again, set) || fmt.Sprint(errAgain) != fmt.Sprint(err) {
			t.Errorf("byte by byte %+v, %v; whole %+v, %v", again, errAgain, set, err)
		}
		if err != nil {
			if set != nil || fault.KindOf(err) != fault.Sandbox || len(err.Error()) > maxMessage+maxWord {
				t.Errorf("%+v, %.100s… of %d bytes", set, err, len(err.Error()))
			}
			return
		}
		if set.Size() > most || !commitID.MatchString(set.Base) || len(set.Changes) > maxChanges {
			t.Errorf("accepted %+v", set)
		}
		for _, c := range set.Changes {
			kinds := map[string]bool{"": true, changeset.ModeFile: true, changeset.ModeExecutable: true, changeset.ModeSymlink: true, changeset.ModeSubmodule: true}
			if c.Deleted != (c.Mode == "") || !kinds[c.Mode] || c.Deleted && len(c.Content) > 0 || c.Path == "" || len(c.RawPath) > maxPath {
				t.Errorf("accepted %+v", c)
			}
			held(t, c.Path, 3*maxPath)
		}
		written, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readChangeset(bytes.NewReader(written), most)
		if rewritten, _ := json.Marshal(again); err != nil || !bytes.Equal(rewritten, written) {
			t.Errorf("%s is read again as %s, %v", written, rewritten, err)
		}
	})
}
