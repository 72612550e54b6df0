package sandboxd_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

func TestChangeset(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		want   []string
		change func(*api.Task)
		cut    bool
	}{
		"nothing": {script: "true"},
		"every kind of change": {
			script: `printf 'one\r\n2\r\n' >dos.txt; chmod +x run.sh; rm old.txt; ln -s ../../etc/passwd link
				printf 'a\0\377b' >bin.dat; echo x >'Größe "x".txt'; mkdir dir; : >dir/empty
				rm README.md; mkdir README.md; echo in >README.md/file; echo seen >untracked; echo unseen >ignored.log
				echo forced >forced.log; git add -f forced.log`,
			want: []string{
				`100644 Größe "x".txt "x\n"`, "deleted README.md \"\"", `100644 README.md/file "in\n"`, `100644 bin.dat "a\x00\xffb"`, `100644 dir/empty ""`,
				`100644 dos.txt "one\r\n2\r\n"`, `100644 forced.log "forced\n"`, `120000 link "../../etc/passwd"`, `deleted old.txt ""`,
				`100755 run.sh "#!/bin/sh\n"`, `100644 untracked "seen\n"`,
			},
		},
		"a name that is not UTF-8": {script: `echo x >$'a\xffb'`, want: []string{"100644 a\uFFFDb \"x\\n\""}},
		"Claude commits, stages and leaves": {
			script: `echo 1 >a; git add a; git commit -qm 1; echo 2 >b; git add b; echo 3 >c; git checkout -q -b other`,
			want:   []string{`100644 a "1\n"`, `100644 b "2\n"`, `100644 c "3\n"`},
		},
		"a change that was committed and undone": {script: "echo 1 >README.md; git commit -qam 1; echo hello >README.md"},
		"a nested repository": {
			script: `git init -q sub; cd sub; GIT_AUTHOR_DATE='@1 +0000' GIT_COMMITTER_DATE='@1 +0000' git commit -q --allow-empty -m x`,
			want:   []string{`160000 sub "086dfc440ca0b543bf438e378f3a35518824d02d"`},
		},
		"a hostile .git": {
			script: `echo 1 >a; mkdir -p .git/hooks .git/rebase-merge; touch .git/index.lock
				printf '#!/bin/sh\ntouch $HOME/hooked\nexit 1\n' >.git/hooks/post-index-change; chmod +x .git/hooks/*
				git config core.fsmonitor 'touch $HOME/hooked; false'; git config core.bare true; git config core.worktree /nonexistent
				git config core.autocrlf true; git config core.fileMode false; chmod +x run.sh`,
			want: []string{`100644 a "1\n"`, `100755 run.sh "#!/bin/sh\n"`},
		},
		"a filter that fails": {
			script: `git config filter.x.clean false; git config filter.x.required true; echo '* filter=x' >.gitattributes; echo 1 >a`,
			want:   []string{`100644 .gitattributes "* filter=x\n"`, `100644 a "1\n"`},
			cut:    true, // it is not what git would have stored
		},
		"a change of the same length in the index's second": {
			script: `touch -d @1000000000 README.md; git update-index --refresh; touch -d @1000000000 .git/index; printf 'jello\n' >README.md; touch -d @1000000000 README.md`,
			want:   []string{`100644 README.md "jello\n"`},
		},
		"a broken index":        {script: `echo 1 >a; echo junk >.git/index`, want: []string{`100644 a "1\n"`}, cut: true},
		"an index of a fifo":    {script: `echo 1 >a; rm .git/index; mkfifo .git/index`, want: []string{`100644 a "1\n"`}, cut: true},
		"an empty repository":   {script: `echo 1 >a; git init -q sub; echo x >sub/x`, want: []string{`100644 a "1\n"`}, cut: true},
		"conflicting index":     {script: `git rm -q --cached old.txt; git update-index --add --cacheinfo 100644,$(git hash-object -w run.sh),zz; echo 1 >a`, want: []string{`100644 a "1\n"`}},
		"too many files":        {script: `echo 1 >a; echo 2 >b; echo 3 >c`, change: func(t *api.Task) { t.Bounds.ChangesetFiles = 2 }, want: []string{`100644 a "1\n"`, `100644 b "2\n"`}, cut: true},
		"too many bytes":        {script: `echo 1 >a; head -c 100 /dev/zero >b; echo 3 >c`, change: func(t *api.Task) { t.Bounds.ChangesetBytes = 50 }, want: []string{`100644 a "1\n"`, `100644 c "3\n"`}, cut: true},
		"a partial clone":       {script: `echo 1 >a; chmod +x run.sh`, change: func(t *api.Task) { t.Repository.Filter, t.Repository.Depth = "blob:none", 1 }, want: []string{`100644 a "1\n"`, `100755 run.sh "#!/bin/sh\n"`}},
		"objects thrown away":   {script: `echo 1 >a; git add a; git gc -q --prune=now`, change: func(t *api.Task) { t.Check = "rm -rf .git *" }, want: []string{`100644 a "1\n"`}},
		"an ignored directory":  {script: `mkdir node; echo 1 >node/x.log; echo node/ >>.git/info/exclude; echo 2 >node/y`},
		"renamed and unchanged": {script: `git mv old.txt new.txt`, want: []string{`100644 new.txt "old\n"`, `deleted old.txt ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.serve()
			s.open()
			task := s.task(test.script)
			if test.change != nil {
				test.change(&task)
			}
			events, ended := s.do(task)
			if ended.Failure != nil {
				t.Fatalf("failure %+v", ended.Failure)
			}
			set, lines := s.changes(task.ID)
			if !slices.Equal(lines, test.want) {
				t.Errorf("changes\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(test.want, "\n"))
			}
			if _, err := os.Stat(s.home + "/hooked"); err == nil {
				t.Error("a hook of the clone ran")
			}
			if set.Base != s.base || set.Truncated != test.cut {
				t.Errorf("base %s, truncated %t; output %s", set.Base, set.Truncated, output(events))
			}
			if name == "a name that is not UTF-8" && string(set.Changes[0].RawPath) != "a\xffb" {
				t.Errorf("raw path %q", set.Changes[0].RawPath)
			}
		})
	}
}

// While Claude works, the changeset is what there is now, and asking for it
// leaves no trace in the clone.
func TestChangesetMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.serve()
	tunnelLess := s.task("echo 1 >a; touch $HOME/began; until [ -e $HOME/go ]; do sleep 0.05; done; echo 2 >a")
	if _, err := s.CreateTask(t.Context(), tunnelLess); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Changeset(t.Context(), "t1", 1<<20); fault.KindOf(err) != fault.Conflict {
		t.Errorf("before the clone: %v", err)
	}
	s.open()
	s.appears("began")
	objects := s.git(s.home+"/work/shop", "count-objects", "-v")
	if _, lines := s.changes("t1"); !slices.Equal(lines, []string{`100644 a "1\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if after := s.git(s.home+"/work/shop", "count-objects", "-v"); after != objects {
		t.Errorf("objects before\n%s\nafter\n%s", objects, after)
	}
	if status := s.git(s.home+"/work/shop", "status", "--porcelain"); status != "?? a" {
		t.Errorf("status %q", status)
	}
	s.write("go", "", 0o600)
	s.follow("t1", 0)
	if _, lines := s.changes("t1"); !slices.Equal(lines, []string{`100644 a "2\n"`}) {
		t.Errorf("changes %q", lines)
	}
	if _, err := s.Changeset(t.Context(), "t1", 1); fault.KindOf(err) != fault.Sandbox {
		t.Errorf("a changeset past its bound: %v", err)
	}
}
