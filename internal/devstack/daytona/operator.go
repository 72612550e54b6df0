package daytona

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// What follows is done by Daytona's operator, its dashboard, or bad luck: not
// through the API.

// Suspend suspends the organization for a reason, as for unpaid bills: its
// sandboxes stop, and none is made or started until Suspend("").
func (s *Server) Suspend(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = reason
	if reason == "" {
		return
	}
	for _, b := range s.sandboxes {
		if b.State == stateStarted && !b.busy {
			s.stop(b)
		}
	}
}

// SetQuota replaces the quota; sandboxes that run go on.
func (s *Server) SetQuota(q Quota) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Quota = q
}

// SetRunners says whether there are runners that take new sandboxes.
func (s *Server) SetRunners(free bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = !free
}

// SetPermissions replaces what the API key may do, as in "write:sandboxes".
func (s *Server) SetPermissions(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Permissions = slices.Clone(permissions)
}

// SetSnapshot puts a snapshot into a state of the API's, with a reason if that
// is "error" or "build_failed".
func (s *Server) SetSnapshot(name, state, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.snapshot(name)
	if !ok {
		return problemf(http.StatusNotFound, "no snapshot %s", name)
	}
	p.State, p.Reason = state, reason
	return nil
}

// Break kills a sandbox, which is then in state "error" with a reason.
func (s *Server) Break(idOrName, reason string, recoverable bool) error {
	s.mu.Lock()
	b, err := s.find(idOrName)
	if err == nil {
		err = free(b)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	b.Recoverable = recoverable
	broken := s.change(b, b.State, stateStarted, func(ctx context.Context) error {
		return errors.Join(s.down(ctx, b), errors.New(reason))
	})
	s.mu.Unlock()
	<-broken //nolint:errcheck // it says what we said
	return nil
}
