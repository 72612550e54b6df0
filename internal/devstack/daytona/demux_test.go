package daytona

import (
	"fmt"
	"strings"
	"testing"
)

// However a command's output is cut into writes, its log is the output, its
// code the code, and what follows belongs to the next command.
func FuzzDemux(f *testing.F) {
	f.Add("one\ntwo", uint8(3), uint8(0))
	f.Add("\x1eABC \x1e\x01\x01\x01", uint8(1), uint8(255))
	f.Add(strings.Repeat("x", 2*maxLine), uint8(200), uint8(7))
	f.Fuzz(func(t *testing.T, output string, size, code uint8) {
		first := &sessionCommand{key: "AAAA", log: newCommandLog()}
		second := &sessionCommand{key: "BBBB", log: newCommandLog()}
		s := &session{commands: []*sessionCommand{first, second}}
		begin, end := mark(first.key)
		if strings.Contains(output, begin) {
			t.Skip("no command knows its key")
		}
		from := [2]*demux{{session: s, stream: stdout}, {session: s, stream: stderr}}
		for _, d := range from {
			text := fmt.Sprintf("%s%s%d%snext\n", output, begin, code, end)
			for step := int(size) + 1; text != ""; text = text[min(step, len(text)):] {
				if n, err := d.Write([]byte(text[:min(step, len(text))])); err != nil || n != min(step, len(text)) {
					t.Fatal(n, err)
				}
			}
		}
		marked, ended, exit, _ := first.log.read(0)
		if !ended || exit != int(code) {
			t.Errorf("ended %v with %d", ended, exit)
		}
		want := output
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		out, errs := split(marked)
		clean := string(unmarked([]byte(output))) == output // a mark in the output counts as one
		if clean && len(output) < maxLine && (out != want || errs != want) {
			t.Errorf("logged %q and %q, want %q", out, errs, want)
		}
		marked, ended, _, _ = second.log.read(0)
		if out, errs := split(marked); ended || out != "next\n" || errs != "next\n" {
			t.Errorf("the next command has %q and %q, ended %v", out, errs, ended)
		}
	})
}

// stat's words come from the sandbox.
func FuzzParseStat(f *testing.F) {
	f.Add("81a4 12 1700000000 root root")
	f.Add("41ed -1 9999999999999 UNKNOWN UNKNOWN")
	f.Add("zz 1")
	f.Fuzz(func(t *testing.T, line string) {
		info, err := parseStat(line, "name")
		if err == nil && (info.Name != "name" || len(info.Mode) == 0 || len(info.Permissions) != 4) {
			t.Errorf("%q became %+v", line, info)
		}
	})
}
