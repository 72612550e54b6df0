package doctor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// expect runs a command line and compares what came of it.
func (e *exam) expect(ctx context.Context, cmd daytona.Command, want daytona.Result) error {
	got, err := e.box.Execute(ctx, cmd)
	if err != nil {
		return err
	}
	if got != want {
		return wrong("a command gave %q and exit code %d, not %q and %d", line(got.Output), got.ExitCode, want.Output, want.ExitCode)
	}
	return nil
}

func (e *exam) commands(ctx context.Context) (string, error) {
	err := e.expect(ctx,
		daytona.Command{Line: `pwd; echo "$DOCTOR"; cat; exit 3`, Dir: "/", Env: map[string]string{"DOCTOR": "it's $HOME"}},
		daytona.Result{ExitCode: 3, Output: "/\nit's $HOME\n"})
	if err != nil {
		return "", err
	}
	_, err = e.box.Execute(ctx, daytona.Command{Line: "sleep 20", Timeout: time.Second})
	if err := refused(err, fault.Sandbox, "a command that sleeps for longer than it may"); err != nil {
		return "", err
	}
	return "directory, environment, exit code and time-out hold", nil
}

const (
	keptFile  = "kept.txt" // outlives stops
	bigSize   = 5 << 20    // bytes
	smallMode = 0o640
)

// noise is bytes that no layer can guess, the same each time.
func noise(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
}

func (e *exam) files(ctx context.Context) (string, error) {
	kept := "kept by " + e.Name + "\n"
	big := e.dir + "/big.bin"
	began := e.Now()
	err := e.box.Upload(ctx,
		daytona.File{Path: e.dir + "/" + keptFile, Content: []byte(kept), Mode: smallMode},
		daytona.File{Path: big, Size: bigSize, Open: func() (io.ReadCloser, error) { return io.NopCloser(noise(bigSize)), nil }})
	if err != nil {
		return "", err
	}
	if err := e.expectFile(ctx, e.dir+"/"+keptFile, kept); err != nil {
		return "", err
	}
	want := sha256.New()
	_, _ = io.Copy(want, noise(bigSize))
	if got, err := e.hash(ctx, big); err != nil {
		return "", err
	} else if !bytes.Equal(got, want.Sum(nil)) {
		return "", wrong("a file of %d MiB came back changed", bigSize>>20)
	}
	took := e.Now().Sub(began)
	if err := e.arrange(ctx, big); err != nil {
		return "", err
	}
	e.kept = kept
	return fmt.Sprintf("%d MiB up and down in %.1f s; listed, moved, removed", bigSize>>20, took.Seconds()), nil
}

// arrange looks at the files, moves the big one, and removes it.
func (e *exam) arrange(ctx context.Context, big string) error {
	sub := e.dir + "/a b"
	moved := sub + "/moved.bin"
	if err := e.box.MakeDir(ctx, sub, 0o755); err != nil {
		return err
	}
	if err := e.box.Move(ctx, big, moved); err != nil {
		return err
	}
	info, err := e.box.Info(ctx, e.dir+"/"+keptFile)
	if err != nil {
		return err
	}
	if info.Perm() != smallMode || !info.Regular() {
		return wrong("the mode of a file is %s, not %04o", line(info.Permission), smallMode)
	}
	list, err := e.box.List(ctx, sub)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Name != "moved.bin" || list[0].Size != bigSize {
		return wrong("a file that was moved is not listed where it should be")
	}
	_, err = e.box.Info(ctx, big)
	if err := refused(err, fault.NotFound, "to find a file where it was moved from"); err != nil {
		return err
	}
	if err := e.box.Remove(ctx, sub, true); err != nil {
		return err
	}
	_, err = e.box.Info(ctx, moved)
	return refused(err, fault.NotFound, "to find a file that was removed")
}

// expectFile compares a file in the sandbox.
func (e *exam) expectFile(ctx context.Context, name, want string) error {
	file, err := e.box.Download(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := io.ReadAll(io.LimitReader(file, int64(len(want))+1))
	if err != nil {
		return err
	}
	if string(got) != want {
		return wrong("%s has something else in it than was put there", name)
	}
	return nil
}

// hash is the SHA-256 of a file in the sandbox that is not larger than bigSize.
func (e *exam) hash(ctx context.Context, name string) ([]byte, error) {
	file, err := e.box.Download(ctx, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(file, bigSize+1)); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// makeRepository makes one with a commit and two branches in the directory $DIR.
const makeRepository = `set -e; mkdir -p "$DIR"; cd "$DIR"; git init -q .; git checkout -q -b main
echo one >a.txt; git add a.txt
git -c user.name=doctor -c user.email=doctor@example.com commit -q -m first; git branch other`

func (e *exam) git(ctx context.Context) (string, error) {
	if has, err := e.box.Execute(ctx, daytona.Command{Line: "command -v git", Again: true}); err != nil {
		return "", err
	} else if has.ExitCode != 0 {
		return "", skip("the snapshot has no git")
	}
	origin, clone := e.dir+"/origin", e.dir+"/clone"
	err := e.expect(ctx, daytona.Command{Line: makeRepository, Env: map[string]string{"DIR": origin}}, daytona.Result{})
	if err != nil {
		return "", err
	}
	if err := e.box.Clone(ctx, daytona.Clone{URL: "file://" + origin, Path: clone, Branch: "main"}); err != nil {
		return "", err
	}
	if err := e.box.Upload(ctx, daytona.File{Path: clone + "/b.txt", Content: []byte("two\n")}); err != nil {
		return "", err
	}
	status, err := e.box.GitStatus(ctx, clone)
	if err != nil {
		return "", err
	}
	if status.Branch != "main" || len(status.Files) != 1 || status.Files[0].Name != "b.txt" || status.Files[0].Worktree != "Untracked" {
		return "", wrong("the status of a clone with one new file is branch %q and %d files", line(status.Branch), len(status.Files))
	}
	branches, err := e.box.GitBranches(ctx, clone)
	if err != nil {
		return "", err
	}
	if !slices.Equal(branches, []string{"main"}) {
		return "", wrong("the branches of a clone of main are %q", line(strings.Join(branches, " ")))
	}
	return "cloned inside the sandbox; status and branches hold", nil
}

func (e *exam) session(ctx context.Context) (string, error) {
	s, err := e.box.OpenSession(ctx, e.Name)
	if err != nil {
		return "", err
	}
	id, err := s.Start(ctx, `echo ready; read -r said; echo "heard $said"; echo trouble >&2; exit 7`)
	if err != nil {
		return "", err
	}
	out := &awaited{word: "ready", seen: make(chan struct{})}
	var errs capped
	both, within := errgroup.WithContext(ctx)
	both.Go(func() error {
		if err := s.Follow(within, id, out, &errs); err != nil || out.done {
			return err
		}
		return wrong("a command that waits for input ended, after %q", line(out.String()))
	})
	both.Go(func() error {
		select {
		case <-out.seen: // what it writes comes while it runs
			return s.Input(within, id, []byte("the doctor\n"))
		case <-within.Done():
			return nil
		}
	})
	if err := both.Wait(); err != nil {
		_ = s.Close(ctx)
		return "", err
	}
	code, ended, err := s.ExitCode(ctx, id)
	if err != nil {
		return "", err
	}
	if !ended || code != 7 || out.String() != "ready\nheard the doctor\n" || errs.String() != "trouble\n" {
		return "", wrong("a session's command wrote %q and %q and ended: %t, with %d", line(out.String()), line(errs.String()), ended, code)
	}
	if err := s.Close(ctx); err != nil {
		return "", err
	}
	return "output streamed, input read, exit code kept", nil
}

func (e *exam) terminal(ctx context.Context) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := e.box.OpenPTY(ctx, daytona.PTYOptions{Dir: "/", Cols: 80, Rows: 24})
	if err != nil {
		return "", err
	}
	defer t.Close()
	if err := t.Resize(ctx, 100, 30); err != nil {
		return "", err
	}
	// The answer differs from what is typed, which the terminal echoes.
	if _, err := io.WriteString(t, "echo \"<$((6*7)) $(stty size)>\"; read -r go; exit 5\n"); err != nil {
		return "", err
	}
	shown, err := until(t, "<42 ", ">")
	if err != nil {
		return "", err
	}
	if size := strings.TrimSpace(shown); size != "30 100" && size != "" { // "": the snapshot has no stty
		return "", wrong("a terminal that was resized to 100 by 30 says %q", line(size))
	}
	if _, err := io.WriteString(t, "\n"); err != nil {
		return "", err
	}
	code, err := t.Wait()
	if err != nil {
		return "", err
	}
	if code != 5 {
		return "", wrong("a terminal's shell ended with %d instead of 5", code)
	}
	return "typed, resized, exit code told", nil
}

// maxShown is how much a step reads of what a command or terminal writes.
const maxShown = 64 << 10

// until reads up to what stands between two marks.
func until(r io.Reader, before, after string) (string, error) {
	var all []byte
	buf := make([]byte, 4<<10)
	for len(all) < maxShown {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if _, rest, ok := strings.Cut(string(all), before); ok {
			if between, _, ok := strings.Cut(rest, after); ok {
				return between, nil
			}
		}
		if err != nil {
			return "", fmt.Errorf("wait for what the terminal shows, after %q: %w", line(string(all)), err)
		}
	}
	return "", wrong("the terminal shows too much")
}

// capped keeps the first of what is written to it.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.Buffer.Write(p[:min(len(p), max(0, maxShown-c.Len()))])
	return len(p), nil
}

// awaited closes seen when word was written to it.
type awaited struct {
	capped
	word string
	seen chan struct{}
	done bool
}

func (a *awaited) Write(p []byte) (int, error) {
	_, _ = a.capped.Write(p)
	if !a.done && strings.Contains(a.String(), a.word) {
		a.done = true
		close(a.seen)
	}
	return len(p), nil
}
