package daytona

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// The states of a snapshot that something here depends on.
const (
	snapshotActive   = "active"
	snapshotInactive = "inactive"
	snapshotPulling  = "pulling"
)

// snapshot is a Snapshot with what becomes of it; Server.mu guards that.
type snapshot struct {
	Snapshot
	state  string
	reason string // of an error
	pulled bool   // a runner holds the image
}

// snapshot finds a snapshot by its id or name. The caller holds s.mu.
func (s *Server) snapshot(idOrName string) (*snapshot, bool) {
	i := slices.IndexFunc(s.snapshots, func(p *snapshot) bool { return p.Name == idOrName || p.id() == idOrName })
	if i < 0 {
		return nil, false
	}
	return s.snapshots[i], true
}

// pull has a runner pull the snapshot's image for a sandbox, unless one has.
func (s *Server) pull(ctx context.Context, b *sandbox, p *snapshot) error {
	s.mu.Lock()
	pulled := p.pulled
	if !pulled && s.opts.Delays.Pull > 0 {
		s.move(b, statePullingSnapshot)
	}
	s.mu.Unlock()
	if pulled {
		return nil
	}
	if err := pause.For(ctx, s.opts.Delays.Pull); err != nil {
		return err
	}
	s.mu.Lock()
	p.pulled = true
	s.mu.Unlock()
	return nil
}

// activateSnapshot takes the id alone, and answers before the image is pulled.
func (s *Server) activateSnapshot(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	p, ok := s.snapshot(r.PathValue("id"))
	switch {
	case !ok || p.id() != r.PathValue("id"):
		s.mu.Unlock()
		return problemf(http.StatusNotFound, "Snapshot with ID %s not found", r.PathValue("id"))
	case p.state != snapshotInactive:
		s.mu.Unlock()
		return problemf(http.StatusBadRequest, "Snapshot %s cannot be activated - it is in %s state", p.id(), p.state)
	}
	p.state, p.pulled = snapshotPulling, true
	view := s.snapshotView(p)
	s.work.Go(func() {
		if pause.For(s.ctx, s.opts.Delays.Pull) != nil {
			return // the server closes
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.state == snapshotPulling {
			p.state = snapshotActive
		}
	})
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (p Snapshot) withDefaults() Snapshot {
	p.Image = cmp.Or(p.Image, p.Name)
	p.CPU, p.Memory, p.Disk = cmp.Or(p.CPU, 1), cmp.Or(p.Memory, 1), cmp.Or(p.Disk, 3)
	return p
}

// id is the same for the same name at every start of the server.
func (p Snapshot) id() string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, "snapshot ", p.Name)).String()
}

// snapshotView is a snapshot as the API shows it. The caller holds s.mu.
func (s *Server) snapshotView(p *snapshot) map[string]any {
	var entrypoint, reason any
	if p.Entrypoint != nil {
		entrypoint = p.Entrypoint
	}
	if p.reason != "" {
		reason = p.reason
	}
	return map[string]any{
		"id": p.id(), "organizationId": organization, "general": false,
		"name": p.Name, "imageName": p.Image, "state": p.state, "size": nil,
		"entrypoint": entrypoint, "cpu": p.CPU, "gpu": 0, "mem": p.Memory, "disk": p.Disk,
		"errorReason": reason, "createdAt": s.started.UTC(), "updatedAt": s.started.UTC(), "lastUsedAt": nil,
		"regionIds": []string{region}, "ref": p.Image, "sourceSandboxId": nil, "sandboxClass": "container",
	}
}

func (s *Server) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	p, ok := s.snapshot(r.PathValue("id"))
	if !ok {
		s.mu.Unlock()
		return problemf(http.StatusNotFound, "Snapshot with ID or name %s not found", r.PathValue("id"))
	}
	view := s.snapshotView(p)
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (s *Server) listSnapshots(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageSize(query)
	if err != nil {
		return err
	}
	page := 1
	if text := query.Get("page"); text != "" {
		if page, err = strconv.Atoi(text); err != nil || page < 1 {
			return problemf(http.StatusBadRequest, "page must not be less than 1")
		}
	}
	found := []map[string]any{}
	s.mu.Lock()
	for _, p := range s.snapshots {
		if strings.Contains(p.Name, query.Get("name")) {
			found = append(found, s.snapshotView(p))
		}
	}
	s.mu.Unlock()
	pages := slices.Collect(slices.Chunk(found, limit))
	items := []map[string]any{}
	if page <= len(pages) {
		items = pages[page-1]
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"items": items, "total": len(found), "page": page, "totalPages": len(pages),
	})
	return nil
}
