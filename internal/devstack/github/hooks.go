package github

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// Hook is a webhook: where deliveries go and how they are signed.
type Hook struct {
	URL          string
	Secret       secret.String
	Events       []string // "issues", "issue_comment", "pull_request"; nil is all
	Installation int64    // of the App whose hook it is; 0: a repository's
}

// Delivery is one delivery of an event to a hook.
type Delivery struct {
	ID      string // X-GitHub-Delivery, the same when delivered again
	Event   string
	Action  string
	URL     string
	Payload []byte
	Status  int    // of the answer, 0 if there was none
	Error   string // why there was none
}

// deliveryTimeout is how long GitHub waits for an answer.
const deliveryTimeout = 10 * time.Second

// hooks delivers events one after the other, in the order they happened.
type hooks struct {
	log    *slog.Logger
	client *http.Client
	cancel context.CancelFunc
	queue  chan sending
	done   sync.WaitGroup

	mu    sync.Mutex
	hooks []Hook
	sent  []Delivery
}

type sending struct {
	hook     Hook
	delivery Delivery
}

func newHooks(log *slog.Logger) *hooks {
	ctx, cancel := context.WithCancel(context.Background())
	h := &hooks{
		log: log, cancel: cancel, queue: make(chan sending, 10_000),
		client: &http.Client{
			Timeout:       deliveryTimeout,
			Transport:     &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	h.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-h.queue:
				h.deliver(ctx, s)
			}
		}
	})
	return h
}

func (h *hooks) close() {
	h.cancel()
	h.done.Wait()
	h.client.CloseIdleConnections()
}

// AddHook sends the events of all repositories to a URL from now on.
func (s *Server) AddHook(h Hook) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.hooks = append(s.hooks.hooks, h)
}

// Deliveries returns what was delivered, or could not be, in order.
func (s *Server) Deliveries() []Delivery {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	return slices.Clone(s.hooks.sent)
}

// Redeliver sends a delivery once more under its id, as the button on GitHub
// does.
func (s *Server) Redeliver(id string) error {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	for _, d := range s.hooks.sent {
		if d.ID != id {
			continue
		}
		for _, hook := range s.hooks.hooks {
			if hook.URL == d.URL {
				s.hooks.enqueue(sending{hook, d})
				return nil
			}
		}
	}
	return fmt.Errorf("there was no delivery %s", id)
}

func (h *hooks) enqueue(s sending) {
	select {
	case h.queue <- s:
	default:
		h.log.Error("webhook dropped: too many wait", "event", s.delivery.Event)
	}
}

// announce queues an event for the hooks that want it.
func (h *hooks) announce(event, action string, payload object) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hook := range h.hooks {
		if hook.Events != nil && !slices.Contains(hook.Events, event) {
			continue
		}
		delete(payload, "installation")
		if hook.Installation != 0 {
			payload["installation"] = object{"id": hook.Installation, "node_id": nodeID("Installation", hook.Installation)}
		}
		data, err := json.Marshal(payload)
		if err != nil {
			h.log.Error("webhook not sent", "event", event, "error", err)
			return
		}
		h.enqueue(sending{hook, Delivery{ID: uuid.NewString(), Event: event, Action: action, URL: hook.URL, Payload: data}})
	}
}

func (h *hooks) deliver(ctx context.Context, s sending) {
	d := s.delivery
	d.Status, d.Error = 0, ""
	if err := h.post(ctx, s.hook, &d); err != nil {
		d.Error = err.Error()
		h.log.Warn("webhook not delivered", "event", d.Event, "error", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, d)
}

func (h *hooks) post(ctx context.Context, hook Hook, d *Delivery) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(d.Payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "GitHub-Hookshot/embedded")
	req.Header.Set("X-GitHub-Event", d.Event)
	req.Header.Set("X-GitHub-Delivery", d.ID)
	if !hook.Secret.IsZero() {
		mac := hmac.New(sha256.New, []byte(hook.Secret.Reveal()))
		mac.Write(d.Payload)
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	res, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d.Status = res.StatusCode
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	return err
}

// event has what every payload has; s.mu is held.
func (s *Server) event(r *repo, action, actor string) object {
	return object{"action": action, "repository": s.repoShape(r, nil), "sender": s.userShape(s.user(actor))}
}

func (s *Server) announceIssue(r *repo, i *issue, action, actor string) {
	if i.pull != nil {
		return // GitHub tells of those as pull_request
	}
	payload := s.event(r, action, actor)
	payload["issue"] = s.issueShape(r, i)
	s.hooks.announce("issues", action, payload)
}

func (s *Server) announceLabel(r *repo, i *issue, label, actor string) {
	if i.pull != nil {
		return
	}
	payload := s.event(r, "labeled", actor)
	payload["issue"], payload["label"] = s.issueShape(r, i), s.labelShapes(r, []string{label})[0]
	s.hooks.announce("issues", "labeled", payload)
}

func (s *Server) announceComment(r *repo, i *issue, c *Comment, action, actor string) {
	payload := s.event(r, action, actor)
	payload["issue"], payload["comment"] = s.issueShape(r, i), s.commentShape(r, i, c)
	s.hooks.announce("issue_comment", action, payload)
}

func (s *Server) announcePull(r *repo, i *issue, shape object, action, actor string) {
	payload := s.event(r, action, actor)
	payload["number"], payload["pull_request"] = i.Number, shape
	s.hooks.announce("pull_request", action, payload)
}
