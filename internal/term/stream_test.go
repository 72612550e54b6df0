package term

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

func TestCleanerInPieces(t *testing.T) {
	t.Parallel()
	const text = "a\x1b[2Jb\r\nü\u202e日本\r50%\r100%\n\x00\xffend"
	const want = "a[2Jb\nü日本\n50%\n100%\n\uFFFDend"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		c := &cleaner{w: &out}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if got, err := io.WriteString(c, rest[:n]); err != nil || got != n {
				t.Fatal(got, err)
			}
			rest = rest[n:]
		}
		if out.String() != want {
			t.Errorf("pieces of %d: %q, want %q", size, out.String(), want)
		}
	}
}

// TestShownElsewhere leaves bytes alone.
func TestShownElsewhere(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := Streams{Out: &out}.Shown(&out)
	if _, err := io.WriteString(w, "\x1b\x00\xff"); err != nil || out.String() != "\x1b\x00\xff" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestInputEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s := Streams{In: r}
	if !s.Piped() {
		t.Error("a pipe is none")
	}
	in := s.Input(ctx)
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n, err := in.Read(b); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	cancel()
	if _, err := in.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if (Streams{In: null}).Piped() {
		t.Error("nothing is a pipe")
	}
}
