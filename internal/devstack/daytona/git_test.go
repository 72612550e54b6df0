package daytona_test

import (
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona/process"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

const bobsPassword = "s3cret of bob"

// serveGit makes a repository in the sandbox with a commit on each of two
// branches, serves it there, to bob alone, and returns its address.
func (b *bench) serveGit(id string) (url string) {
	b.Helper()
	b.install(id, "bin/gitserver", gitserver)
	b.want(b.toolbox("POST", id, "/process/session", object{"sessionId": "gitserver"}), 201, "")
	b.want(b.toolbox("POST", id, "/process/session/gitserver/exec", object{"runAsync": true, "command": `set -e
mkdir -p repos/one; cd repos/one; git init -q -b main; git config user.name Ann; git config user.email ann@example.com
git config http.receivepack true; git config receive.denyCurrentBranch ignore
echo one >file; git add .; git commit -qm "first

with a body"
git checkout -q -b side; echo side >file; git commit -qam second; git checkout -q main
cd; bin/gitserver "$HOME/repos"`}), 202, "")
	b.eventually("the git server", func() bool {
		r := b.toolbox("GET", id, "/files/download?path=repos/address", nil)
		url = "http://" + string(r.body) + "/one"
		return r.status == 200 && len(r.body) > 0
	})
	return url
}

func TestGit(t *testing.T) {
	testenv.Command(t, "git")
	suite(t, func(b *bench, id string) {
		url := b.serveGit(id)
		git := func(method, path string, request object) reply {
			if request == nil {
				return b.toolbox(method, id, "/git/"+path, nil)
			}
			if request["username"] != nil {
				request["password"] = bobsPassword
			}
			return b.toolbox(method, id, "/git/"+path, request)
		}
		sh := func(line, want string) {
			b.Helper()
			if exit, out := b.run(id, line); exit != 0 || strings.TrimSpace(out) != want {
				b.Errorf("%s: %d %q, want %q", line, exit, out, want)
			}
		}
		clone := object{"url": url, "path": "work", "username": "bob"}
		b.want(git("POST", "clone", object{"url": url}), 400, "required")
		b.want(git("POST", "clone", object{"url": url, "path": "refused"}), 401, "could not read Username")
		b.want(git("POST", "clone", object{"url": url, "path": "refused", "username": "eve"}), 401, "Authentication failed")
		b.want(git("POST", "clone", object{"url": strings.Replace(url, "/one", "/closed", 1), "path": "refused"}), 403, "403")
		b.want(git("POST", "clone", object{"url": strings.Replace(url, "/one", "/none", 1), "path": "refused", "username": "bob"}), 404, "not found")
		b.want(git("POST", "clone", object{"url": url, "path": "refused", "username": "bob", "branch": "none"}), 404, "")
		b.want(git("POST", "clone", object{"url": url, "path": "refused", "username": "bob\nhost=x"}), 400, "one line")
		b.want(git("POST", "clone", clone), 200, "")
		b.want(git("POST", "clone", clone), 409, "already exists")
		b.want(git("GET", "status?path=work", nil), 200, `{"currentBranch":"main","fileStatus":[],"branchPublished":true,"ahead":0,"behind":0}`)
		b.want(git("GET", "status?path=refused", nil), 404, "")
		b.want(git("GET", "status?path=bin", nil), 404, "not a git repository")
		b.want(git("GET", "status", nil), 400, "path is required")
		b.want(git("POST", "clone", object{"url": url, "path": "side", "username": "bob", "branch": "side"}), 200, "")
		sh("cat side/file", "side")

		var history []struct{ Hash, Author, Email, Message, Timestamp string }
		b.want(git("GET", "history?path=side", nil), 200, "").into(b.T, &history)
		if len(history) != 2 || history[0].Message != "second\n" || history[1].Message != "first\n\nwith a body\n" ||
			history[1].Author != "Ann" || history[1].Email != "ann@example.com" || history[1].Timestamp == "" {
			b.Fatalf("history: %+v", history)
		}
		b.want(git("POST", "clone", object{"url": url, "path": "old", "username": "bob", "branch": "side", "commit_id": history[1].Hash}), 200, "")
		sh("cat old/file", "one")
		b.want(git("POST", "clone", object{"url": url, "path": "gone", "username": "bob", "commit_id": strings.Repeat("a", 40)}), 404, "")

		// Branches.
		b.want(git("POST", "branches", object{"path": "work", "name": "mine"}), 201, "")
		b.want(git("POST", "branches", object{"path": "work", "name": "mine"}), 500, "already exists")
		b.want(git("POST", "branches", object{"path": "work", "name": "-f"}), 500, "")
		b.want(git("GET", "branches?path=work", nil), 200, `{"branches":["main","mine"]}`)
		b.want(git("POST", "checkout", object{"path": "work", "branch": "main"}), 200, "")
		b.want(git("POST", "checkout", object{"path": "work", "branch": "none"}), 404, "none")
		b.want(git("POST", "checkout", object{"path": "work", "branch": "-f"}), 404, "")
		b.want(git("POST", "checkout", object{"path": "side", "branch": history[1].Hash}), 200, "")
		b.want(git("GET", "status?path=side", nil), 200, `"currentBranch":"HEAD"`)
		b.want(git("DELETE", "branches", object{"path": "work", "name": "mine"}), 204, "")
		b.want(git("DELETE", "branches", object{"path": "work", "name": "mine"}), 204, "")
		b.want(git("GET", "branches?path=work", nil), 200, `{"branches":["main"]}`)

		// Changes.
		sh("cd work && echo two >file && mkdir new && echo x >'new/a b'", "")
		b.want(git("POST", "checkout", object{"path": "work", "branch": "main"}), 409, "unstaged changes")
		commit := object{"path": "work", "message": "third\n\n# not a comment", "author": "Bob B", "email": "bob@example.com"}
		b.want(git("POST", "commit", commit), 500, "empty commit")
		b.want(git("POST", "add", object{"path": "work", "files": []string{"none"}}), 500, "did not match")
		b.want(git("POST", "add", object{"path": "work", "files": []string{"new/a b"}}), 200, "")
		b.want(git("GET", "status?path=work", nil), 200, `"fileStatus":[{"name":"file","extra":"","staging":"Unmodified","worktree":"Modified"},{"name":"new/a b","extra":"","staging":"Added","worktree":"Unmodified"}]`)
		b.want(git("POST", "add", object{"path": "work", "files": []string{"."}}), 200, "")
		b.want(git("POST", "commit", object{"path": "work", "message": "x", "author": "Bob"}), 400, "required")
		hash := b.want(git("POST", "commit", commit), 200, "").text("hash")
		sh("cd work && git log -1 --format='%H %an %ae %cn %B'", hash+" Bob B bob@example.com Bob B third\n\n# not a comment")
		b.want(git("GET", "status?path=work", nil), 200, `"fileStatus":[],"branchPublished":true,"ahead":1,"behind":0`)
		b.want(git("POST", "commit", commit), 500, "empty commit")

		// To the server and back; a history that went two ways is refused.
		b.want(git("POST", "push", object{"path": "work"}), 401, "")
		b.want(git("POST", "push", object{"path": "work", "username": "bob"}), 200, "")
		b.want(git("POST", "push", object{"path": "side", "username": "bob"}), 404, "")
		sh("cd repos/one && git rev-parse main", hash)
		b.want(git("POST", "clone", object{"url": url, "path": "other", "username": "bob"}), 200, "")
		commit["allow_empty"] = true
		b.want(git("POST", "commit", commit), 200, "")
		b.want(git("POST", "push", object{"path": "work", "username": "bob"}), 200, "")
		b.want(git("POST", "pull", object{"path": "other", "username": "bob"}), 200, "")
		b.want(git("POST", "pull", object{"path": "other", "username": "bob"}), 200, "")
		sh("git -C other rev-parse HEAD", b.head(id, "work"))
		for _, path := range []string{"work", "other"} {
			commit["path"], commit["message"] = path, "from "+path
			b.want(git("POST", "commit", commit), 200, "")
		}
		b.want(git("POST", "push", object{"path": "work", "username": "bob"}), 200, "")
		b.want(git("POST", "push", object{"path": "other", "username": "bob"}), 409, "rejected")
		b.want(git("POST", "pull", object{"path": "other", "username": "bob"}), 409, "fast-forward")

		// Nothing of the password stays or was to be seen.
		b.want(b.toolbox("GET", id, "/files/info?path=repos/seen", nil), 404, "")
		sh("grep -rF '"+bobsPassword+"' work/.git other/.git side/.git .gitconfig .git-credentials .config 2>/dev/null | wc -l", "0")
	})
}

// head returns the commit that a repository is on.
func (b *bench) head(id, path string) string {
	b.Helper()
	_, out := b.run(id, "git -C "+path+" rev-parse HEAD")
	return strings.TrimSpace(out)
}

// A sandbox without git says so.
func TestGitMissing(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: newProcess(t, process.Options{Root: place(t)})})
	id := b.create(object{"env": object{"PATH": "/nowhere"}})
	b.want(b.toolbox("GET", id, "/git/status?path=.", nil), 500, "image has no git")
}
