package cmd_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/cmd"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

func TestMain(m *testing.M) {
	e2e.BecomeCommand()
	testscript.Main(tight{m}, map[string]func(){
		"dayclaude":   func() { os.Exit(cmd.Main()) },
		"keep-secret": keepSecret,
	})
}

// tight fails tests that leave goroutines behind.
type tight struct{ m *testing.M }

func (t tight) Run() int {
	code := t.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs testdata/script/*.txtar against the command line, without
// any service. UPDATE_SCRIPTS=1 writes what the commands print into them.
func TestScripts(t *testing.T) {
	t.Parallel()
	refusing := refuses(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			for name, dir := range map[string]string{"HOME": "home", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"} {
				e.Setenv(name, e.WorkDir+"/"+dir)
			}
			e.Setenv("REFUSING", refusing)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// refuses serves a GitHub that takes no token, for the length of the test.
func refuses(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintln(w, `{"message":"Bad credentials"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// exits is the script command "exits CODE PROGRAM [ARGS...]": the program must
// end with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Check(err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
