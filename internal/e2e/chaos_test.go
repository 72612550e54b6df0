package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/anthropic"
	"github.com/dayclaude/dayclaude/internal/devstack/github"
	"github.com/dayclaude/dayclaude/internal/e2e"
)

// What `make chaos` sets.
const (
	killsVariable = "DAYCLAUDE_CHAOS_KILLS"
	seedVariable  = "DAYCLAUDE_CHAOS_SEED"
)

// Bounds of a run: how often it is struck, how many requests fail, and how
// often the command may be started.
const (
	killsOfRun  = 4
	faultsOfRun = 12
	startsOfRun = 20
)

// TestChaos kills the command line, sandboxd, Claude, the sandbox and the
// connections at random, while the services fail at random. However that goes,
// the command comes to its end when it is started again, and leaves one of
// everything.
func TestChaos(t *testing.T) {
	t.Parallel()
	number := func(variable string, otherwise uint64) uint64 {
		text := os.Getenv(variable)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		return n
	}
	kills, seed := int64(number(killsVariable, 15)), number(seedVariable, rand.Uint64())
	t.Logf("%s=%d %s=%d", killsVariable, kills, seedVariable, seed)
	const workers = 6
	var struck atomic.Int64
	for worker := range uint64(workers) {
		t.Run(fmt.Sprint("worker", worker), func(t *testing.T) {
			t.Parallel()
			for i := uint64(0); struck.Load() < kills && i < uint64(kills); i++ {
				t.Run(fmt.Sprint("run", i), func(t *testing.T) {
					c := &chaos{t: t, dice: rand.New(rand.NewPCG(seed, worker<<32|i)), faults: faultsOfRun}
					c.run()
					struck.Add(int64(len(c.kills)))
				})
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d kills", struck.Load()) })
}

// chaos is one run and what happens to it.
type chaos struct {
	t     *testing.T
	s     *e2e.Stack
	front interface{ Cut() }
	kills []string // what was struck, in order

	mu     sync.Mutex
	dice   *rand.Rand
	faults int // that are left
}

// script takes Claude a while, and can be taken up at any step.
const script = `steps:
  - {say: I begin., bash: "echo one > one.txt; sleep 0.2"}
  - {bash: "echo two > two.txt; sleep 0.2"}
  - {bash: "cat one.txt two.txt > three.txt; sleep 0.2"}
  - {say: "Add three files\n\nOne, two and both."}
`

func (c *chaos) run() {
	t := c.t
	c.s = e2e.New(t, e2e.Options{
		Engine: e2e.Process, Light: true, Scenario: "chaos",
		Anthropic: anthropic.Options{Scenarios: fstest.MapFS{"chaos.yaml": {Data: []byte(script)}}},
		GitHub:    github.Options{Wrap: c.around},
	})
	c.front = c.s.FrontDaytona(c.around)
	c.s.WrapModel(c.around)
	ref := c.s.Add(small("small", fstest.MapFS{".github/dayclaude.yml": {Data: []byte("setup: [\"true\"]\ncheck: cat three.txt\n")}}),
		github.Issue{Title: "Chaos"})
	var history []string
	for len(history) < startsOfRun {
		command := c.s.Start("run-issue", ref)
		for !command.Ended() && len(c.kills) < killsOfRun {
			c.strike(command)
		}
		r := command.Wait()
		history = append(history, fmt.Sprintf("exit %d after %q", r.Exit, c.kills))
		c.wantSentence(r)
		if r.Exit == 0 {
			break
		}
	}
	t.Logf("what happened:\n%s", strings.Join(history, "\n"))
	if len(history) == startsOfRun {
		t.Fatal("it never came to its end")
	}
	c.wantOneOfEach()
}

// strike waits a while and kills something, once it is there.
func (c *chaos) strike(command *e2e.Command) {
	victims := []struct {
		name string
		kill func() bool
	}{
		{"host", func() bool { command.Signal(syscall.SIGKILL); return true }},
		{"sandboxd", func() bool { return c.s.Kill("sandboxd") }},
		{"claude", func() bool { return c.s.Kill("claude") }},
		{"sandbox, stopped", func() bool { return c.s.StopSandboxes(false) }},
		{"sandbox, restarted", func() bool { return c.s.StopSandboxes(true) }},
		{"connections", func() bool { c.front.Cut(); return true }},
	}
	c.mu.Lock()
	pause, victim := time.Duration(c.dice.IntN(2000))*time.Millisecond, victims[c.dice.IntN(len(victims))]
	c.mu.Unlock()
	for due := time.Now().Add(pause); !command.Ended(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(due) && victim.kill() {
			c.kills = append(c.kills, victim.name)
			return
		}
	}
}

// around lets some requests of a service fail: refused, cut before or after
// their effect, or late.
func (c *chaos) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		roll, late := 1.0, time.Duration(0)
		if c.faults > 0 {
			roll, late = c.dice.Float64(), time.Duration(c.dice.IntN(300))*time.Millisecond
		}
		if roll < 0.2 {
			c.faults--
		}
		c.mu.Unlock()
		switch {
		case roll < 0.04:
			http.Error(w, `{"message":"Service Unavailable"}`, []int{500, 502, 503, 504}[late%4])
		case roll < 0.06:
			panic(http.ErrAbortHandler)
		case roll < 0.08 && r.Method != http.MethodGet:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case roll < 0.2:
			time.Sleep(late)
			fallthrough
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// wantSentence fails the test if a command that failed left its user without
// a word, or with words that are not for him.
func (c *chaos) wantSentence(r *e2e.Result) {
	c.t.Helper()
	if r.Exit != 0 && r.Exit != killed && !strings.Contains(r.Stderr, "\ndayclaude: ") || strings.Contains(r.Stderr, "goroutine ") || strings.Contains(r.Stderr, "CANARY") {
		c.t.Errorf("after %q: %s", c.kills, r)
	}
}

// wantOneOfEach holds what is left in the end. A run that broke off on the way
// left a draft with a commit of its own, on which the next one went on.
func (c *chaos) wantOneOfEach() {
	t, s := c.t, c.s
	t.Helper()
	if made := s.Sandboxes(); len(made) != 1 {
		t.Errorf("sandboxes: %v", made)
	}
	s.Comment("demo/small", 1)
	pull := s.Pull("demo/small")
	if branches := s.Branches("demo/small"); len(branches) != 2 || pull.Draft {
		t.Errorf("branches %v, pull request %+v", branches, pull)
	}
	runs := strings.Count(wantExit(t, s.Run("runs", "list"), 0).Stdout, "demo/small#1")
	if commits := strings.Count(s.Git("demo/small", "rev-list", "main.."+pull.Head), "\n"); commits < 1 || commits > runs {
		t.Errorf("%d commits of %d runs", commits, runs)
	}
	files := strings.Fields(s.Git("demo/small", "diff", "--name-only", "main", pull.Head))
	if !slices.Equal(files, []string{"one.txt", "three.txt", "two.txt"}) || s.Git("demo/small", "show", pull.Head+":three.txt") != "one\ntwo\n" {
		t.Errorf("the branch changes %q", files)
	}
	if broken := s.Anthropic.Broken(); broken != nil {
		t.Errorf("Claude met what the script does not expect: %q", broken)
	}
}
