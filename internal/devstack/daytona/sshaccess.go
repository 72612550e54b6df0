package daytona

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// sshAccess lets whoever has its token into a sandbox until it expires.
// Server.mu guards the server's map of them.
type sshAccess struct {
	sandbox string // id
	expires time.Time
}

const defaultSSHMinutes = 60

// createSSHAccess ends the sandbox's earlier accesses, as Daytona does.
func (s *Server) createSSHAccess(w http.ResponseWriter, r *http.Request) error {
	valid := defaultSSHMinutes
	if text := r.URL.Query().Get("expiresInMinutes"); text != "" {
		var err error
		if valid, err = strconv.Atoi(text); err != nil || valid < 1 {
			return problemf(http.StatusBadRequest, "expiresInMinutes must be a positive number")
		}
	}
	token := rand.Text()
	now := s.now().UTC()
	var id string
	if err := s.with(r, func(b *sandbox) error {
		if b.State == stateDestroyed {
			return notFound(b.ID)
		}
		id = b.ID
		s.revokeSSHAccess(b.ID, "")
		s.sshAccess[token] = sshAccess{b.ID, now.Add(minutes(valid))}
		return nil
	}); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": uuid.NewString(), "sandboxId": id, "token": token,
		"expiresAt": now.Add(minutes(valid)), "createdAt": now, "updatedAt": now,
		"sshCommand": s.sshCommand(token),
	})
	return nil
}

// sshCommand is how one connects with a token.
func (s *Server) sshCommand(token string) string {
	gateway := s.ssh.Addr().(*net.TCPAddr)
	return fmt.Sprintf("ssh -p %d %s@%s", gateway.Port, token, gateway.IP)
}

// deleteSSHAccess revokes one token of a sandbox, or all.
func (s *Server) deleteSSHAccess(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(b *sandbox) error {
		if b.State == stateDestroyed {
			return notFound(b.ID)
		}
		s.revokeSSHAccess(b.ID, r.URL.Query().Get("token"))
		return nil
	})
}

// revokeSSHAccess ends one access of a sandbox, or with no token all. The
// caller holds s.mu.
func (s *Server) revokeSSHAccess(id, token string) {
	maps.DeleteFunc(s.sshAccess, func(has string, a sshAccess) bool {
		return a.sandbox == id && (token == "" || has == token)
	})
}

// sshSandbox returns the sandbox that a token opens now.
func (s *Server) sshSandbox(token string) (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.sshAccess[token]
	return a.sandbox, ok && s.now().Before(a.expires)
}
