package daytona

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// engineWait bounds what an engine may take for a state change or a save.
const engineWait = 2 * time.Minute

// state is a sandbox's state, spelled as in the API.
type state string

const (
	stateCreating   state = "creating"
	stateStarting   state = "starting"
	stateStarted    state = "started"
	stateStopping   state = "stopping"
	stateStopped    state = "stopped"
	stateArchiving  state = "archiving"
	stateArchived   state = "archived"
	stateRestoring  state = "restoring"
	stateDestroying state = "destroying"
	stateDestroyed  state = "destroyed"
	stateError      state = "error"

	statePullingSnapshot state = "pulling_snapshot"
)

// summary is a sandbox as lists show it.
type summary struct {
	ID                  string            `json:"id"`
	OrganizationID      string            `json:"organizationId"`
	Name                string            `json:"name"`
	Target              string            `json:"target"`
	SandboxClass        string            `json:"sandboxClass"`
	State               state             `json:"state"`
	DesiredState        state             `json:"desiredState"`
	Snapshot            string            `json:"snapshot"`
	User                string            `json:"user"`
	ErrorReason         string            `json:"errorReason,omitempty"`
	Recoverable         bool              `json:"recoverable"`
	Public              bool              `json:"public"`
	NetworkBlockAll     bool              `json:"networkBlockAll"`
	NetworkAllowList    string            `json:"networkAllowList,omitempty"`
	DomainAllowList     string            `json:"domainAllowList,omitempty"`
	CPU                 int               `json:"cpu"`
	GPU                 int               `json:"gpu"`
	Memory              int               `json:"memory"`
	Disk                int               `json:"disk"`
	Labels              map[string]string `json:"labels"`
	AutoStopInterval    int               `json:"autoStopInterval"`
	AutoArchiveInterval int               `json:"autoArchiveInterval"`
	AutoDeleteInterval  int               `json:"autoDeleteInterval"`
	CreatedAt           time.Time         `json:"createdAt"`
	UpdatedAt           time.Time         `json:"updatedAt"`
	LastActivityAt      time.Time         `json:"lastActivityAt"`
	DaemonVersion       string            `json:"daemonVersion"`
	ToolboxProxyURL     string            `json:"toolboxProxyUrl"`
}

// details is a sandbox as it is read alone. Its environment is in clear, as
// in Daytona. An engine keeps it as the sandbox's record.
type details struct {
	summary
	Env     map[string]string `json:"env"`
	Volumes []struct{}        `json:"volumes"`
}

// sandbox is one sandbox; Server.mu guards all of it but saving and id.
type sandbox struct {
	details
	busy     bool                 // a state change is under way
	token    string               // of previews; new at each start
	passed   map[string]time.Time // tokens that the proxy lets in without asking, and until when
	tools    *tools               // while started
	previews map[int]*preview
	signed   map[string]*signedPreview // by token
	saving   sync.Mutex                // one save at a time, in order
}

// view copies what the API answers. The caller holds s.mu.
func (s *Server) view(b *sandbox) details {
	v := b.details
	v.ToolboxProxyURL = s.toolboxURL()
	v.Labels = maps.Clone(v.Labels)
	v.Env = maps.Clone(v.Env)
	v.Volumes = []struct{}{}
	return v
}

// find returns the sandbox with an id, or the living one with a name. The
// caller holds s.mu.
func (s *Server) find(idOrName string) (*sandbox, error) {
	if b, ok := s.sandboxes[idOrName]; ok {
		return b, nil
	}
	for _, b := range s.sandboxes {
		if b.Name == idOrName && b.DesiredState != stateDestroyed {
			return b, nil
		}
	}
	return nil, notFound(idOrName)
}

func notFound(idOrName string) error {
	return problemf(http.StatusNotFound, "Sandbox with ID or name %s not found", idOrName)
}

// running returns the sandbox with an id and its tools, if it is started,
// and counts the call as activity unless it is silent.
func (s *Server) running(id string, silent bool) (*sandbox, *tools, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.sandboxes[id]
	if !ok || b.State == stateDestroyed {
		return nil, nil, notFound(id)
	}
	if b.State != stateStarted {
		return nil, nil, problemf(http.StatusBadRequest, notStarted)
	}
	if !silent {
		b.LastActivityAt = s.now().UTC()
	}
	return b, b.tools, nil
}

// adopt takes over a sandbox that an earlier server left.
func (s *Server) adopt(saved Saved) {
	b := &sandbox{}
	if err := json.Unmarshal(saved.Record, &b.details); err != nil || b.ID != saved.ID {
		s.log.Warn("sandbox record cannot be read; left alone", "sandbox", saved.ID, "error", err)
		return
	}
	now := s.now().UTC()
	switch {
	case saved.Running:
		b.State, b.DesiredState = stateStarted, stateStarted
		b.LastActivityAt = now
		s.up(b)
	case b.State == stateError, b.State == stateArchived:
	case b.State != stateStopped:
		b.State, b.DesiredState = stateStopped, stateStopped
		b.LastActivityAt = now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sandboxes[b.ID] = b
}

// up gives a sandbox what it has while it runs.
func (s *Server) up(b *sandbox) {
	b.token = rand.Text()
	b.tools = s.newTools(b.ID)
}

// change starts a state change in the background and returns a channel that
// gets its error. The sandbox is busy until then. The caller holds s.mu and
// has checked that the sandbox is not busy.
func (s *Server) change(b *sandbox, via, to state, work func(context.Context) error) <-chan error {
	b.busy = true
	b.DesiredState = to
	b.UpdatedAt = s.now().UTC()
	b.LastActivityAt = b.UpdatedAt
	s.move(b, via)
	done := make(chan error, 1)
	s.work.Go(func() {
		// A change that began is finished even when the server closes.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), engineWait)
		defer cancel()
		err := work(ctx)
		s.mu.Lock()
		b.busy = false
		b.UpdatedAt = s.now().UTC()
		b.LastActivityAt = b.UpdatedAt
		reached := to
		b.ErrorReason = ""
		if err != nil {
			reached, b.ErrorReason = stateError, err.Error()
			s.log.Warn("sandbox failed", "sandbox", b.ID, "change", via, "error", err)
		}
		s.move(b, reached)
		s.mu.Unlock()
		// Whether a sandbox runs is the engine's to know: starting and
		// destroying leave nothing to save.
		if err != nil || to == stateStopped || to == stateArchived {
			s.save(ctx, b)
		}
		done <- err
	})
	return done
}

// save hands the sandbox's record to the engine.
func (s *Server) save(ctx context.Context, b *sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineWait)
	defer cancel()
	b.saving.Lock()
	defer b.saving.Unlock()
	s.mu.Lock()
	data, err := json.Marshal(b.details)
	gone := b.DesiredState == stateDestroyed && b.State != stateError
	s.mu.Unlock()
	if err == nil && !gone {
		err = s.opts.Engine.Save(ctx, b.ID, data)
	}
	if err != nil {
		s.log.Warn("sandbox record not saved", "sandbox", b.ID, "error", err)
	}
}

// start runs the sandbox once first, unless that is nil, is done.
func (s *Server) start(b *sandbox, via state, first func(context.Context) error) <-chan error {
	return s.change(b, via, stateStarted, func(ctx context.Context) error {
		if first != nil {
			if err := first(ctx); err != nil {
				return err
			}
		}
		entrypoint, err := s.opts.Engine.Start(ctx, b.ID)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.up(b)
		tools := b.tools
		s.mu.Unlock()
		tools.runEntrypoint(entrypoint)
		return nil
	})
}

// stop kills what runs in the sandbox. The caller holds s.mu.
func (s *Server) stop(b *sandbox) <-chan error {
	if b.AutoDeleteInterval == 0 { // ephemeral
		return s.destroy(b)
	}
	return s.change(b, stateStopping, stateStopped, func(ctx context.Context) error {
		return s.down(ctx, b)
	})
}

// archive marks a stopped sandbox. The caller holds s.mu.
func (s *Server) archive(b *sandbox) <-chan error {
	return s.change(b, stateArchiving, stateArchived, func(ctx context.Context) error { return pause.For(ctx, s.opts.Delays.Archive) })
}

// destroy removes the sandbox; its name is free at once, its id stays
// readable. The caller holds s.mu.
func (s *Server) destroy(b *sandbox) <-chan error {
	b.Name = destroyedName(b.Name, s.now())
	s.revokeSSHAccess(b.ID, "")
	return s.change(b, stateDestroying, stateDestroyed, func(ctx context.Context) error {
		if err := s.down(ctx, b); err != nil {
			s.log.Warn("sandbox did not stop; removed all the same", "sandbox", b.ID, "error", err)
		}
		s.closePreviews(b)
		// A save that began before must not bring the record back.
		b.saving.Lock()
		defer b.saving.Unlock()
		return s.opts.Engine.Remove(ctx, b.ID)
	})
}

// down ends the sandbox's sessions and processes.
func (s *Server) down(ctx context.Context, b *sandbox) error {
	s.mu.Lock()
	tools := b.tools
	b.tools = nil
	s.mu.Unlock()
	if tools != nil {
		tools.close() // first: whatever fails from now on failed because of it
	}
	return s.opts.Engine.Stop(ctx, b.ID)
}
