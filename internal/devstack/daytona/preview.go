package daytona

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"time"
)

// previewCache is how long the answer to a preview-url request is repeated:
// one read at once after a start may be stale.
const previewCache = time.Second

// tokenCache is how long the proxy lets a token in without asking again
// whether it is still good.
const tokenCache = 2 * time.Minute

// Names that the preview proxy knows.
const (
	headerPreviewToken = "X-Daytona-Preview-Token"
	headerSkipActivity = "X-Daytona-Skip-Last-Activity-Update"
	authKey            = "DAYTONA_SANDBOX_AUTH_KEY" // query parameter and cookie
)

// preview is the proxy to one port of one sandbox, on its own listener.
type preview struct {
	url       string
	http      *http.Server
	transport *http.Transport

	token string    // as last answered
	read  time.Time // when
}

func (s *Server) getPreviewURL(w http.ResponseWriter, r *http.Request) error {
	return s.withPort(r, func(b *sandbox, port int) (err error) {
		p := b.previews[port]
		if p == nil {
			if p, err = s.openPreview(r.Context(), b.ID, port, ""); err != nil {
				return err
			}
			if b.previews == nil {
				b.previews = make(map[int]*preview)
			}
			b.previews[port] = p
		}
		if now := s.now(); p.token == "" || now.Sub(p.read) >= previewCache {
			p.token, p.read = b.token, now
		}
		writeJSON(w, http.StatusOK, map[string]string{"sandboxId": b.ID, "url": p.url, "token": p.token})
		return nil
	})
}

// withPort finds the sandbox and the port of a request, and runs act on them
// under the lock.
func (s *Server) withPort(r *http.Request, act func(*sandbox, int) error) error {
	port, err := strconv.Atoi(r.PathValue("port"))
	if err != nil || port < 1 || port > 65535 {
		return problemf(http.StatusBadRequest, "Invalid port")
	}
	return s.with(r, func(b *sandbox) error {
		if b.DesiredState == stateDestroyed {
			return notFound(b.ID)
		}
		return act(b, port)
	})
}

// openPreview listens for a sandbox's port. Where the signed token is not
// empty, it lets everybody in as long as that is good.
func (s *Server) openPreview(ctx context.Context, id string, port int, signed string) (*preview, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.opts.Engine.Dial(ctx, id, port)
		},
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, ErrStopped) {
				err = problemf(http.StatusBadGateway, "bad gateway: %v", err)
			}
			s.writeToolboxError(w, r, err)
		},
		ErrorLog: s.http.ErrorLog,
	}
	p := &preview{url: "http://" + listener.Addr().String(), transport: transport}
	p.http = s.newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A WebSocket is out of http.Server's sight, but not out of Close's.
		if !s.begin() {
			return
		}
		defer s.work.Done()
		if err := s.enter(r, id, port, signed); err != nil {
			if errors.Is(err, errNoToken) {
				http.Redirect(w, r, s.origin()+"/login", http.StatusTemporaryRedirect)
				return
			}
			s.writeToolboxError(w, r, err)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.work.Go(func() { _ = p.http.Serve(listener) })
	return p, nil
}

var errNoToken = errors.New("no valid preview token")

// enter lets a request through to a sandbox's port, and takes the credential
// that let it through out of it: the application must not see it. A Bearer
// that is not the API key is the application's own.
func (s *Server) enter(r *http.Request, id string, port int, signed string) error {
	s.mu.Lock()
	open := false
	if b := s.sandboxes[id]; b != nil {
		open = b.Public && !slices.Contains([]int{22222, 2280, 33333}, port)
		if one, ok := b.signed[signed]; ok {
			open = open || s.now().Before(one.expires)
		}
	}
	s.mu.Unlock()
	if !s.admitted(r, id) && !open {
		return errNoToken
	}
	_, _, err := s.running(id, r.Header.Get(headerSkipActivity) == "true")
	return err
}

// isToken reports whether a preview token is the sandbox's, or was when the
// proxy last asked.
func (s *Server) isToken(id, given string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, now := s.sandboxes[id], s.now()
	if b == nil || given == "" || b.token == "" {
		return false
	}
	if sameSecret(given, b.token) {
		maps.DeleteFunc(b.passed, func(_ string, until time.Time) bool { return !now.Before(until) })
		if b.passed == nil {
			b.passed = make(map[string]time.Time)
		}
		if _, cached := b.passed[given]; !cached {
			b.passed[given] = now.Add(tokenCache)
		}
		return true
	}
	return now.Before(b.passed[given])
}

func (s *Server) admitted(r *http.Request, id string) bool {
	valid := func(given string) bool { return s.isToken(id, given) }
	given := r.Header.Get(headerPreviewToken)
	r.Header.Del(headerPreviewToken)
	if key, ok := bearer(r); ok && s.isKey(key) {
		r.Header.Del("Authorization")
		return true
	}
	if valid(given) {
		return true
	}
	if query := r.URL.Query(); valid(query.Get(authKey)) {
		query.Del(authKey)
		r.URL.RawQuery = query.Encode()
		return true
	}
	cookie, err := r.Cookie(authKey)
	return err == nil && valid(cookie.Value)
}

// closePreviews ends a sandbox's preview listeners and their connections.
func (s *Server) closePreviews(b *sandbox) {
	s.mu.Lock()
	previews, signed := b.previews, b.signed
	b.previews, b.signed = nil, nil
	s.mu.Unlock()
	for _, p := range previews {
		p.close()
	}
	for _, p := range signed {
		p.close()
	}
}

func (p *preview) close() {
	// An error is a listener that is closed already.
	_ = p.http.Close()
	p.transport.CloseIdleConnections()
}
