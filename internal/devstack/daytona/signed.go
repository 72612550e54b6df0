package daytona

import (
	"crypto/rand"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// signedPreview is a preview that lets everybody in until it expires. Daytona
// has the token in the host's name; here it stands for a listener of its own,
// because a name under a loopback address cannot be looked up everywhere.
type signedPreview struct {
	*preview
	port    int
	expires time.Time
}

const (
	defaultSigned = time.Minute
	maxSigned     = 24 * time.Hour
	// signedLinger is how long an expired one's listener says so.
	signedLinger = 10 * time.Minute
)

func (s *Server) getSignedPreviewURL(w http.ResponseWriter, r *http.Request) error {
	valid := defaultSigned
	if text := r.URL.Query().Get("expiresInSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 || seconds > int(maxSigned/time.Second) {
			return problemf(http.StatusBadRequest, "expiresInSeconds must be between 1 second and 24 hours")
		}
		valid = time.Duration(seconds) * time.Second
	}
	return s.withPort(r, func(b *sandbox, port int) error {
		token := strings.ToLower(rand.Text()[:16])
		p, err := s.openPreview(r.Context(), b.ID, port, token)
		if err != nil {
			return err
		}
		if b.signed == nil {
			b.signed = make(map[string]*signedPreview)
		}
		b.signed[token] = &signedPreview{p, port, s.now().Add(valid)}
		writeJSON(w, http.StatusOK, map[string]any{"sandboxId": b.ID, "port": port, "token": token, "url": p.url})
		return nil
	})
}

// expireSignedPreview takes a token that is not there as well.
func (s *Server) expireSignedPreview(w http.ResponseWriter, r *http.Request) error {
	err := s.withPort(r, func(b *sandbox, port int) error {
		if p, ok := b.signed[r.PathValue("token")]; ok && p.port == port {
			p.expires = s.now()
		}
		return nil
	})
	if err == nil {
		w.WriteHeader(http.StatusCreated)
	}
	return err
}

// sweepSigned closes the listeners of what expired long ago. The caller holds
// s.mu.
func sweepSigned(b *sandbox, now time.Time) {
	maps.DeleteFunc(b.signed, func(_ string, p *signedPreview) bool {
		old := now.Sub(p.expires) >= signedLinger
		if old {
			p.close()
		}
		return old
	})
}
