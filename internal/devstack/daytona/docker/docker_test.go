package docker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/docker"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

const image = testenv.Image

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, namespace string) *docker.Engine {
	t.Helper()
	testenv.Docker(t)
	engine, err := docker.New(t.Context(), docker.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	return engine
}

func namespace() string { return "test" + strings.ToLower(rand.Text()[:10]) }

// start makes a sandbox that goes with the test.
func start(t *testing.T, engine *docker.Engine, spec daytona.Spec) (entrypoint []string) {
	t.Helper()
	if spec.Image == "" {
		spec.Image = image
	}
	spec.CPU, spec.Memory, spec.Record = 1, 1, []byte(spec.ID)
	t.Cleanup(func() {
		if err := engine.Remove(context.WithoutCancel(t.Context()), spec.ID); err != nil {
			t.Error(err)
		}
	})
	if err := engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	entrypoint, err := engine.Start(t.Context(), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	return entrypoint
}

// sh runs a script in a sandbox and returns what it printed, errors included.
func sh(t *testing.T, engine *docker.Engine, id, script string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := engine.Exec(t.Context(), id, daytona.Command{
		Args: append([]string{"/bin/sh", "-c", "exec 2>&1; " + script, "sh"}, args...), Stdout: &out,
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestConfinement(t *testing.T) {
	t.Parallel()
	engine := open(t, namespace())
	start(t, engine, daytona.Spec{ID: "a"})
	status := sh(t, engine, "a", "grep -E '^(Cap|NoNew)' /proc/self/status")
	for _, line := range strings.Split(strings.TrimSpace(status), "\n") {
		name, value, _ := strings.Cut(line, ":")
		if want := map[bool]string{true: "1", false: "0000000000000000"}[name == "NoNewPrivs"]; strings.TrimSpace(value) != want {
			t.Errorf("%s is %s", name, value)
		}
	}
	if out := sh(t, engine, "a", "ls /var/run/docker.sock"); !strings.Contains(out, "No such file") {
		t.Errorf("Docker's socket: %s", out)
	}
	if out := strings.Fields(sh(t, engine, "a", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes")); !slices.Contains(out, fmt.Sprint(1<<30)) {
		t.Errorf("memory limit: %s", out)
	}
}

// Without a network there is no way out and no name to resolve; the host
// still gets in.
func TestBlock(t *testing.T) {
	t.Parallel()
	engine := open(t, namespace())
	start(t, engine, daytona.Spec{ID: "blocked", Blocked: true})
	start(t, engine, daytona.Spec{ID: "open"})
	outside := internet(t)
	// A refusal comes from the other end: it was reached.
	reaches := func(id string) bool {
		return strings.Contains(sh(t, engine, id, "timeout 2 bash -c \"</dev/tcp/$1/9\"", outside), "refused")
	}
	if reaches("blocked") || !reaches("open") {
		t.Errorf("way out: blocked %v, open %v", reaches("blocked"), reaches("open"))
	}
	if out := sh(t, engine, "blocked", "getent hosts example.com || echo none"); out != "none\n" {
		t.Errorf("a blocked sandbox resolves names: %s", out)
	}
	for _, id := range []string{"blocked", "open"} {
		// A refusal comes from the container itself: it can be reached.
		if _, err := engine.Dial(t.Context(), id, 9); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("dial to %s: %v", id, err)
		}
	}
	for _, blocked := range []bool{true, true, false} {
		if err := engine.Block(t.Context(), "open", blocked); err != nil {
			t.Fatal(err)
		}
		if reaches("open") == blocked {
			t.Errorf("blocked %v, but it has a way out %[1]v", blocked)
		}
	}
}

// internet returns the address of a host that is only to be reached through
// this machine: a network namespace at the end of a cable.
func internet(t *testing.T) (address string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network to reach")
	}
	ip := testenv.Command(t, "ip")
	name := "dc" + strings.ToLower(rand.Text()[:8])
	run := func(ctx context.Context, line string) {
		line = strings.ReplaceAll(line, "NAME", name)
		if out, err := exec.CommandContext(ctx, ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	run(t.Context(), "netns add NAME")
	t.Cleanup(func() { run(context.WithoutCancel(t.Context()), "netns del NAME") })
	for _, line := range []string{
		"link add NAMEa type veth peer name NAMEb netns NAME",
		"addr add 198.51.100.1/30 dev NAMEa", // RFC 5737
		"link set NAMEa up",
		"-n NAME addr add 198.51.100.2/30 dev NAMEb",
		"-n NAME link set NAMEb up",
		"-n NAME route add default via 198.51.100.1",
	} {
		run(t.Context(), line)
	}
	return "198.51.100.2"
}

// The image's entrypoint and user hold; its command is dropped.
func TestImage(t *testing.T) {
	t.Parallel()
	engine := open(t, namespace())
	tag := "dayclaude-test:" + namespace()
	build := exec.CommandContext(t.Context(), "docker", "build", "-q", "-t", tag, "-")
	build.Stdin = strings.NewReader("FROM " + image + "\nUSER nobody\nWORKDIR /tmp\nENV FROM_IMAGE=yes\nENTRYPOINT [\"enter\",\"a b\"]\nCMD [\"dropped\"]\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "docker", "rmi", "-f", tag).Run()
	})
	if got := start(t, engine, daytona.Spec{ID: "a", Image: tag}); !slices.Equal(got, []string{"enter", "a b"}) {
		t.Errorf("entrypoint %q", got)
	}
	if out := sh(t, engine, "a", "id -un; pwd; echo $FROM_IMAGE; cat /proc/1/comm"); !strings.HasPrefix(out, "nobody\n/tmp\nyes\n") {
		t.Errorf("got %q", out)
	}
	if got := start(t, engine, daytona.Spec{ID: "b", Image: tag, Entrypoint: []string{"other"}}); !slices.Equal(got, []string{"other"}) {
		t.Errorf("entrypoint %q", got)
	}
	if err := engine.Create(t.Context(), daytona.Spec{ID: "c", Image: "dayclaude-test:none"}); err == nil || !strings.Contains(err.Error(), "dayclaude-test:none") {
		t.Errorf("an image that is not there: %v", err)
	}
}

// A command whose client only leaves goes on; one that is cancelled does not.
func TestDetached(t *testing.T) {
	t.Parallel()
	engine := open(t, namespace())
	start(t, engine, daytona.Spec{ID: "a"})
	for cause, want := range map[error]string{daytona.ErrDetached: "still there\n", context.Canceled: "gone\n"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := writerFunc(func(p []byte) (int, error) {
			cancel(cause)
			return len(p), nil
		})
		if _, err := engine.Exec(ctx, "a", daytona.Command{Args: []string{"/bin/sh", "-c", "echo begun; sleep 1006"}, Stdout: begun}); err == nil {
			t.Error("the command ended by itself")
		}
		if out := sh(t, engine, "a", `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -q "sleep 100[6]" && echo still there || echo gone`); out != want {
			t.Errorf("%v: %s", cause, out)
		}
		sh(t, engine, "a", `for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline | grep -q "^sleep 1006" && kill -9 ${p#/proc/}; done`)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A saved record replaces the one before and goes with the sandbox. A sandbox
// that never got a container has one too.
func TestRecords(t *testing.T) {
	t.Parallel()
	name := namespace()
	engine := open(t, name)
	start(t, engine, daytona.Spec{ID: "a"})
	for _, record := range []string{"one", "two", "three"} {
		for _, id := range []string{"a", "never"} {
			if err := engine.Save(t.Context(), id, []byte(record)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What a save leaves that is interrupted between its two steps.
	again := open(t, name)
	if err := again.Save(t.Context(), "never", []byte("too old")); err != nil {
		t.Fatal(err)
	}
	found := load(t, again)
	if want := map[string]string{"a": "three true", "never": "three false"}; fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("found %v, want %v", found, want)
	}
	if other := load(t, open(t, namespace())); len(other) != 0 {
		t.Errorf("another namespace sees %v", other)
	}
	for _, id := range []string{"a", "never", "unknown"} {
		if err := engine.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if left := load(t, open(t, name)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	out, err := exec.CommandContext(t.Context(), "docker", "volume", "ls", "-q", "--filter", "name="+name).Output()
	if err != nil || len(out) != 0 {
		t.Errorf("volumes left: %s %v", out, err)
	}
}

func load(t *testing.T, engine *docker.Engine) map[string]string {
	t.Helper()
	saved, err := engine.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, s := range saved {
		found[s.ID] = fmt.Sprintf("%s %v", s.Record, s.Running)
	}
	return found
}

func TestNoEngine(t *testing.T) {
	t.Parallel()
	_, err := docker.New(t.Context(), docker.Options{Host: "unix:///nowhere.sock"})
	if fault.KindOf(err) != fault.Unavailable || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}
