package sandboxd_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// The real Claude Code, keyless: the host adds the key. While the host is
// gone between two calls of the model, Claude waits and does not even retry.
func TestRealClaude(t *testing.T) {
	t.Parallel()
	program := testenv.Claude(t)
	const key = "sk-ant-of-the-host"
	model, err := anthropic.New(anthropic.Options{Key: secret.New(key), Scenario: "script", Scenarios: fstest.MapFS{"script.yaml": {Data: []byte(`
about: Changes a file while the host goes away.
steps:
  - bash: echo fixed >README.md; touch $HOME/began; until [ -e $HOME/go ]; do sleep 0.05; done
  - say: Fixed it.
`)}}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSandbox(t)
	s.model = func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		r.Header.Set("X-Api-Key", key)
		http.StripPrefix("/anthropic", model).ServeHTTP(w, r)
	}
	link := filepath.Join(s.home, "bin/claude")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	s.serve()
	closeTunnel := s.open()
	task := s.task("Please fix it.")
	task.Claude.Model = "claude-sonnet-4-5"
	if _, err := s.CreateTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	s.appears("began")
	closeTunnel()
	s.write("go", "", 0o600)
	s.open()
	events, ended := s.follow(task.ID, 0)
	if ended.Failure != nil || ended.Claude == nil || ended.Claude.Ending != claude.Answered || ended.Claude.Answer != "Fixed it." {
		t.Fatalf("failure %+v, Claude %+v", ended.Failure, ended.Claude)
	}
	for _, e := range events {
		if e.Claude != nil && e.Claude.Kind == claude.Retry {
			t.Errorf("Claude noticed: %+v", e.Claude)
		}
	}
	if _, lines := s.changes(task.ID); !slices.Equal(lines, []string{`100644 README.md "fixed\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if broken := model.Broken(); len(broken) > 0 {
		t.Errorf("the script broke: %q", broken)
	}
}
