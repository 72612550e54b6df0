package daytona_test

import (
	"context"
	"io"
	"strings"

	"github.com/dayclaude/dayclaude/internal/daytona"
)

// makeRepository makes one with a commit in the directory $DIR.
const makeRepository = `set -e; mkdir -p "$DIR"; cd "$DIR"; git init -q .; git checkout -q -b main; echo one >a; git add a
git -c user.name=t -c user.email=t@example.com commit -q -m first`

func toolboxMethods() []method {
	return []method{
		{name: "Toolbox.HomeDir", arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, _ string) error {
			return second(box.HomeDir(ctx))
		})},
		{name: "Toolbox.Execute", once: true, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, _ string) error {
			return second(box.Execute(ctx, daytona.Command{Line: "true", Dir: "/", Env: map[string]string{"A": "b"}}))
		})},
		{name: "Toolbox.List", arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return second(box.List(ctx, dir))
		})},
		{name: "Toolbox.Info", arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return second(box.Info(ctx, dir+"/here"))
		})},
		{name: "Toolbox.MakeDir", empty: true, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return box.MakeDir(ctx, dir+"/a b/c", 0o750)
		})},
		{name: "Toolbox.Remove", empty: true, fine: 404, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return box.Remove(ctx, dir+"/here", true)
		})},
		{name: "Toolbox.Move", once: true, empty: true, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return box.Move(ctx, dir+"/here", dir+"/there & more")
		})},
		{name: "Toolbox.Upload", empty: true, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return box.Upload(ctx, daytona.File{Path: dir + "/here", Content: []byte("x"), Mode: 0o755}, held(dir+"/new/a b", "from a file"))
		})},
		{name: "Toolbox.Download", stream: true, arrange: withToolbox(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return readAll(box.Download(ctx, dir+"/here"))
		})},
		{name: "Toolbox.Clone", once: true, empty: true, arrange: func(w *world) func(context.Context) error {
			box, dir := w.repository()
			return func(ctx context.Context) error {
				return box.Clone(ctx, daytona.Clone{URL: "file://" + dir, Path: dir + "-clone", Branch: "main"})
			}
		}},
		{name: "Toolbox.GitStatus", arrange: withRepository(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return second(box.GitStatus(ctx, dir))
		})},
		{name: "Toolbox.GitBranches", arrange: withRepository(func(ctx context.Context, box *daytona.Toolbox, dir string) error {
			return second(box.GitBranches(ctx, dir))
		})},
		{name: "Toolbox.OpenSession", empty: true, fine: 409, arrange: func(w *world) func(context.Context) error {
			box, id := w.toolbox(), w.name()
			return func(ctx context.Context) error { return second(box.OpenSession(ctx, id)) }
		}},
		{name: "Toolbox.Spawn", empty: true, arrange: func(w *world) func(context.Context) error {
			box, id := w.toolbox(), w.name()
			w.session(id)
			return func(ctx context.Context) error { return box.Spawn(ctx, id, "true") }
		}},
		{name: "Session.Start", once: true, arrange: withCommand("true", func(ctx context.Context, s *daytona.Session, _ string) error {
			return second(s.Start(ctx, "echo it\\'s"))
		})},
		{name: "Session.Follow", socket: true, arrange: withCommand("echo hi", func(ctx context.Context, s *daytona.Session, id string) error {
			return s.Follow(ctx, id, io.Discard, io.Discard)
		})},
		{name: "Session.Input", once: true, empty: true, arrange: withCommand("read -r line", func(ctx context.Context, s *daytona.Session, id string) error {
			return s.Input(ctx, id, []byte("line"))
		})},
		{name: "Session.ExitCode", arrange: withCommand("true", func(ctx context.Context, s *daytona.Session, id string) error {
			_, _, err := s.ExitCode(ctx, id)
			return err
		})},
		{name: "Session.Close", empty: true, fine: 404, arrange: withCommand("sleep 60", func(ctx context.Context, s *daytona.Session, _ string) error {
			return s.Close(ctx)
		})},
		{name: "Toolbox.EntrypointLogs", socket: true, arrange: func(w *world) func(context.Context) error {
			box := w.toolbox()
			return func(ctx context.Context) error { return box.EntrypointLogs(ctx, false, io.Discard, io.Discard) }
		}},
		{name: "Toolbox.OpenPTY", socket: true, arrange: func(w *world) func(context.Context) error {
			box, id := w.toolbox(), w.name()
			w.terminal(id)
			return func(ctx context.Context) error {
				p, err := box.OpenPTY(ctx, daytona.PTYOptions{ID: id, Dir: "/", Env: map[string]string{"A": "b"}})
				if err != nil {
					return err
				}
				return p.Close()
			}
		}},
		{name: "PTY.Resize", empty: true, arrange: func(w *world) func(context.Context) error {
			p := w.terminal(w.name())
			return func(ctx context.Context) error { return p.Resize(ctx, 100, 30) }
		}},
	}
}

// withToolbox needs a directory with a file named here.
func withToolbox(call func(context.Context, *daytona.Toolbox, string) error) func(*world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		box, dir := w.toolbox(), w.dir()
		if err := box.Upload(w.Context(), daytona.File{Path: dir + "/here", Content: []byte("content")}); err != nil {
			w.Fatal(err)
		}
		return func(ctx context.Context) error { return call(ctx, box, dir) }
	}
}

// withRepository needs a git repository.
func withRepository(call func(context.Context, *daytona.Toolbox, string) error) func(*world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		box, dir := w.repository()
		return func(ctx context.Context) error { return call(ctx, box, dir) }
	}
}

// withCommand needs a session in which a command was started.
func withCommand(line string, call func(ctx context.Context, s *daytona.Session, id string) error) func(*world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		s := w.session(w.name())
		id, err := s.Start(w.Context(), line)
		if err != nil {
			w.Fatal(err)
		}
		return func(ctx context.Context) error { return call(ctx, s, id) }
	}
}

// dir is a path in the sandbox where nothing is yet.
func (w *world) dir() string {
	w.Helper()
	home, err := w.toolbox().HomeDir(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return home + "/" + w.name()
}

func (w *world) repository() (*daytona.Toolbox, string) {
	w.Helper()
	box, dir := w.toolbox(), w.dir()
	r, err := box.Execute(w.Context(), daytona.Command{Line: makeRepository, Env: map[string]string{"DIR": dir}})
	if err != nil || r.ExitCode != 0 {
		w.Fatal(r, err)
	}
	return box, dir
}

func (w *world) session(id string) *daytona.Session {
	w.Helper()
	s, err := w.toolbox().OpenSession(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// terminal opens one for the length of the test.
func (w *world) terminal(id string) *daytona.PTY {
	w.Helper()
	p, err := w.toolbox().OpenPTY(w.Context(), daytona.PTYOptions{ID: id})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := p.Close(); err != nil && w.Context().Err() == nil {
			w.Error(err)
		}
	})
	return p
}

// held is a file whose content is opened for each attempt.
func held(path, content string) daytona.File {
	return daytona.File{Path: path, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}
