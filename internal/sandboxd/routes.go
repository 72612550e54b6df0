package sandboxd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/claude"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

// Bounds of requests and answers.
const (
	maxTask       = 4 << 20
	maxTranscript = 256 << 20
	bodyTimeout   = 30 * time.Second // for a request's body, and for each write of a stream
	streamPulse   = 15 * time.Second // an idle stream of events shows that it lives
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.info)
	mux.HandleFunc("GET /container", s.info)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeAnswer(w, http.StatusOK, s.health()) })
	mux.HandleFunc("GET /error", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusInternalServerError, "internal", "this route always answers 500")
	})
	mux.HandleFunc("POST /v1/tasks", s.claimed(s.createTask))
	mux.HandleFunc("GET /v1/tasks/{id}", s.claimed(s.onTask(s.status)))
	mux.HandleFunc("GET /v1/tasks/{id}/events", s.claimed(s.onTask(s.events)))
	mux.HandleFunc("POST /v1/tasks/{id}/cancel", s.claimed(s.onTask(s.cancel)))
	mux.HandleFunc("GET /v1/tasks/{id}/changeset", s.claimed(s.onTask(s.changeset)))
	mux.HandleFunc("GET /v1/tasks/{id}/transcript", s.claimed(s.onTask(s.transcript)))
	mux.HandleFunc("GET /v1/tunnel", s.claimed(func(w http.ResponseWriter, r *http.Request) {
		if err := s.tunnel.accept(w, r); err != nil {
			s.cfg.Log.Warn("tunnel refused", "error", err)
		}
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "not_found", "no such route: "+r.Method+" "+headOf(r.URL.Path, 200))
	})
	return mux
}

// writeAnswer sends v. What goes wrong then is between us and a client that
// is gone.
func writeAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, status int, kind, message string) {
	writeAnswer(w, status, api.Error{Message: message, Kind: kind})
}

func (s *Server) health() api.Health {
	return api.Health{
		OK: true, Protocol: api.Protocol, Version: s.cfg.Version, Instance: s.cfg.Instance,
		PID: os.Getpid(), Tools: s.tools.found(),
	}
}

func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	writeAnswer(w, http.StatusOK, api.Info{
		Health: s.health(), Status: "healthy", StartedAt: s.started, Versions: s.tools.version(r.Context()),
	})
}

// claimed lets a request pass that carries the token of the claim file as it
// is now.
func (s *Server) claimed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := s.claim()
		if err != nil {
			writeError(w, http.StatusUnauthorized, "unauthorized", "no claim: "+err.Error())
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if !ok || subtle.ConstantTimeCompare(got[:], want) != 1 {
			writeError(w, http.StatusUnauthorized, "unauthorized", "the token is not the one of the claim file")
			return
		}
		next(w, r)
	}
}

// claim is the hash of the token that orders carry.
func (s *Server) claim() ([]byte, error) {
	data, err := readBounded(filepath.Join(s.cfg.Home, api.ClaimFile), 4<<10)
	if err != nil {
		return nil, err
	}
	var claim api.Claim
	if err := decodeStrict(bytes.NewReader(data), &claim); err != nil {
		return nil, fmt.Errorf("%s: %w", api.ClaimFile, err)
	}
	hash, err := hex.DecodeString(claim.TokenSHA256)
	if err != nil || len(hash) != sha256.Size {
		return nil, fmt.Errorf("%s: token_sha256 is not a SHA-256 in hex", api.ClaimFile)
	}
	return hash, nil
}

// decodeStrict reads exactly one JSON value without unknown fields.
func decodeStrict(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func (s *Server) createTask(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	var spec api.Task
	if err := decodeStrict(http.MaxBytesReader(w, r.Body, maxTask), &spec); err != nil {
		writeError(w, http.StatusBadRequest, "usage", "not a task: "+err.Error())
		return
	}
	if err := checkTask(&spec); err != nil {
		writeError(w, http.StatusBadRequest, "usage", headOf("not a task: "+err.Error(), maxMessage))
		return
	}
	t, err := s.create(&spec)
	switch {
	case errors.Is(err, errConflict):
		writeError(w, http.StatusConflict, "conflict", err.Error())
	case err != nil:
		writeInternal(w, err)
	default:
		s.status(w, r, t)
	}
}

// writeInternal answers that something failed here.
func writeInternal(w http.ResponseWriter, err error) {
	kind := "internal"
	if noSpace(err) {
		kind = kindDiskFull
	}
	writeError(w, http.StatusInternalServerError, kind, headOf(err.Error(), maxMessage))
}

type taskHandler func(http.ResponseWriter, *http.Request, *task)

func (s *Server) onTask(next taskHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		t := s.find(r.PathValue("id"))
		if t == nil {
			writeError(w, http.StatusNotFound, "not_found", "no such task")
			return
		}
		next(w, r, t)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request, t *task) {
	writeAnswer(w, http.StatusOK, t.status())
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request, t *task) {
	if err := t.askCancel(); err != nil {
		writeInternal(w, err)
		return
	}
	s.status(w, r, t)
}

// events streams what happened after ?after=N until the task's end.
func (s *Server) events(w http.ResponseWriter, r *http.Request, t *task) {
	after, err := strconv.ParseInt("0"+r.URL.Query().Get("after"), 10, 64)
	if last := t.events.last(); err != nil || after > last {
		writeError(w, http.StatusBadRequest, "usage", fmt.Sprintf("after is not a number from 0 to %d", last))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	defer func() { _ = out.SetWriteDeadline(time.Time{}) }() // the connection may be used again
	lines := tail{log: t.events}
	pulse := time.NewTicker(streamPulse)
	defer pulse.Stop()
	for {
		_ = out.SetWriteDeadline(time.Now().Add(bodyTimeout))
		ended, grown, err := lines.next(after, func(number int64, line []byte) error {
			_, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", number, line)
			return err
		})
		if err != nil || out.Flush() != nil || ended {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-grown:
		case <-pulse.C:
			if _, err := io.WriteString(w, ": \n\n"); err != nil {
				return
			}
		}
	}
}

// changeset sends what Claude left, or while the task goes on what there is
// now.
func (s *Server) changeset(w http.ResponseWriter, r *http.Request, t *task) {
	state := t.snapshot()
	switch {
	case state.Harvested:
		sendFile(w, t.path("changeset.json"), "application/json", maxTranscript<<4)
		return
	case state.Lost != "":
		writeError(w, http.StatusInternalServerError, "internal", state.Lost)
		return
	case !state.Cloned || t.ended():
		writeError(w, http.StatusConflict, "conflict", "nothing was cloned")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), harvestTimeout)
	defer cancel()
	now := t.path("changeset-now.json")
	t.harvest.Lock()
	defer t.harvest.Unlock()
	tree, err := os.MkdirTemp(t.dir, ".tree-*")
	if err != nil {
		writeInternal(w, err)
		return
	}
	defer os.RemoveAll(tree)
	err = replaceFile(now, func(out io.Writer) error {
		worker := &worker{task: t, home: s.cfg.Home, tools: s.tools}
		_, _, err := worker.repository().writeChangeset(ctx, out, tree, t.spec.Bounds)
		return err
	})
	if err != nil {
		writeInternal(w, err)
		return
	}
	defer os.Remove(now)
	sendFile(w, now, "application/json", maxTranscript<<4)
}

func (s *Server) transcript(w http.ResponseWriter, _ *http.Request, t *task) {
	dir := filepath.Join(s.cfg.Home, api.WorkDir, t.spec.Repository.Name)
	sendFile(w, claude.TranscriptPath(s.cfg.Home, dir, t.spec.Claude.SessionID), "application/x-ndjson", maxTranscript)
}

// sendFile sends a regular file as long as it is now, at most limit bytes.
func sendFile(w http.ResponseWriter, path, contentType string, limit int64) {
	f, err := openRegular(path)
	if errors.Is(err, os.ErrNotExist) {
		writeError(w, http.StatusNotFound, "not_found", "there is none")
		return
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > limit {
		writeError(w, http.StatusInternalServerError, "internal", fmt.Sprintf("more than %d bytes", limit))
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	_, _ = io.CopyN(w, f, info.Size())
}
