package daytona

import (
	"fmt"
	"time"
)

// Intervals in minutes, as the platform's defaults.
const (
	defaultAutoStop    = 15
	defaultAutoArchive = 7 * 24 * 60
	maxAutoArchive     = 30 * 24 * 60
	neverDelete        = -1
)

const (
	sweepEvery = 500 * time.Millisecond
	// keepDestroyed is how long a destroyed sandbox stays readable.
	keepDestroyed = 24 * time.Hour
)

// sweep does what the intervals ask for, until the server closes.
func (s *Server) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.sweepOnce()
		}
	}
}

func (s *Server) sweepOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for id, b := range s.sandboxes {
		sweepSigned(b, now)
		if b.busy {
			continue
		}
		idle := now.Sub(b.LastActivityAt) // a change of state is activity, too
		switch b.State {
		case stateStarted:
			if b.AutoStopInterval > 0 && idle >= minutes(b.AutoStopInterval) {
				s.log.Info("sandbox idle", "sandbox", id)
				s.stop(b)
			}
		case stateStopped: // what is archived is never deleted
			if b.AutoDeleteInterval >= 0 && idle >= minutes(b.AutoDeleteInterval) {
				s.destroy(b)
			} else if idle >= minutes(b.AutoArchiveInterval) {
				s.archive(b)
			}
		case stateDestroyed:
			if now.Sub(b.UpdatedAt) >= keepDestroyed {
				delete(s.sandboxes, id)
			}
		}
	}
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// archiveInterval turns 0 into the platform's maximum.
func archiveInterval(n int) int {
	if n == 0 {
		return maxAutoArchive
	}
	return n
}

func destroyedName(name string, now time.Time) string {
	return fmt.Sprintf("DESTROYED_%s_%d", name, now.UnixMilli())
}
