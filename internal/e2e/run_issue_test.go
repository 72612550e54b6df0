package e2e_test

import (
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

func TestMain(m *testing.M) { e2e.Main(m) }

// onEngines runs a test on either engine, each with services of its own.
func onEngines(t *testing.T, o e2e.Options, test func(t *testing.T, s *e2e.Stack)) {
	for _, engine := range e2e.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o := o
			o.Engine = engine
			test(t, e2e.New(t, o))
		})
	}
}

func TestBugFixed(t *testing.T) {
	t.Parallel()
	onEngines(t, e2e.Options{}, func(t *testing.T, s *e2e.Stack) {
		ref := s.Shop(github.Issue{})
		r := s.Run("run-issue", ref)
		t.Log(r)
		if r.Exit != 0 {
			t.Fatal(r)
		}
		t.Logf("%+v", s.Pull("demo/shop"))
		t.Log(s.Comment("demo/shop", 42).Body)
		t.Log(s.Git("demo/shop", "log", "--stat", "--all"))
	})
}
