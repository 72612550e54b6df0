package daytona

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handler answers a request or returns the error to answer with.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	api := func(pattern string, kind rateKind, h handler, permissions ...string) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" /api"+path, s.authorised(kind, s.permitted(h, permissions), s.writeAPIError))
	}
	mux.HandleFunc("GET /api/config", s.getConfig)
	mux.HandleFunc("GET /api/socket.io/", s.serveEvents)
	api("GET /api-keys/current", rateGeneral, s.getCurrentKey)
	api("GET /snapshots", rateGeneral, s.listSnapshots)
	api("GET /snapshots/{id}", rateGeneral, s.getSnapshot)
	api("POST /snapshots", rateGeneral, s.createSnapshot, writeSnapshots)
	api("DELETE /snapshots/{id}", rateGeneral, s.removeSnapshot, deleteSnapshots)
	api("POST /snapshots/{id}/activate", rateGeneral, s.activateSnapshot, writeSnapshots)
	api("POST /snapshots/{id}/deactivate", rateGeneral, s.deactivateSnapshot, writeSnapshots)
	api("GET /snapshots/{id}/build-logs-url", rateGeneral, s.snapshotLogsURL)

	api("POST /sandbox", rateCreate, s.createSandbox, writeSandboxes)
	api("GET /sandbox", rateGeneral, s.listSandboxes)
	api("GET /sandbox/{id}", rateGeneral, s.getSandbox)
	api("DELETE /sandbox/{id}", rateLifecycle, s.deleteSandbox, deleteSandboxes)
	api("POST /sandbox/{id}/start", rateLifecycle, s.startSandbox, writeSandboxes)
	api("POST /sandbox/{id}/stop", rateLifecycle, s.stopSandbox, writeSandboxes)
	api("POST /sandbox/{id}/archive", rateLifecycle, s.archiveSandbox, writeSandboxes)
	api("POST /sandbox/{id}/recover", rateLifecycle, s.recoverSandbox, writeSandboxes)
	api("PUT /sandbox/{id}/labels", rateGeneral, s.putLabels, writeSandboxes)
	api("POST /sandbox/{id}/autostop/{minutes}", rateGeneral, s.setAutoStop, writeSandboxes)
	api("POST /sandbox/{id}/autoarchive/{minutes}", rateGeneral, s.setAutoArchive, writeSandboxes)
	api("POST /sandbox/{id}/autodelete/{minutes}", rateGeneral, s.setAutoDelete, writeSandboxes)
	api("POST /sandbox/{id}/network-settings", rateGeneral, s.setNetwork, writeSandboxes)
	api("POST /sandbox/{id}/public/{public}", rateGeneral, s.setPublic, writeSandboxes)
	api("POST /sandbox/{id}/last-activity", rateGeneral, s.touch)
	api("GET /sandbox/{id}/toolbox-proxy-url", rateGeneral, s.getToolboxURL)
	api("GET /sandbox/{id}/ports/{port}/preview-url", rateGeneral, s.getPreviewURL)
	api("GET /sandbox/{id}/ports/{port}/signed-preview-url", rateGeneral, s.getSignedPreviewURL)
	api("POST /sandbox/{id}/ports/{port}/signed-preview-url/{token}/expire", rateGeneral, s.expireSignedPreview)
	api("POST /sandbox/{id}/ssh-access", rateGeneral, s.createSSHAccess, writeSandboxes)
	api("DELETE /sandbox/{id}/ssh-access", rateGeneral, s.deleteSSHAccess, writeSandboxes)

	api("GET /docker-registry/registry-push-access", rateGeneral, s.getRegistryAccess, writeSnapshots+or+writeSandboxes)
	api("GET /object-storage/push-access", rateGeneral, s.getStorageAccess, writeSnapshots+or+writeSandboxes)

	mux.Handle("GET /snapshots/{id}/build-logs", s.authorised(rateGeneral, s.snapshotLogs, s.writeToolboxError))
	mux.Handle("/toolbox/{id}/", s.toolboxRoutes())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeAPIError(w, r, problemf(http.StatusNotFound, "Cannot %s %s", r.Method, r.URL.Path))
	})
	return mux
}

// Permissions of API keys that something here asks for.
const (
	writeSandboxes  = "write:sandboxes"
	deleteSandboxes = "delete:sandboxes"
	writeSnapshots  = "write:snapshots"
	deleteSnapshots = "delete:snapshots"
	or              = "|" // between permissions of which one will do
)

// permitted refuses a key that lacks a permission.
func (s *Server) permitted(h handler, permissions []string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.mu.Lock()
		has := s.opts.Permissions
		s.mu.Unlock()
		for _, p := range permissions {
			if !slices.ContainsFunc(strings.Split(p, or), func(one string) bool { return slices.Contains(has, one) }) {
				return problemf(http.StatusForbidden, "Access denied")
			}
		}
		return h(w, r)
	}
}

// authorised lets requests with the API key through to h, counted against
// the rate limits, and answers with the error that h returns.
func (s *Server) authorised(kind rateKind, h handler, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Daytona-Api-Version", version)
		if err := s.limits.barred(w.Header(), time.Now()); err != nil {
			fail(w, r, err)
			return
		}
		if token, ok := bearer(r); !ok || !s.isKey(token) {
			fail(w, r, s.limits.wrongKey(w.Header(), time.Now()))
			return
		}
		if err := s.limits.take(w.Header(), time.Now(), rateGeneral, kind); err != nil {
			fail(w, r, err)
			return
		}
		if err := h(w, r); err != nil {
			fail(w, r, err)
		}
	})
}

func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer")
}

func (s *Server) isKey(token string) bool { return sameSecret(token, s.key) }

// sameSecret compares in constant time, whatever the lengths.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (s *Server) getConfig(w http.ResponseWriter, _ *http.Request) {
	limit := func(kind rateKind) map[string]int {
		return map[string]int{"ttl": int(rateWindow / time.Second), "limit": s.limits.max[kind]}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"version":                version,
		"oidc":                   map[string]string{"issuer": s.origin(), "clientId": "daytona", "audience": "daytona"},
		"linkedAccountsEnabled":  false,
		"announcements":          map[string]any{},
		"proxyTemplateUrl":       "http://127.0.0.1:{{PORT}}",
		"proxyToolboxUrl":        s.toolboxURL(),
		"defaultSnapshot":        s.opts.Snapshots[0].Name,
		"dashboardUrl":           s.origin(),
		"maxAutoArchiveInterval": maxAutoArchive,
		"maintananceMode":        false, // sic
		"sshGatewayCommand":      s.sshCommand("{{TOKEN}}"),
		"environment":            "embedded",
		"rateLimit": map[string]any{
			"authenticated": limit(rateGeneral), "sandboxCreate": limit(rateCreate), "sandboxLifecycle": limit(rateLifecycle),
		},
	})
}

func (s *Server) getCurrentKey(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	permissions := s.opts.Permissions
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"name":        "embedded",
		"value":       "dtn_********",
		"createdAt":   s.started.UTC(),
		"permissions": permissions,
		"lastUsedAt":  s.now().UTC(),
		"expiresAt":   nil,
		"userId":      "embedded",
	})
	return nil
}

// rateKind is the suffix of the rate limit headers.
type rateKind string

const (
	rateGeneral   rateKind = "authenticated"
	rateCreate    rateKind = "sandbox-create"
	rateLifecycle rateKind = "sandbox-lifecycle"
	rateFailed    rateKind = "failed-auth"
)
