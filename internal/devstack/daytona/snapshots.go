package daytona

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// The states of a snapshot that something here depends on.
const (
	snapshotPending  = "pending"
	snapshotPulling  = "pulling"
	snapshotBuilding = "building"
	snapshotActive   = "active"
	snapshotInactive = "inactive"
	snapshotError    = "error"
	snapshotRemoving = "removing"
)

// snapshot is a Snapshot with what becomes of it; Server.mu guards that.
type snapshot struct {
	snapshotRecord
	pulled      bool // a runner holds the image
	deactivated time.Time
	log         *commandLog        // of its build
	cancel      context.CancelFunc // of what prepares it
	done        chan struct{}      // closed when nothing prepares it
	saving      sync.Mutex         // one save at a time, in order
}

// snapshotRecord is what an engine keeps of a snapshot that was created
// through the API.
type snapshotRecord struct {
	Snapshot
	ID         string
	State      string
	Reason     string // of an error
	Size       int64  // of the image in bytes, 0 if unknown
	Build      *buildInfo
	Made       bool // through the API, not by Options
	CreatedAt  time.Time
	UpdatedAt  time.Time
	LastUsedAt time.Time
}

// buildInfo is what a snapshot's image is built from.
type buildInfo struct {
	Dockerfile string   `json:"dockerfileContent"`
	Contexts   []string `json:"contextHashes"`
}

// recordPrefix stands before the ids under which engines keep snapshots.
const recordPrefix = "snapshot-"

// given returns a snapshot of the Options: its id is the same at every start.
func given(p Snapshot, now time.Time) *snapshot {
	p = p.withDefaults()
	done := make(chan struct{})
	close(done)
	return &snapshot{done: done, cancel: func() {}, snapshotRecord: snapshotRecord{
		Snapshot: p, ID: uuid.NewSHA1(uuid.NameSpaceOID, []byte("snapshot "+p.Name)).String(),
		State: snapshotActive, CreatedAt: now, UpdatedAt: now,
	}}
}

func (p Snapshot) withDefaults() Snapshot {
	p.Image = cmp.Or(p.Image, p.Name)
	p.CPU, p.Memory, p.Disk = cmp.Or(p.CPU, 1), cmp.Or(p.Memory, 1), cmp.Or(p.Disk, 3)
	return p
}

// snapshot finds a snapshot by its id or name. The caller holds s.mu.
func (s *Server) snapshot(idOrName string) (*snapshot, bool) {
	i := slices.IndexFunc(s.snapshots, func(p *snapshot) bool { return p.Name == idOrName || p.ID == idOrName })
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

// snapshotView is a snapshot as the API shows it. The caller holds s.mu.
func (s *Server) snapshotView(p *snapshot) map[string]any {
	orNull := func(value any, null bool) any {
		if null {
			return nil
		}
		return value
	}
	const gib = 1 << 30
	view := map[string]any{
		"id": p.ID, "organizationId": organization, "general": false,
		"name": p.Name, "imageName": p.Image, "state": p.State, "size": orNull(float64(p.Size)/gib, p.Size == 0),
		"entrypoint": orNull(p.Entrypoint, p.Entrypoint == nil),
		"cpu":        p.CPU, "gpu": 0, "mem": p.Memory, "disk": p.Disk,
		"errorReason": orNull(p.Reason, p.Reason == ""), "createdAt": p.CreatedAt, "updatedAt": p.UpdatedAt,
		"lastUsedAt": orNull(p.LastUsedAt, p.LastUsedAt.IsZero()),
		"regionIds":  []string{region}, "ref": p.Image, "sourceSandboxId": nil, "sandboxClass": container,
	}
	if p.State != snapshotPending {
		view["initialRunnerId"] = runner
	}
	if p.Build != nil {
		delete(view, "imageName")
		view["buildInfo"] = map[string]any{
			"dockerfileContent": p.Build.Dockerfile, "contextHashes": append([]string{}, p.Build.Contexts...),
			"createdAt": p.CreatedAt, "updatedAt": p.UpdatedAt, "snapshotRef": p.Image,
		}
	}
	return view
}

const (
	container = "container" // the only class of sandboxes
	runner    = "00000000-0000-4000-8000-000000000002"
)

func noSnapshot(idOrName string) error {
	return problemf(http.StatusNotFound, "Snapshot %s not found", idOrName)
}

func (s *Server) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	p, ok := s.snapshot(r.PathValue("id"))
	if !ok {
		s.mu.Unlock()
		return noSnapshot(r.PathValue("id"))
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
	compare, err := snapshotOrder(query.Get("sort"), query.Get("order"))
	if err != nil {
		return err
	}
	s.mu.Lock()
	part := strings.ToLower(query.Get("name"))
	all := slices.DeleteFunc(slices.Clone(s.snapshots), func(p *snapshot) bool { return !strings.Contains(strings.ToLower(p.Name), part) })
	slices.SortStableFunc(all, compare)
	found := []map[string]any{}
	for _, p := range all {
		found = append(found, s.snapshotView(p))
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

// snapshotOrder is the order of a list: by lastUsedAt, the latest first, unless
// something else is asked for. Those never used are last, the newest of equals
// first.
func snapshotOrder(field, direction string) (func(a, b *snapshot) int, error) {
	var by func(a, b *snapshot) int
	switch field {
	case "", "lastUsedAt":
		by = func(a, b *snapshot) int { return a.LastUsedAt.Compare(b.LastUsedAt) }
	case "name":
		by = func(a, b *snapshot) int { return strings.Compare(a.Name, b.Name) }
	case "state":
		by = func(a, b *snapshot) int { return strings.Compare(a.State, b.State) }
	case "createdAt":
		by = func(a, b *snapshot) int { return a.CreatedAt.Compare(b.CreatedAt) }
	default:
		return nil, problemf(http.StatusBadRequest, "sort must be one of the following values: name, state, lastUsedAt, createdAt")
	}
	sign, err := ordering(direction)
	if err != nil {
		return nil, err
	}
	return func(a, b *snapshot) int {
		if used := !a.LastUsedAt.IsZero(); (field == "" || field == "lastUsedAt") && used == b.LastUsedAt.IsZero() {
			if used {
				return -1
			}
			return 1
		}
		return cmp.Or(sign*by(a, b), b.CreatedAt.Compare(a.CreatedAt))
	}, nil
}

// adoptSnapshot takes over a snapshot that an earlier server left, and goes on
// with what that began.
func (s *Server) adoptSnapshot(saved Saved) {
	p := &snapshot{done: make(chan struct{}), cancel: func() {}}
	if err := json.Unmarshal(saved.Record, &p.snapshotRecord); err != nil || recordPrefix+p.ID != saved.ID {
		s.log.Warn("snapshot record cannot be read; left alone", "snapshot", saved.ID, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.snapshot(p.Name); taken {
		s.log.Warn("a snapshot of this name is given; the one made earlier is left alone", "snapshot", p.Name)
		return
	}
	s.snapshots = append(s.snapshots, p)
	switch p.State {
	case snapshotPending, snapshotPulling, snapshotBuilding:
		s.prepare(p)
		return
	case snapshotRemoving:
		s.discard(p)
	}
	close(p.done)
}

// keep hands the snapshot's record to the engine. What the Options give is
// known at the next start anyway.
func (s *Server) keep(ctx context.Context, p *snapshot) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineWait)
	defer cancel()
	p.saving.Lock()
	defer p.saving.Unlock()
	s.mu.Lock()
	data, err := json.Marshal(p.snapshotRecord)
	skip := !p.Made || p.State == snapshotRemoving
	s.mu.Unlock()
	if skip {
		return
	}
	if err == nil {
		err = s.opts.Engine.Save(ctx, recordPrefix+p.ID, data)
	}
	if err != nil {
		s.log.Warn("snapshot record not saved", "snapshot", p.Name, "error", err)
	}
}
