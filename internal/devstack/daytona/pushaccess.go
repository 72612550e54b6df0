package daytona

import (
	"cmp"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Registry is where images are pushed to, to become snapshots.
type Registry struct {
	Host     string // host[:port]
	Project  string
	Username string
	Secret   string
}

// Storage is an S3 bucket that build contexts are pushed to.
type Storage struct {
	URL          string
	Bucket       string
	AccessKey    string
	Secret       string
	SessionToken string
}

// pushAccess is how long credentials are said to be good for.
const pushAccess = time.Hour

// getRegistryAccess fails as v0.190 does where there is no registry.
func (s *Server) getRegistryAccess(w http.ResponseWriter, r *http.Request) error {
	to := s.opts.Registry
	if at := cmp.Or(r.URL.Query().Get("regionId"), region); to == nil || at != region {
		return errUnexpected
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"registryId":  uuid.NewSHA1(uuid.NameSpaceOID, []byte("registry "+to.Host)),
		"registryUrl": to.Host, "project": to.Project, "username": to.Username, "secret": to.Secret,
		"expiresAt": s.now().UTC().Add(pushAccess),
	})
	return nil
}

func (s *Server) getStorageAccess(w http.ResponseWriter, _ *http.Request) error {
	to := s.opts.Storage
	if to == nil {
		return problemf(http.StatusServiceUnavailable, "Object storage is not configured")
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"storageUrl": to.URL, "bucket": to.Bucket, "organizationId": organization,
		"accessKey": to.AccessKey, "secret": to.Secret, "sessionToken": to.SessionToken,
	})
	return nil
}
