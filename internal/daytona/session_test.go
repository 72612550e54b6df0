package daytona_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// lines collects what is written and tells when a word has come.
type lines struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	word string
	came chan struct{}
}

func waitFor(word string) *lines { return &lines{word: word, came: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(p)
	if l.word != "" && strings.Contains(l.buf.String(), l.word) {
		l.word = ""
		close(l.came)
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start starts a command in a session of its own.
func start(w *world, line string) (*daytona.Session, string) {
	w.Helper()
	s := w.session(w.name())
	id, err := s.Start(w.Context(), line)
	if err != nil {
		w.Fatal(err)
	}
	return s, id
}

func wantExit(w *world, s *daytona.Session, id string, want int) {
	w.Helper()
	if code, ended, err := s.ExitCode(w.Context(), id); code != want || !ended || err != nil {
		w.Errorf("exit code %d, ended %t, %v; want %d", code, ended, err, want)
	}
}

// What a command writes comes while it runs, its input reaches it, and its
// exit code is kept.
func TestSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	s, id := start(w, `echo "it's here"; read -r line; echo "got $line"; echo trouble >&2; printf tail; exit 7`)
	out, errs := waitFor("here"), waitFor("trouble")
	followed := make(chan error, 1)
	go func() { followed <- s.Follow(t.Context(), id, out, errs) }()
	<-out.came
	if _, ended, err := s.ExitCode(t.Context(), id); ended || err != nil {
		t.Errorf("ended while it waits: %t, %v", ended, err)
	}
	if err := s.Input(t.Context(), id, []byte("one line")); err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if out.String() != "it's here\ngot one line\ntail\n" || errs.String() != "trouble\n" {
		t.Errorf("wrote %q and %q", out.String(), errs.String())
	}
	wantExit(w, s, id, 7)
	if err := s.Input(t.Context(), id, []byte("too late")); err == nil {
		t.Error("a command that ended took input")
	}

	// Neither exit nor an error of syntax ended the session.
	for line, want := range map[string]int{"exit 3": 3, "echo it's a mistake": 2, "cat <<E >/dev/null\nx\nE": 0} {
		id, err := s.Start(t.Context(), line)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Follow(t.Context(), id, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		wantExit(w, s, id, want)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.Start(t.Context(), "true"); err == nil {
		t.Error("a closed session took a command")
	}
}

// Connections break while a command writes; nothing is lost or comes twice.
func TestFollowGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	server := standIn(t)
	w, direct := newWorld(t, server), newWorld(t, server)
	s, id := start(w, `for i in 1 2 3 4; do echo "line $i"; echo "trouble $i" >&2; read -r go; done`)
	direct.box = w.box
	typing := direct.session(s.ID()) // its connections hold
	out, errs := waitFor("line 1\n"), waitFor("trouble 1\n")
	followed := make(chan error, 1)
	go func() { followed <- s.Follow(t.Context(), id, out, errs) }()
	for i := 1; i <= 4; i++ {
		<-out.came
		<-errs.came
		w.front.Cut()
		out.mu.Lock()
		out.word, out.came = "line "+string(rune('1'+i))+"\n", make(chan struct{})
		out.mu.Unlock()
		errs.mu.Lock()
		errs.word, errs.came = "trouble "+string(rune('1'+i))+"\n", make(chan struct{})
		errs.mu.Unlock()
		if err := typing.Input(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if out.String() != "line 1\nline 2\nline 3\nline 4\n" || errs.String() != "trouble 1\ntrouble 2\ntrouble 3\ntrouble 4\n" {
		t.Errorf("wrote %q and %q", out.String(), errs.String())
	}
	wantExit(w, s, id, 0)
}

// Following ends with its context, with a writer's error, and with the
// sandbox.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	s, id := start(w, "echo begun; sleep 60")
	follow := func(ctx context.Context) (*lines, chan error) {
		out, followed := waitFor("begun"), make(chan error, 1)
		go func() { followed <- s.Follow(ctx, id, out, io.Discard) }()
		<-out.came
		return out, followed
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, followed := follow(ctx)
	cancel()
	if err := <-followed; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	full := errors.New("disk full")
	if err := s.Follow(t.Context(), id, broken{full}, io.Discard); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
	_, followed = follow(t.Context())
	if err := w.client.Stop(t.Context(), w.box.ID); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; fault.KindOf(err) != fault.Sandbox {
		t.Errorf("a sandbox that stopped: %v of kind %s", err, fault.KindOf(err))
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// The key goes to the toolbox's proxy alone, also as a WebSocket is opened.
func TestSocketsFollowNoRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	s, id := start(w, "true")
	w.meet(always(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Errorf("followed with %q", r.Header.Get("Authorization"))
		}
		http.Redirect(rw, r, "/elsewhere", http.StatusFound)
	}))
	if err := s.Follow(t.Context(), id, io.Discard, io.Discard); fault.KindOf(err) != fault.Usage {
		t.Errorf("got %v", err)
	}
}

func TestEntrypointLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standIn(t))
	out := waitFor("")
	if err := w.toolbox().EntrypointLogs(t.Context(), true, out, io.Discard); err != nil || out.String() != "ready\n" {
		t.Errorf("followed to its end: %q, %v", out.String(), err)
	}
	if err := w.toolbox().EntrypointLogs(t.Context(), false, out, io.Discard); err != nil || out.String() != "ready\nready\n" {
		t.Errorf("read: %q, %v", out.String(), err)
	}
}
