package daytona

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// Images is an Engine that makes sandboxes from images. One that does not
// takes any image's name.
type Images interface {
	// Pull returns an image's size in bytes, and makes sure that it is there.
	Pull(ctx context.Context, image string) (size int64, err error)
	// Build makes an image from a Dockerfile without files beside it, and
	// writes what the builder says.
	Build(ctx context.Context, image, dockerfile string, log func([]byte)) error
	// Discard removes an image that Build made. One that is gone is no error.
	Discard(ctx context.Context, image string) error
}

const (
	// prepareWait bounds what an image may take to be pulled or built.
	prepareWait = 30 * time.Minute
	// coolDown is how long a deactivated snapshot cannot be activated again.
	coolDown = 10 * time.Minute
)

// createSnapshotRequest is POST /snapshots, as far as it is served.
type createSnapshotRequest struct {
	Name         string     `json:"name"`
	ImageName    string     `json:"imageName"`
	BuildInfo    *buildInfo `json:"buildInfo"`
	Entrypoint   []string   `json:"entrypoint"`
	CPU          int        `json:"cpu"`
	GPU          int        `json:"gpu"`
	Memory       int        `json:"memory"`
	Disk         int        `json:"disk"`
	RegionID     string     `json:"regionId"`
	SandboxClass string     `json:"sandboxClass"`
}

// imageName is the pattern of snapshots' and images' names.
var imageName = regexp.MustCompile(`^[\w.\-:]+(/[\w.\-:]+)*(@sha256:[a-f0-9]{64})?$`)

// createSnapshot answers before the image is pulled or built.
func (s *Server) createSnapshot(w http.ResponseWriter, r *http.Request) error {
	var request createSnapshotRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	p, err := s.newSnapshot(&request)
	if err != nil {
		return err
	}
	s.mu.Lock()
	err = s.admitSnapshot(p)
	var view map[string]any
	if err == nil {
		s.snapshots = append(s.snapshots, p)
		view = s.snapshotView(p)
		s.prepare(p)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.keep(r.Context(), p)
	writeJSON(w, http.StatusOK, view)
	return nil
}

// newSnapshot refuses what Daytona refuses to look at.
func (s *Server) newSnapshot(request *createSnapshotRequest) (*snapshot, error) {
	bad := func(format string, args ...any) (*snapshot, error) {
		return nil, problemf(http.StatusBadRequest, format, args...)
	}
	image := request.ImageName
	switch build := request.BuildInfo; {
	case build != nil && image != "":
		return bad("Cannot specify an image name when using a build info entry")
	case build != nil && request.Entrypoint != nil:
		return bad("Cannot specify an entrypoint when using a build info entry")
	case build != nil && build.Dockerfile == "":
		return bad("buildInfo.dockerfileContent should not be empty")
	case build == nil && image == "":
		return bad("Must specify an image name when not using a build info entry")
	case !imageName.MatchString(request.Name):
		return bad("Invalid snapshot name format. May contain letters, digits, dots, colons, and dashes")
	case build != nil:
	case strings.HasSuffix(image, ":latest"):
		return bad("Images with tag \":latest\" are not allowed")
	case !strings.Contains(image, ":") || strings.HasSuffix(image, ":"):
		return bad("Image name must include a tag (e.g., ubuntu:22.04) or digest (@sha256:...)")
	case !imageName.MatchString(image):
		return bad("Invalid image name format")
	}
	switch {
	case request.RegionID != "" && request.RegionID != region:
		return nil, problemf(http.StatusNotFound, "Region not found")
	case request.SandboxClass != "" && request.SandboxClass != container:
		return bad("No runners are configured in region '%s' for sandbox class '%s'.", region, request.SandboxClass)
	case min(request.CPU, request.GPU, request.Memory, request.Disk) < 0:
		return bad("cpu, gpu, memory and disk must not be less than 0")
	case request.GPU > 0:
		return bad("GPU quota exceeded. Maximum allowed: 0.")
	}
	id := uuid.NewString()
	if request.BuildInfo != nil {
		image = "dayclaude-snapshot:" + id
		request.Entrypoint = dockerfileEntrypoint(request.BuildInfo.Dockerfile)
	}
	now := s.now().UTC()
	return &snapshot{
		log: newCommandLog(), done: make(chan struct{}), cancel: func() {},
		snapshotRecord: snapshotRecord{
			Snapshot: Snapshot{
				Name: request.Name, Image: image, Entrypoint: slices.DeleteFunc(request.Entrypoint, func(word string) bool { return strings.TrimSpace(word) == "" }),
				CPU: request.CPU, Memory: request.Memory, Disk: request.Disk,
			}.withDefaults(),
			ID: id, State: snapshotPending, Build: request.BuildInfo, Made: true, CreatedAt: now, UpdatedAt: now,
		},
	}, nil
}

var entrypointLine = regexp.MustCompile(`ENTRYPOINT\s+(.*)`)

// dockerfileEntrypoint finds the entrypoint as Daytona does, in the text: the
// last match, comments included. A shell form becomes one word.
func dockerfileEntrypoint(text string) []string {
	matches := entrypointLine.FindAllStringSubmatch(text, -1)
	if matches == nil {
		return []string{"sleep", "infinity"}
	}
	line := strings.TrimSpace(matches[len(matches)-1][1])
	var words []string
	if json.Unmarshal([]byte(line), &words) == nil {
		return words
	}
	return []string{strings.NewReplacer(`"`, "", "'", "").Replace(line)}
}

// admitSnapshot holds a snapshot that is to be prepared against the
// organization's suspension, its quota and its names. The caller holds s.mu.
func (s *Server) admitSnapshot(p *snapshot) error {
	if s.suspended != "" {
		return problemf(http.StatusForbidden, "Organization is suspended: %s", s.suspended)
	}
	used := 1
	for _, other := range s.snapshots {
		if other != p && slices.Contains([]string{snapshotPending, snapshotPulling, snapshotBuilding, snapshotActive}, other.State) {
			used++
		}
	}
	if most := s.opts.Quota.Snapshots; most > 0 && used > most {
		return problemf(http.StatusBadRequest, "Snapshot quota exceeded. Maximum allowed: %d", most)
	}
	if other, ok := s.snapshot(p.Name); ok && other != p {
		return problemf(http.StatusConflict, "Snapshot with name \"%s\" already exists for this organization", p.Name)
	}
	return nil
}

// prepare pulls or builds a pending snapshot's image in the background. The
// caller holds s.mu.
func (s *Server) prepare(p *snapshot) {
	ctx, cancel := context.WithTimeout(s.ctx, prepareWait)
	p.State, p.cancel, p.done = snapshotPending, cancel, make(chan struct{})
	p.UpdatedAt = s.now().UTC()
	if p.log = newCommandLog(); p.Build == nil {
		p.log = nil
	}
	done := p.done
	s.work.Go(func() {
		defer close(done)
		defer cancel()
		size, err := s.image(ctx, p)
		if s.ctx.Err() != nil {
			return // the next server goes on
		}
		s.mu.Lock()
		if p.State != snapshotRemoving && p.State != snapshotInactive {
			p.State, p.Reason, p.pulled = snapshotActive, "", true
			p.Size, p.UpdatedAt = size, s.now().UTC()
			if err != nil {
				p.State, p.Reason = snapshotError, err.Error()
				s.log.Warn("snapshot failed", "snapshot", p.Name, "error", err)
			}
		}
		s.mu.Unlock()
		s.keep(ctx, p)
	})
}

// image makes sure that the engine has the snapshot's image.
func (s *Server) image(ctx context.Context, p *snapshot) (size int64, err error) {
	via := snapshotPulling
	if p.Build != nil {
		via = snapshotBuilding
		defer func() {
			p.log.finish(stderr, 0)
			p.log.finish(stdout, 0)
		}()
	}
	s.mu.Lock()
	if p.State == snapshotPending {
		p.State = via
	}
	s.mu.Unlock()
	if err := pause.For(ctx, s.opts.Delays.Pull); err != nil {
		return 0, err
	}
	images, ok := s.opts.Engine.(Images)
	if p.Build != nil {
		switch {
		case len(p.Build.Contexts) > 0:
			return 0, fmt.Errorf("build context %s: object storage is not configured", p.Build.Contexts[0])
		case !ok:
			p.log.add(stdout, []byte("This engine has no images: nothing is built.\n"))
		default:
			if err := images.Build(ctx, p.Image, p.Build.Dockerfile, func(text []byte) { p.log.add(stdout, text) }); err != nil {
				return 0, err
			}
		}
	}
	if !ok {
		return 0, nil
	}
	return images.Pull(ctx, p.Image)
}

// withSnapshot finds the snapshot of a request that takes ids only. Daytona
// looks for a name as well before it refuses one.
func (s *Server) withSnapshot(r *http.Request, refusal error, act func(*snapshot) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	p, ok := s.snapshot(id)
	if !ok {
		return noSnapshot(id)
	}
	if p.ID != id {
		return refusal
	}
	return act(p)
}

var errNoUUID = problemf(http.StatusBadRequest, "Validation failed (uuid is expected)")

// removeSnapshot answers before the snapshot is gone. Sandboxes made from it
// stay.
func (s *Server) removeSnapshot(w http.ResponseWriter, r *http.Request) error {
	err := s.withSnapshot(r, errNoUUID, func(p *snapshot) error {
		if p.State != snapshotRemoving {
			p.State, p.UpdatedAt = snapshotRemoving, s.now().UTC()
			p.cancel()
			s.discard(p)
		}
		return nil
	})
	if err == nil {
		w.WriteHeader(http.StatusOK)
	}
	return err
}

// discard removes a snapshot in the background, once nothing prepares it. The
// caller holds s.mu.
func (s *Server) discard(p *snapshot) {
	s.work.Go(func() {
		<-p.done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), engineWait)
		defer cancel()
		if err := s.forget(ctx, p); err != nil {
			s.log.Warn("snapshot not removed", "snapshot", p.Name, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snapshots = slices.DeleteFunc(s.snapshots, func(other *snapshot) bool { return other == p })
	})
}

// forget removes what the engine has of a snapshot that was made through the
// API: its record, and the image if that was built here.
func (s *Server) forget(ctx context.Context, p *snapshot) error {
	if !p.Made {
		return nil
	}
	p.saving.Lock()
	defer p.saving.Unlock()
	err := s.opts.Engine.Remove(ctx, recordPrefix+p.ID)
	if images, ok := s.opts.Engine.(Images); ok && p.Build != nil {
		err = errors.Join(err, images.Discard(ctx, p.Image))
	}
	return err
}

// activateSnapshot answers before the image is pulled again.
func (s *Server) activateSnapshot(w http.ResponseWriter, r *http.Request) error {
	var view map[string]any
	err := s.withSnapshot(r, errNoUUID, func(p *snapshot) error {
		switch {
		case p.State == snapshotActive:
			return problemf(http.StatusBadRequest, "Snapshot %s is already active", p.ID)
		case p.State != snapshotInactive:
			return problemf(http.StatusBadRequest, "Snapshot %s cannot be activated - it is in %s state", p.ID, p.State)
		case s.now().Sub(p.deactivated) < coolDown:
			return problemf(http.StatusBadRequest, "Snapshot deactivation is still in progress. Please try again in a few minutes.")
		}
		if err := s.admitSnapshot(p); err != nil {
			return err
		}
		s.prepare(p)
		view = s.snapshotView(p)
		return nil
	})
	if err == nil {
		writeJSON(w, http.StatusOK, view)
	}
	return err
}

func (s *Server) deactivateSnapshot(w http.ResponseWriter, r *http.Request) error {
	var found *snapshot
	err := s.withSnapshot(r, errNoUUID, func(p *snapshot) error {
		if found = p; p.State != snapshotInactive {
			p.cancel()
			p.State, p.pulled = snapshotInactive, false
			p.UpdatedAt, p.deactivated = s.now().UTC(), s.now()
		}
		return nil
	})
	if err == nil {
		s.keep(r.Context(), found)
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// snapshotLogsURL answers a name as Daytona does: its database cannot read it.
func (s *Server) snapshotLogsURL(w http.ResponseWriter, r *http.Request) error {
	err := s.withSnapshot(r, errUnexpected, func(p *snapshot) error {
		if p.Build == nil {
			return problemf(http.StatusNotFound, "Snapshot %s has no build info", p.ID)
		}
		return nil
	})
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]string{"url": s.origin() + "/snapshots/" + r.PathValue("id") + "/build-logs"})
	}
	return err
}

// snapshotLogs is at the proxy, not in the API. With ?follow=true it goes on
// until the build has ended.
func (s *Server) snapshotLogs(w http.ResponseWriter, r *http.Request) error {
	var log *commandLog
	if err := s.withSnapshot(r, noSnapshot(r.PathValue("id")), func(p *snapshot) error {
		if log = p.log; log == nil {
			return problemf(http.StatusBadRequest, "snapshot has no build logs here")
		}
		return nil
	}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Query().Get("follow") != "true" {
		text, _, _, _ := log.read(0)
		_, err := w.Write(unmarked(text))
		return err
	}
	to := http.NewResponseController(w)
	if err := to.Flush(); err != nil { // there may be nothing to say for long
		return err
	}
	return log.follow(r.Context(), nil, func(text []byte) error {
		if _, err := w.Write(unmarked(text)); err != nil {
			return err
		}
		return to.Flush()
	})
}
