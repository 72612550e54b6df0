package github

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// maxPush bounds the body of a request of git; as receive.maxInputSize does.
const maxPush = 256 << 20

// gitRoutes makes the router of smart HTTP. Only git's own three requests are
// let through to git http-backend, on a directory that the server chose.
func (s *Server) gitRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{owner}/{repo}/info/refs", func(w http.ResponseWriter, r *http.Request) {
		s.serveGit(w, r, "/info/refs", r.URL.Query().Get("service"))
	})
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		mux.HandleFunc("POST /{owner}/{repo}/"+service, func(w http.ResponseWriter, r *http.Request) {
			s.serveGit(w, r, "/"+service, service)
		})
	}
	return mux
}

func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, path, service string) {
	if service != "git-upload-pack" && service != "git-receive-pack" {
		http.Error(w, "Please upgrade your git client.", http.StatusForbidden) // the dumb protocol
		return
	}
	_, password, _ := r.BasicAuth()
	token, ok := s.bearer(password)
	if !ok {
		challenge(w, "Invalid username or token.")
		return
	}
	if a, ok := w.(*answer); ok {
		a.login = token.login()
	}
	s.mu.Lock()
	repo, _ := s.repo(r.PathValue("owner") + "/" + strings.TrimSuffix(r.PathValue("repo"), ".git"))
	s.mu.Unlock()
	push := service == "git-receive-pack"
	switch {
	case token == nil && (push || repo == nil || repo.Private):
		challenge(w, "Authentication required.")
		return
	case repo == nil || !token.sees(repo):
		http.Error(w, "Repository not found.", http.StatusNotFound)
		return
	case token != nil && token.lacksSAML(repo):
		http.Error(w, "The '"+repo.Owner+"' organization has enabled or enforced SAML SSO.", http.StatusForbidden)
		return
	case !token.grants(repo, push, "contents"), push && token.role(repo) < roleWrite:
		http.Error(w, "Permission to "+repo.fullName()+".git denied to "+token.login()+".", http.StatusForbidden)
		return
	case push && repo.Archived:
		http.Error(w, "This repository was archived so it is read-only.", http.StatusForbidden)
		return
	}
	if name := r.PathValue("owner") + "/" + strings.TrimSuffix(r.PathValue("repo"), ".git"); repo.renamed(name) {
		to := url.URL{Path: "/" + repo.fullName() + ".git" + path, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, s.url+to.String(), http.StatusMovedPermanently)
		return
	}
	s.runBackend(w, r, "/"+strconv.FormatInt(repo.id, 10)+path, push, token.login())
}

// challenge asks for credentials.
func challenge(w http.ResponseWriter, message string) {
	w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
	http.Error(w, message, http.StatusUnauthorized)
}

// httpBackend finds the program, which is not on the PATH.
func httpBackend() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return "", fmt.Errorf("git --exec-path: %w", err)
	}
	return exec.LookPath(filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"))
}

// runBackend hands the request to git http-backend under the path it knows.
func (s *Server) runBackend(w http.ResponseWriter, r *http.Request, path string, push bool, login string) {
	env := append(gitEnv(), "GIT_PROJECT_ROOT="+s.dir, "GIT_HTTP_EXPORT_ALL=1")
	if push { // a user allows receive-pack
		env = append(env, "REMOTE_USER="+login, "GIT_COMMITTER_NAME="+login, "GIT_COMMITTER_EMAIL="+login+"@localhost")
	}
	inner := r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath = path, ""
	inner.Header.Del("Authorization")
	// Without a length git reads to the end, which CGI proper does not know.
	inner.TransferEncoding = nil
	inner.Body = http.MaxBytesReader(w, r.Body, maxPush)
	handler := &cgi.Handler{
		Path: s.backend, Root: "/", Dir: s.dir, Env: env,
		Stderr: io.Discard, // not a file: so the answer ends after every process of git's
		Logger: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	handler.ServeHTTP(w, inner)
}
