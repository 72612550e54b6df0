package sandboxd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// push commits to the origin what script makes of the base, and returns the
// commit.
func (s *sandbox) push(script string) string {
	s.t.Helper()
	tree := s.t.TempDir()
	origin := filepath.Join(s.origin, "shop.git")
	s.git(tree, "clone", "-q", origin, ".")
	s.git(tree, "-c", "alias.do=!"+script, "do")
	s.git(tree, "add", "-A")
	s.git(tree, "commit", "-q", "-m", "theirs")
	s.git(tree, "push", "-q", "origin", "HEAD:main")
	return s.git(tree, "rev-parse", "HEAD")
}

// merging is the task that brings what t1 left onto a commit.
func (s *sandbox) merging(onto, script string) api.Task {
	task := s.task(script)
	task.ID, task.Repository.Commit = "t2", onto
	task.Merge = &api.Merge{Task: "t1", Ancestor: s.base, Branch: "main"}
	task.Setup = []string{"! grep -r '<<<<<<<' . && git diff --quiet && echo again >>$HOME/setup-again"}
	task.Check = "echo $((1 + $(cat $HOME/checked))) >$HOME/checked"
	return task
}

func TestMerge(t *testing.T) {
	t.Parallel()
	const mine = "echo mine >README.md; echo new >new.txt; rm old.txt; git commit -qam mine"
	for name, test := range map[string]struct {
		theirs    string
		turn      string // what Claude does about conflicts; "" for no turn
		conflicts []string
		changes   []string
		asked     bool
	}{
		"beside each other": {
			theirs:  "echo theirs >theirs.txt; printf '#!/bin/sh\nx\n' >run.sh",
			turn:    "touch $HOME/asked",
			changes: []string{`100644 README.md "mine\n"`, `100644 new.txt "new\n"`, `deleted old.txt ""`},
		},
		"the same":        {theirs: "echo mine >README.md", turn: "exit 9", changes: []string{`100644 new.txt "new\n"`, `deleted old.txt ""`}},
		"no turn":         {theirs: "echo theirs >README.md", conflicts: []string{"README.md"}},
		"solved":          {"echo theirs >README.md", "echo both >README.md", []string{"README.md"}, []string{`100644 README.md "both\n"`, `100644 new.txt "new\n"`, `deleted old.txt ""`}, true},
		"solved by git":   {"echo theirs >README.md", "git checkout -q --theirs README.md; git add README.md; git commit -qm x", []string{"README.md"}, []string{`100644 README.md "mine\n"`, `100644 new.txt "new\n"`, `deleted old.txt ""`}, true},
		"left as it is":   {"echo theirs >README.md", "true", []string{"README.md"}, []string{`100644 README.md "<<<<<<< MAIN\ntheirs\n=======\nmine\n>>>>>>> MINE\n"`, `100644 new.txt "new\n"`, `deleted old.txt ""`}, true},
		"deleted by us":   {"echo theirs >>old.txt", "git rm -q old.txt", []string{"old.txt"}, []string{`100644 README.md "mine\n"`, `100644 new.txt "new\n"`, `deleted old.txt ""`}, true},
		"both added":      {"echo theirs >new.txt", "echo both >new.txt", []string{"new.txt"}, []string{`100644 README.md "mine\n"`, `100644 new.txt "both\n"`, `deleted old.txt ""`}, true},
		"file, directory": {"mkdir new.txt; echo theirs >new.txt/x", "git rm -q --cached new.txt*; rm -f new.txt~*", []string{"new.txt"}, []string{`100644 README.md "mine\n"`, `deleted old.txt ""`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, how := range []struct {
				filter string
				depth  int
			}{{}, {filter: "blob:none"}, {depth: 1}} {
				if i > 0 && name != "solved" && name != "beside each other" {
					continue
				}
				s := newSandbox(t)
				s.serve()
				s.open()
				first := s.task(mine + "; mkdir -p .git/hooks; git config commit.gpgsign true; git config merge.conflictStyle diff3")
				first.Check = "echo dropping >dropping.txt; echo 1 >$HOME/checked"
				first.Repository.Filter, first.Repository.Depth = how.filter, how.depth
				if _, ended := s.do(first); ended.Failure != nil {
					t.Fatalf("%+v: %+v", how, ended.Failure)
				}
				before, _ := s.changes("t1")
				onto := s.push(test.theirs)
				task := s.merging(onto, test.turn)
				task.Repository.Filter, task.Repository.Depth = how.filter, how.depth
				events, ended := s.do(task)
				if ended.Failure != nil || ended.Base != onto {
					t.Fatalf("%+v: ended %+v, failure %+v", how, ended, ended.Failure)
				}
				if !slices.Equal(ended.Conflicts, test.conflicts) {
					t.Errorf("%+v: conflicts %q, want %q", how, ended.Conflicts, test.conflicts)
				}
				if asked := ended.Claude != nil; asked != test.asked || asked && ended.Claude.Ending != claude.Answered {
					t.Errorf("%+v: Claude %+v", how, ended.Claude)
				}
				if started := slices.IndexFunc(events, func(e api.Event) bool { return e.Started }); events[started].Phase != api.PhaseMerge {
					t.Errorf("%+v: began with %+v", how, events[started])
				}
				if checked := s.read("checked") == "2\n"; checked != test.asked {
					t.Errorf("%+v: checked again: %t", how, checked)
				}
				if _, err := os.Stat(filepath.Join(s.home, "setup-again")); (err == nil) != test.asked {
					t.Errorf("%+v: setup was done again: %t", how, err == nil)
				}
				if again, _ := s.changes("t1"); again.Base != before.Base || len(again.Changes) != len(before.Changes) {
					t.Errorf("%+v: the first task's changes are now %+v", how, again)
				}
				if test.changes == nil {
					continue
				}
				ours, theirs := task.Merge.Labels(onto)
				marked := strings.NewReplacer("MAIN", ours, "MINE", theirs)
				set, lines := s.changes("t2")
				for i, want := range test.changes {
					if want = marked.Replace(want); i >= len(lines) || lines[i] != want || len(lines) != len(test.changes) || set.Base != onto {
						t.Errorf("%+v: changes %q against %s, want %q", how, lines, set.Base, want)
						break
					}
				}
				if test.asked && !strings.HasSuffix(s.read("prompt"), "\n- "+test.conflicts[0]+"\n") {
					t.Errorf("%+v: prompt %q", how, s.read("prompt"))
				}
			}
		})
	}
}

// A merge begins anew after sandboxd was killed in the middle of it.
func TestMergeAfterAKill(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	kill := s.startProcess()
	s.open()
	if _, ended := s.do(s.task("echo mine >README.md")); ended.Failure != nil {
		t.Fatalf("failure %+v", ended.Failure)
	}
	onto := s.push("echo theirs >README.md")
	task := s.merging(onto, "sed -i '/^[<=>]/d' README.md")
	task.Setup, task.Check = []string{"echo one >>$HOME/setup", "touch $HOME/began; [ -e $HOME/go ] || sleep 1000"}, ""
	if _, err := s.CreateTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	s.appears("began")
	kill(syscall.SIGKILL)
	s.write("go", "", 0o600)
	s.startProcess()
	s.open()
	_, ended := s.follow("t2", 0)
	if ended.Failure != nil || ended.Claude == nil || ended.Claude.Ending != claude.Answered {
		t.Fatalf("ended %+v, failure %+v", ended, ended.Failure)
	}
	if _, lines := s.changes("t2"); !slices.Equal(lines, []string{`100644 README.md "theirs\nmine\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if set := s.read("setup"); set != "one\none\n" {
		t.Errorf("set-up: %q", set)
	}
}

// Set-up that fails on what others pushed leaves the merge undone.
func TestMergeSetupFails(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	s.do(s.task("echo mine >README.md"))
	task := s.merging(s.push("echo theirs >README.md"), "touch $HOME/asked")
	task.Setup = []string{"echo no such package; exit 3"}
	_, ended := s.do(task)
	if f := ended.Failure; f == nil || f.Kind != "setup_failed" || ended.Claude != nil || !slices.Equal(ended.Conflicts, []string{"README.md"}) {
		t.Errorf("ended %+v, failure %+v", ended, f)
	}
}

func TestMergeOfNothing(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	s.open()
	_, ended := s.do(s.merging(s.base, "true"))
	if f := ended.Failure; f == nil || f.Kind != "merge_failed" || f.Phase != api.PhaseMerge || !strings.Contains(f.Message, "t1") {
		t.Errorf("no first task: %+v", f)
	}
	first := s.task("echo mine >README.md")
	if _, ended := s.do(first); ended.Failure != nil {
		t.Fatalf("failure %+v", ended.Failure)
	}
	if err := os.RemoveAll(filepath.Join(s.home, ".sandboxd/tasks/t1/tree/objects")); err != nil {
		t.Fatal(err)
	}
	task := s.merging(s.push("echo theirs >README.md"), "true")
	task.ID = "t3"
	if _, ended := s.do(task); ended.Failure == nil || ended.Failure.Kind != "merge_failed" {
		t.Errorf("the first task's objects are gone: %+v", ended.Failure)
	}
}
