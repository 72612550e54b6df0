package daytona

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/dayclaude/dayclaude/internal/pause"
)

// with finds the sandbox of a request and runs act on it under the lock.
func (s *Server) with(r *http.Request, act func(*sandbox) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return act(b)
}

// answer writes what the sandbox looks like after act.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, act func(*sandbox) error) error {
	var v details
	err := s.with(r, func(b *sandbox) error {
		if err := act(b); err != nil {
			return err
		}
		v = s.view(b)
		return nil
	})
	if err == nil {
		writeJSON(w, http.StatusOK, v)
	}
	return err
}

func (s *Server) getSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(*sandbox) error { return nil })
}

// free refuses a sandbox that cannot change state now.
func free(b *sandbox) error {
	switch {
	case b.State == stateDestroyed:
		return notFound(b.ID)
	case b.busy:
		return problemf(http.StatusConflict, "Sandbox state change in progress")
	}
	return nil
}

// sound refuses what free refuses, and a sandbox in state error.
func sound(b *sandbox) error {
	if err := free(b); err != nil {
		return err
	}
	if b.State == stateError {
		return problemf(http.StatusBadRequest, "Sandbox is in an errored state")
	}
	return nil
}

func (s *Server) deleteSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(b *sandbox) error {
		if err := free(b); err != nil {
			return err
		}
		s.destroy(b)
		return nil
	})
}

// startSandbox holds the request until the sandbox runs, unless it has to be
// restored first.
func (s *Server) startSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answerStarted(w, r, func(b *sandbox) (<-chan error, error) {
		if b.State == stateStarted {
			return nil, nil
		}
		if err := sound(b); err != nil {
			return nil, err
		}
		if err := s.admit(b); err != nil {
			return nil, err
		}
		if b.State != stateArchived {
			return s.start(b, stateStarting, nil), nil
		}
		s.start(b, stateRestoring, func(ctx context.Context) error { return pause.For(ctx, s.opts.Delays.Restore) })
		return nil, nil
	})
}

// answerStarted answers what the sandbox looks like once what begin began, if
// anything, is done.
func (s *Server) answerStarted(w http.ResponseWriter, r *http.Request, begin func(*sandbox) (<-chan error, error)) error {
	var done <-chan error
	err := s.with(r, func(b *sandbox) (err error) {
		done, err = begin(b)
		return err
	})
	if err == nil && done != nil {
		err = s.hold(r, done)
	}
	if err != nil {
		return err
	}
	return s.getSandbox(w, r)
}

// stopSandbox always kills: ?force makes no difference here.
func (s *Server) stopSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(b *sandbox) error {
		if err := sound(b); err != nil {
			return err
		}
		if b.State != stateStarted {
			return problemf(http.StatusBadRequest, "Sandbox is not started")
		}
		s.stop(b)
		return nil
	})
}

func (s *Server) archiveSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answer(w, r, func(b *sandbox) error {
		if err := sound(b); err != nil {
			return err
		}
		switch {
		case b.State != stateStopped:
			return problemf(http.StatusBadRequest, "Sandbox is not stopped")
		case b.AutoDeleteInterval == 0:
			return problemf(http.StatusBadRequest, "Ephemeral sandboxes cannot be archived")
		}
		s.archive(b)
		return nil
	})
}

func (s *Server) recoverSandbox(w http.ResponseWriter, r *http.Request) error {
	return s.answerStarted(w, r, func(b *sandbox) (<-chan error, error) {
		if err := free(b); err != nil {
			return nil, err
		}
		if b.State != stateError {
			return nil, problemf(http.StatusBadRequest, "Sandbox must be in error state to recover")
		}
		if !b.Recoverable {
			return nil, problemf(http.StatusBadRequest, "Sandbox is not recoverable")
		}
		if err := s.admit(b); err != nil {
			return nil, err
		}
		b.Recoverable = false
		return s.start(b, stateStarting, nil), nil
	})
}

// saved answers with status after act, with the record kept by the engine.
func (s *Server) saved(w http.ResponseWriter, r *http.Request, status int, act func(*sandbox) error) error {
	var v details
	var b *sandbox
	err := s.with(r, func(found *sandbox) error {
		if found.State == stateDestroyed {
			return notFound(found.ID)
		}
		if err := act(found); err != nil {
			return err
		}
		found.UpdatedAt = s.now().UTC()
		b, v = found, s.view(found)
		return nil
	})
	if err != nil {
		return err
	}
	s.save(r.Context(), b)
	writeJSON(w, status, v)
	return nil
}

func (s *Server) putLabels(w http.ResponseWriter, r *http.Request) error {
	var request struct {
		Labels map[string]string `json:"labels"`
	}
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	if request.Labels == nil {
		return problemf(http.StatusBadRequest, "labels should not be null or undefined, labels must be an object")
	}
	return s.saved(w, r, http.StatusOK, func(b *sandbox) error {
		b.Labels = maps.Clone(request.Labels)
		return nil
	})
}

func (s *Server) setAutoStop(w http.ResponseWriter, r *http.Request) error {
	return s.setInterval(w, r, 0, func(b *sandbox, n int) { b.AutoStopInterval = n })
}

func (s *Server) setAutoArchive(w http.ResponseWriter, r *http.Request) error {
	return s.setInterval(w, r, 0, func(b *sandbox, n int) { b.AutoArchiveInterval = archiveInterval(n) })
}

func (s *Server) setAutoDelete(w http.ResponseWriter, r *http.Request) error {
	return s.setInterval(w, r, neverDelete, func(b *sandbox, n int) { b.AutoDeleteInterval = n })
}

func (s *Server) setInterval(w http.ResponseWriter, r *http.Request, least int, set func(*sandbox, int)) error {
	n, err := strconv.Atoi(r.PathValue("minutes"))
	if err != nil {
		return problemf(http.StatusBadRequest, "Validation failed (numeric string is expected)")
	}
	if n < least {
		return problemf(http.StatusBadRequest, "interval must not be less than %d", least)
	}
	return s.saved(w, r, http.StatusCreated, func(b *sandbox) error {
		set(b, n)
		return nil
	})
}

func (s *Server) setPublic(w http.ResponseWriter, r *http.Request) error {
	public, err := strconv.ParseBool(r.PathValue("public"))
	if err != nil {
		return problemf(http.StatusBadRequest, "Validation failed (boolean string is expected)")
	}
	return s.saved(w, r, http.StatusCreated, func(b *sandbox) error {
		b.Public = public
		return nil
	})
}

// setNetwork changes what is given and leaves the rest.
func (s *Server) setNetwork(w http.ResponseWriter, r *http.Request) error {
	var request struct {
		NetworkBlockAll  *bool   `json:"networkBlockAll"`
		NetworkAllowList *string `json:"networkAllowList"`
		DomainAllowList  *string `json:"domainAllowList"`
	}
	if err := readJSON(w, r, &request); err != nil {
		return err
	}
	var id string
	var blocked bool
	err := s.with(r, func(b *sandbox) error {
		if err := sound(b); err != nil {
			return err
		}
		all, networks, domains := b.NetworkBlockAll, b.NetworkAllowList, b.DomainAllowList
		if networks != "" || domains != "" {
			all = false // it only stood for the lists
		}
		set(&all, request.NetworkBlockAll)
		set(&networks, request.NetworkAllowList)
		set(&domains, request.DomainAllowList)
		if err := checkNetwork(networks, domains); err != nil {
			return err
		}
		s.restrict(b, all, networks, domains)
		id, blocked = b.ID, b.NetworkBlockAll
		b.busy = true
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), engineWait)
	defer cancel()
	err = s.opts.Engine.Block(ctx, id, blocked)
	return s.saved(w, r, http.StatusOK, func(b *sandbox) error {
		b.busy = false
		if err != nil {
			return fmt.Errorf("network settings: %w", err)
		}
		return nil
	})
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Server) touch(w http.ResponseWriter, r *http.Request) error {
	err := s.with(r, func(b *sandbox) error {
		b.LastActivityAt = s.now().UTC()
		return nil
	})
	if err == nil {
		w.WriteHeader(http.StatusCreated)
	}
	return err
}

func (s *Server) getToolboxURL(w http.ResponseWriter, r *http.Request) error {
	return s.with(r, func(*sandbox) error {
		writeJSON(w, http.StatusOK, map[string]string{"url": s.toolboxURL()})
		return nil
	})
}
