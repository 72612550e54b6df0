package daytona

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
)

// createRequest is POST /sandbox, as far as it is served.
type createRequest struct {
	Name                string            `json:"name"`
	Snapshot            string            `json:"snapshot"`
	User                string            `json:"user"`
	Env                 map[string]string `json:"env"`
	Labels              map[string]string `json:"labels"`
	Public              bool              `json:"public"`
	NetworkBlockAll     bool              `json:"networkBlockAll"`
	NetworkAllowList    string            `json:"networkAllowList"`
	DomainAllowList     string            `json:"domainAllowList"`
	Target              string            `json:"target"`
	CPU                 *int              `json:"cpu"`
	GPU                 *int              `json:"gpu"`
	Memory              *int              `json:"memory"`
	Disk                *int              `json:"disk"`
	AutoStopInterval    *int              `json:"autoStopInterval"`
	AutoArchiveInterval *int              `json:"autoArchiveInterval"`
	AutoDeleteInterval  *int              `json:"autoDeleteInterval"`
	Volumes             []json.RawMessage `json:"volumes"`
	BuildInfo           json.RawMessage   `json:"buildInfo"`
}

// createSandbox holds the request until the sandbox runs, for at most
// Delays.Hold, and yet answers with the record as it was at creation. A failed
// start is a 400 that leaves the sandbox behind in state error.
func (s *Server) createSandbox(w http.ResponseWriter, r *http.Request) error {
	var request createRequest
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	answer, done, err := s.place(&request)
	if err != nil {
		return err
	}

	if err := s.hold(r, done); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// hold keeps a request waiting for a start, for at most Delays.Hold.
func (s *Server) hold(r *http.Request, started <-chan error) error {
	wait := time.NewTimer(s.opts.Delays.Hold)
	defer wait.Stop()
	select {
	case err := <-started:
		if err != nil {
			return problemf(http.StatusBadRequest, "Sandbox failed to start: %v", err)
		}
	case <-wait.C:
	case <-r.Context().Done():
	}
	return nil
}

// place holds the request against everything that Daytona does, in its order,
// and begins to make the sandbox.
func (s *Server) place(request *createRequest) (answer details, done <-chan error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.check(request)
	if err != nil {
		return details{}, nil, err
	}
	b, spec := s.newSandbox(request, p.Snapshot)
	if err := s.admit(b); err != nil {
		return details{}, nil, err
	}
	if s.full {
		return details{}, nil, problemf(http.StatusBadRequest, "No available runners")
	}
	if _, err := s.find(b.Name); err == nil {
		return details{}, nil, problemf(http.StatusConflict, "Sandbox with name %s already exists", b.Name)
	}
	if spec.Record, err = json.Marshal(b.details); err != nil {
		return details{}, nil, err
	}
	s.sandboxes[b.ID] = b
	p.LastUsedAt = b.CreatedAt
	answer = s.view(b)
	s.publish("sandbox.created", answer)
	return answer, s.start(b, stateCreating, func(ctx context.Context) error {
		if err := s.pull(ctx, b, p); err != nil {
			return err
		}
		return s.opts.Engine.Create(ctx, *spec)
	}), nil
}

// check refuses what Daytona refuses, and what this server does not have. The
// caller holds s.mu.
func (s *Server) check(request *createRequest) (*snapshot, error) {
	if len(request.BuildInfo) > 0 && string(request.BuildInfo) != "null" {
		return nil, problemf(http.StatusBadRequest, "The embedded Daytona does not build Dockerfiles: name a snapshot")
	}
	if len(request.Volumes) > 0 {
		return nil, problemf(http.StatusBadRequest, "The embedded Daytona has no volumes")
	}
	if request.CPU != nil || request.GPU != nil || request.Memory != nil || request.Disk != nil {
		return nil, problemf(http.StatusBadRequest, "Cannot specify Sandbox resources when using a snapshot")
	}
	for _, interval := range []struct {
		name  string
		value *int
		min   int
	}{
		{"autoStopInterval", request.AutoStopInterval, 0},
		{"autoArchiveInterval", request.AutoArchiveInterval, 0},
		{"autoDeleteInterval", request.AutoDeleteInterval, neverDelete},
	} {
		if interval.value != nil && *interval.value < interval.min {
			return nil, problemf(http.StatusBadRequest, "%s must not be less than %d", interval.name, interval.min)
		}
	}
	if err := checkNetwork(request.NetworkAllowList, request.DomainAllowList); err != nil {
		return nil, err
	}
	if request.Snapshot == "" {
		request.Snapshot = s.opts.Snapshots[0].Name
	}
	p, ok := s.snapshot(request.Snapshot)
	if !ok && s.opts.AnySnapshot {
		return given(Snapshot{Name: request.Snapshot}, s.now().UTC()), nil
	}
	if !ok {
		return nil, problemf(http.StatusBadRequest, "Snapshot %s not found. Did you add it through the Daytona Dashboard?", request.Snapshot)
	}
	if p.State != snapshotActive {
		return nil, problemf(http.StatusBadRequest, "Snapshot %s is %s", request.Snapshot, p.State)
	}
	return p, nil
}

// checkNetwork holds the lists against Daytona's bounds: ten entries each,
// networks as IPv4 with a prefix.
func checkNetwork(networks, domains string) error {
	const most = 10
	if n := strings.Split(networks, ","); networks != "" {
		if len(n) > most {
			return problemf(http.StatusBadRequest, "networkAllowList cannot have more than %d networks", most)
		}
		for _, cidr := range n {
			if prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr)); err != nil || !prefix.Addr().Is4() {
				return problemf(http.StatusBadRequest, "Invalid network allow list: %q is not an IPv4 network with a prefix", cidr)
			}
		}
	}
	if domains != "" && strings.Count(domains, ",") >= most {
		return problemf(http.StatusBadRequest, "domainAllowList cannot have more than %d domains", most)
	}
	return nil
}

func (s *Server) newSandbox(request *createRequest, snapshot Snapshot) (*sandbox, *Spec) {
	id := uuid.NewString()
	now := s.now().UTC()
	b := &sandbox{}
	b.summary = summary{
		ID: id, OrganizationID: organization, Name: cmp.Or(request.Name, id),
		Target: cmp.Or(request.Target, region), SandboxClass: container,
		State: stateCreating, DesiredState: stateStarted,
		Snapshot: snapshot.Name, User: cmp.Or(request.User, "daytona"),
		Public: request.Public,
		CPU:    snapshot.CPU, Memory: snapshot.Memory, Disk: snapshot.Disk,
		Labels:              maps.Clone(request.Labels),
		AutoStopInterval:    intOr(request.AutoStopInterval, defaultAutoStop),
		AutoArchiveInterval: archiveInterval(intOr(request.AutoArchiveInterval, defaultAutoArchive)),
		AutoDeleteInterval:  intOr(request.AutoDeleteInterval, neverDelete),
		CreatedAt:           now, UpdatedAt: now, LastActivityAt: now,
		DaemonVersion: version,
	}
	if b.Labels == nil {
		b.Labels = map[string]string{}
	}
	b.Env = maps.Clone(request.Env)
	if b.Env == nil {
		b.Env = map[string]string{}
	}
	s.restrict(b, request.NetworkBlockAll, request.NetworkAllowList, request.DomainAllowList)

	env := maps.Clone(b.Env)
	maps.Copy(env, map[string]string{
		"DAYTONA_SANDBOX_ID":       id,
		"DAYTONA_SANDBOX_SNAPSHOT": snapshot.Name,
		"DAYTONA_SANDBOX_USER":     b.User,
		"DAYTONA_ORGANIZATION_ID":  organization,
		"DAYTONA_REGION_ID":        b.Target,
	})
	return b, &Spec{
		ID: id, Image: snapshot.Image, Entrypoint: snapshot.Entrypoint, Env: env,
		Blocked: b.NetworkBlockAll, CPU: b.CPU, Memory: b.Memory,
	}
}

const (
	organization = "00000000-0000-4000-8000-000000000001"
	region       = "local"
)

// restrict notes the network policy. An engine that isolates can only take the
// whole network away, so any allow list does that, and the sandbox says so.
// One that does not isolate says as much in its Notice; the sandbox then says
// what was asked.
func (s *Server) restrict(b *sandbox, all bool, networks, domains string) {
	b.NetworkBlockAll = all
	b.NetworkAllowList, b.DomainAllowList = networks, domains
	switch listed := networks != "" || domains != ""; {
	case !s.opts.Engine.Isolates():
		if all || listed {
			s.log.Warn("the network cannot be blocked by this engine", "sandbox", b.ID)
		}
	case listed && !all:
		b.NetworkBlockAll = true
		s.log.Warn("allow lists cannot be enforced here: the whole network is blocked", "sandbox", b.ID,
			"domain_allow_list", domains, "network_allow_list", networks)
	}
}

// admit holds a sandbox about to run against the organization's suspension and
// its quota: a 400 with words, as in Daytona. The caller holds s.mu.
func (s *Server) admit(b *sandbox) error {
	if s.suspended != "" {
		return problemf(http.StatusForbidden, "Organization is suspended: %s", s.suspended)
	}
	quota := s.opts.Quota
	cpu, memory, disk := b.CPU, b.Memory, b.Disk
	for _, other := range s.sandboxes {
		if other == b {
			continue
		}
		switch other.State {
		case stateDestroyed, stateDestroying, stateArchived, stateError:
			continue
		case stateStopped, stateArchiving:
		default:
			cpu += other.CPU
			memory += other.Memory
		}
		disk += other.Disk
	}
	for _, total := range []struct {
		name      string
		used, max int
		unit      string
	}{{"CPU", cpu, quota.CPU, ""}, {"memory", memory, quota.Memory, "GiB"}, {"disk", disk, quota.Disk, "GiB"}} {
		if total.max > 0 && total.used > total.max {
			return problemf(http.StatusBadRequest, "Total %s limit exceeded. Maximum allowed: %d%s.\nConsider archiving or deleting unused Sandboxes to free up capacity.",
				total.name, total.max, total.unit)
		}
	}
	return nil
}

func intOr(value *int, fallback int) int {
	if value == nil {
		return fallback
	}
	return *value
}
