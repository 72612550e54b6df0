package e2e

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Front stands before all of Daytona as the command line sees it: the API,
// the toolbox, and the previews with the tunnel.
type Front struct {
	listener *cuttable
}

// FrontDaytona puts a handler around all of Daytona.
func (s *Stack) FrontDaytona(around func(http.Handler) http.Handler) *Front {
	s.t.Helper()
	base, err := url.Parse(s.Daytona.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(behind(base, r.Out.URL)) },
		ModifyResponse: func(r *http.Response) error { return inFront(base, r) },
		FlushInterval:  -1,
		Transport:      transport,
	}
	server := httptest.NewUnstartedServer(around(proxy))
	f := &Front{listener: &cuttable{Listener: server.Listener, open: map[net.Conn]bool{}}}
	server.Listener = f.listener
	server.Start()
	s.t.Cleanup(func() {
		f.Cut()
		server.Close()
		transport.CloseIdleConnections()
	})
	s.Env["DAYTONA_API_URL"] = server.URL + base.Path
	return f
}

// Cut breaks all connections there are, the tunnel's among them.
func (f *Front) Cut() { f.listener.cut() }

// previewPath is where the front has what Daytona has on another port.
const previewPath = "/preview-"

// behind is the server that a request is for, and takes the server's name out
// of the request's path.
func behind(base, target *url.URL) *url.URL {
	server := &url.URL{Scheme: base.Scheme, Host: base.Host}
	if rest, ok := strings.CutPrefix(target.Path, previewPath); ok {
		port, path, _ := strings.Cut(rest, "/")
		server.Host = net.JoinHostPort(base.Hostname(), port)
		target.Path, target.RawPath = "/"+path, ""
	}
	return server
}

var loopbackURL = regexp.MustCompile(`http://127\.0\.0\.1:(\d+)`)

// inFront makes the URLs in an answer lead through the front.
func inFront(base *url.URL, r *http.Response) error {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || strings.HasPrefix(r.Request.URL.Path, "/v1/") {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if err := r.Body.Close(); err != nil {
		return err
	}
	front := "http://" + r.Request.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
	body = loopbackURL.ReplaceAllFunc(body, func(found []byte) []byte {
		if _, port, _ := bytes.Cut(found, []byte("127.0.0.1:")); string(port) != base.Port() {
			return []byte(front + previewPath + string(port))
		}
		return []byte(front)
	})
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// cuttable is a listener whose connections can be broken.
type cuttable struct {
	net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (l *cuttable) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[conn] = true
	return &cuttableConn{Conn: conn, of: l}, nil
}

func (l *cuttable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close() // it may be closed already
	}
}

type cuttableConn struct {
	net.Conn
	of *cuttable
}

func (c *cuttableConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
