package daytona

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// parted is what a demux makes of a log that comes in pieces.
func parted(pieces ...string) (stdout, stderr string) {
	var out, errs bytes.Buffer
	d := &demux{stdout: &out, stderr: &errs}
	for _, p := range pieces {
		if n, err := d.Write([]byte(p)); n != len(p) || err != nil {
			panic(err)
		}
	}
	if err := d.flush(); err != nil {
		panic(err)
	}
	return out.String(), errs.String()
}

func TestDemux(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ log, stdout, stderr string }{
		{"", "", ""},
		{"\x01\x01\x01a\n\x02\x02\x02b\n\x01\x01\x01c\n", "a\nc\n", "b\n"},
		{"\x01\x01\x01a\x01b\x01\x01c\x02\n", "a\x01b\x01\x01c\x02\n", ""},
		{"\x02\x02\x02\x02\x01\x02a", "", "\x02\x01\x02a"},                 // the first three are the mark
		{"\x01\x01\x02\x02\x02a", "\x01\x01", "a"},                         // one that stops short before another
		{"\x01\x01\x01\x02\x02\x02\x01\x01\x01", "", ""},                   // marks alone
		{"\x01\x01\x01a\n\x02\x02", "a\n\x02\x02", ""},                     // it ends amid what might be a mark
		{"unmarked\n\x02\x02\x02b\n", "unmarked\n", "b\n"},                 // a server that marks nothing
		{"\x01\x01\x01\xff\xfe\x00\n\x02\x02\x02é", "\xff\xfe\x00\n", "é"}, // bytes are kept as they are
	} {
		for cut := 0; cut <= len(tt.log); cut++ {
			if out, errs := parted(tt.log[:cut], tt.log[cut:]); out != tt.stdout || errs != tt.stderr {
				t.Fatalf("%q cut at %d: got %q and %q, want %q and %q", tt.log, cut, out, errs, tt.stdout, tt.stderr)
			}
		}
	}
}

func TestDemuxEndsWithItsWriter(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	d := &demux{stdout: failing{full}, stderr: failing{full}}
	if _, err := d.Write([]byte("\x02\x02\x02b\n")); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// However a log is cut, it is parted as when it comes whole, and nothing but
// marks is lost.
func FuzzDemux(f *testing.F) {
	f.Add([]byte("\x01\x01\x01a\n\x02\x02\x02b\n"), 3, 4)
	f.Add([]byte("\x01\x01\x02\x02\x02\x02\x01"), 2, 5)
	f.Fuzz(func(t *testing.T, log []byte, a, b int) {
		text := string(log)
		a, b = min(max(a, 0), len(text)), min(max(b, 0), len(text))
		out, errs := parted(text)
		if o, e := parted(text[:min(a, b)], text[min(a, b):max(a, b)], text[max(a, b):]); o != out || e != errs {
			t.Fatalf("%q cut at %d and %d: %q and %q, not %q and %q", text, a, b, o, e, out, errs)
		}
		plain := strings.NewReplacer("\x01", "", "\x02", "").Replace
		if len(plain(out))+len(plain(errs)) != len(plain(text)) {
			t.Fatalf("%q became %q and %q", text, out, errs)
		}
	})
}
