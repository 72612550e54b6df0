package e2e_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/doctor"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// TestDoctor examines a Daytona that is well, on both engines.
func TestDoctor(t *testing.T) {
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := e2e.New(t, e2e.Options{Engine: engine, Bare: true})
			r := wantExit(t, s.Run("doctor", "--deep"), 0)
			for _, step := range doctor.Steps() {
				if !strings.Contains(r.Stdout, "\nok       "+step+" ") && step != "server" {
					t.Errorf("no %s in\n%s", step, r)
				}
			}
			if left := s.Sandboxes(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDoctorTellsWhatIsWrong finds no snapshot: the fault decides the exit
// code, and --json has it all.
func TestDoctorTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Bare: true})
	s.Daytona.SetPermissions("write:snapshots")
	r := wantExit(t, s.Run("doctor", "--deep"), 4)
	holds(t, "stdout", r.Stdout, "failed   key ", "lacks the permission write:sandboxes", "hint: ", "skipped  list ", `it needs "create"`)
	if r.Stderr != "" {
		t.Errorf("stderr: %s", r.Stderr)
	}
	v := wantExit(t, s.Run("doctor", "--deep", "--json"), 4).JSON()
	steps, _ := v["steps"].([]any)
	if v["ok"] != false || !strings.HasPrefix(v["sandbox"].(string), "dayclaude-doctor-") || len(steps) != len(doctor.Steps()) {
		t.Fatalf("got %v", v)
	}
	key := steps[1].(e2e.Object)
	problem, _ := key["error"].(e2e.Object)
	if key["step"] != "key" || key["result"] != "failed" || problem["kind"] != "auth" || problem["hint"] == "" {
		t.Errorf("got %v", key)
	}
	wantExit(t, s.Run("doctor"), 2)
}

// TestDoctorInterrupted: Ctrl-C deletes the sandbox; a second one leaves at
// once and says what is left, which clean-up knows as nobody's.
func TestDoctorInterrupted(t *testing.T) {
	t.Parallel()
	s := e2e.New(t, e2e.Options{Engine: e2e.Process, Bare: true})
	begun := func(c *e2e.Command) {
		s.Eventually("the sandbox to be made", func() bool { return strings.Contains(c.Stdout(), "ok       create ") })
	}
	c := s.Start("doctor", "--deep")
	begun(c)
	c.Signal(syscall.SIGINT)
	r := wantExit(t, c.Wait(), 130)
	holds(t, "stdout", r.Stdout, "stopped by hand", "ok       delete ")
	holds(t, "stderr", r.Stderr, "dayclaude: stopped by hand before all was examined")
	if left := s.Sandboxes(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	deleting := make(chan struct{}, 1)
	s.WrapDaytona(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				deleting <- struct{}{}
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c = s.Start("doctor", "--deep")
	begun(c)
	c.Signal(syscall.SIGINT)
	<-deleting
	c.Signal(syscall.SIGINT)
	r = wantExit(t, c.Wait(), 130)
	left := s.Sandboxes()
	if len(left) != 1 {
		t.Fatalf("left behind: %v", left)
	}
	for name, sandbox := range left {
		holds(t, "stderr", r.Stderr, "sandbox "+name+" may be left; `dayclaude sandboxes delete "+name+"` deletes it")
		if sandbox.Labels[doctor.LabelDoctor] == "" || sandbox.AutoDelete == nil || *sandbox.AutoDelete < 1 {
			t.Errorf("it is not marked, or stays for ever: %v", sandbox)
		}
		s.Env["DAYTONA_API_URL"] = s.Daytona.URL()
		wantExit(t, s.Run("sandboxes", "delete", name, "--yes"), 0)
	}
}
