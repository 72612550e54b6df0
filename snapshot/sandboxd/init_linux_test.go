package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// As the first process of a container sandboxd serves from a child, and both
// end on SIGTERM with exit code 0.
func TestInit(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making a PID namespace takes root")
	}
	program := filepath.Join(t.TempDir(), "sandboxd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()

	cmd := exec.Command(program)
	cmd.Env = []string{"HOME=" + t.TempDir(), "SANDBOXD_ADDR=" + address}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Skipf("no PID namespace here: %v", err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var health api.Health
	for deadline := time.Now().Add(20 * time.Second); !health.OK; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get("http://" + address + "/healthz"); err == nil {
			_ = json.NewDecoder(resp.Body).Decode(&health)
			_ = resp.Body.Close()
		} else if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, stderr.String())
		}
	}
	if health.PID == 1 || health.Protocol != api.Protocol {
		t.Errorf("health %+v", health)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
}
