// Command gitserver serves the repositories below a directory over HTTP, to
// bob alone. It writes its address to the file "address" there, and to the
// file "seen" the processes that show bob's password while he is served.
package main

import (
	"bytes"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const password = "s3cret of bob"

func main() {
	root := os.Args[1]
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		log.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=bob"},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "address"), []byte(listener.Addr().String()), 0o600); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, given, ok := r.BasicAuth(); {
		case strings.HasPrefix(r.URL.Path, "/closed"):
			http.Error(w, "closed", http.StatusForbidden)
		case !ok || user != "bob" || given != password:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			look(root)
			backend.ServeHTTP(w, r)
		}
	})))
}

// look notes every process whose arguments or environment hold the password.
func look(root string) {
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(password)) {
				_ = os.WriteFile(filepath.Join(root, "seen"), []byte(file), 0o600)
			}
		}
	}
}
