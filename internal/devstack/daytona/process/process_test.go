package process_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is a directory that other users can reach, unlike t.TempDir.
func root(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "dayclaude-"+rand.Text()[:10])
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, opts process.Options, ids ...string) *process.Engine {
	t.Helper()
	if opts.Root == "" {
		opts.Root = root(t)
	}
	engine, err := process.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, id := range ids {
		if err := engine.Create(t.Context(), daytona.Spec{ID: id, Env: map[string]string{"DAYTONA_SANDBOX_ID": id}, Record: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	return engine
}

// sh runs a script in a sandbox.
func sh(t *testing.T, engine daytona.Engine, id, script string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	exit, err := engine.Exec(t.Context(), id, daytona.Command{Args: []string{"/bin/sh", "-c", script}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	return exit, out.String()
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "canary")
	engine := start(t, process.Options{}, "a")
	_, out := sh(t, engine, "a", "env; cat /proc/self/environ | tr '\\0' '\\n'")
	if strings.Contains(out, "canary") {
		t.Error("the caller's environment is in the sandbox")
	}
	for _, want := range []string{"SANDBOXD_ADDR=127.0.0.1:", "DAYTONA_SANDBOX_ID=a", "HOME="} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
}

func TestPortIsMapped(t *testing.T) {
	engine := start(t, process.Options{}, "a")
	_, address := sh(t, engine, "a", "printf %s $SANDBOXD_ADDR")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := engine.Dial(t.Context(), "a", 8080)
	if err != nil {
		t.Fatal(err)
	}
	if conn.RemoteAddr().String() != address {
		t.Errorf("connected to %s, not %s", conn.RemoteAddr(), address)
	}
	conn.Close()
	// Another engine, which sees nobody listen yet, must not take it.
	if other, err := net.ListenPacket("udp", address); err == nil {
		other.Close()
		t.Error("the port is not claimed")
	}
	if err := engine.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if other, err := net.ListenPacket("udp", address); err != nil {
		t.Errorf("the port is still claimed: %v", err)
	} else {
		other.Close()
	}
	if _, err := engine.Dial(t.Context(), "a", 8080); !errors.Is(err, daytona.ErrStopped) {
		t.Errorf("dial to a stopped sandbox: %v", err)
	}
	if _, err := engine.Exec(t.Context(), "a", daytona.Command{Args: []string{"true"}}); !errors.Is(err, daytona.ErrStopped) {
		t.Errorf("exec in a stopped sandbox: %v", err)
	}
}

// Nothing survives a stop: not a child that left its session, not one whose
// parents are gone.
func TestStopKillsAll(t *testing.T) {
	engine := start(t, process.Options{}, "a", "b")
	const leave = `for i in 1 2 3; do (setsid sh -c 'sleep 1000 & echo $!; sleep 1000' &); done`
	var pids []string
	for _, id := range []string{"a", "b"} {
		reader, writer := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := engine.Exec(ctx, id, daytona.Command{Args: []string{"/bin/sh", "-c", leave}, Stdout: writer})
			ended <- err
		}()
		lines := bufio.NewReader(reader)
		for range 3 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, strings.TrimSpace(line))
		}
		// The children hold the output: only the end of ctx ends this.
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("exec: %v", err)
		}
	}
	alive := func(pids []string) (n int) {
		for _, pid := range pids {
			if !gone(pid) {
				n++
			}
		}
		return n
	}
	if alive(pids) != 6 {
		t.Fatalf("%d of 6 children run", alive(pids))
	}
	if err := engine.Stop(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if a, b := alive(pids[:3]), alive(pids[3:]); a != 0 || b != 3 {
		t.Errorf("%d children outlived the stop; %d of 3 in the other sandbox did", a, b)
	}
}

// gone reports whether a process is dead, waited for or not.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

func TestSandboxesAreApart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give sandboxes users of their own")
	}
	engine := start(t, process.Options{}, "a", "b")
	_, home := sh(t, engine, "a", "umask 0; echo secret >file; printf %s $HOME")
	if exit, out := sh(t, engine, "b", "cat "+home+"/file 2>&1"); exit == 0 || strings.Contains(out, "secret") {
		t.Errorf("another sandbox reads the file: %d %s", exit, out)
	}
	if exit, _ := sh(t, engine, "a", "cat "+filepath.Dir(home)+"/sandbox.json"); exit == 0 {
		t.Error("the sandbox reads the engine's record")
	}
	_, a := sh(t, engine, "a", "id -u; id -G")
	_, b := sh(t, engine, "b", "id -u; id -G")
	if a == b || strings.Contains(a, "\n0") {
		t.Errorf("users and groups %q and %q", a, b)
	}
}

// Tools that the sandbox's user cannot reach are made reachable.
func TestTools(t *testing.T) {
	closed := t.TempDir() // below a directory that is the caller's alone
	tool := func(name string, mode os.FileMode) string {
		path := filepath.Join(closed, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+name+" runs\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	opts := process.Options{Root: root(t), Tools: []string{tool("linked", 0o755), tool("copied", 0o700), "/bin/ls"}}
	for range 2 { // the second finds what the first made
		engine, err := process.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := process.New(opts); fault.KindOf(err) != fault.Conflict {
			t.Errorf("a second engine on the same root: %v", err)
		}
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
	}
	engine := start(t, opts, "a")
	if _, out := sh(t, engine, "a", "linked; copied; command -v ls"); !strings.HasPrefix(out, "linked runs\ncopied runs\n"+opts.Root) {
		t.Errorf("got %q", out)
	}
	opts.Root, opts.Tools = root(t), []string{filepath.Join(closed, "none")}
	if _, err := process.New(opts); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a tool that is not there: %v", err)
	}
}

func TestRootMustBeReachable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes run as the caller")
	}
	_, err := process.New(process.Options{Root: t.TempDir()})
	if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

// Exec waits for the reading of its input, and ends a read that waits.
func TestExecInput(t *testing.T) {
	engine := start(t, process.Options{}, "a")
	reader, writer := io.Pipe()
	if exit, err := engine.Exec(t.Context(), "a", daytona.Command{Args: []string{"/bin/sh", "-c", "exit 3"}, Stdin: reader}); exit != 3 || err != nil {
		t.Errorf("got %d, %v", exit, err)
	}
	if _, err := writer.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the input is still open: %v", err)
	}
	_, err := engine.Exec(t.Context(), "a", daytona.Command{Args: []string{"/nowhere"}, Stdin: strings.NewReader("x")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	var out bytes.Buffer
	input := strings.Repeat("0123456789abcdef", 1<<16)
	if _, err := engine.Exec(t.Context(), "a", daytona.Command{Args: []string{"cat"}, Stdin: strings.NewReader(input), Stdout: &out}); err != nil || out.String() != input {
		t.Errorf("%d of %d bytes came back, %v", out.Len(), len(input), err)
	}
}

// The same tests hold without root.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is it")
	}
	dir := root(t)
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.v", "-test.run", "Clean|Mapped|Kills|Tools|Input")
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestStopKillsAll")) {
		t.Errorf("%v\n%s", err, out)
	}
}
