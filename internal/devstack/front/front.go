// Package front stands before an embedded Daytona and shows what its clients
// meet on the way to the real one: all that they send, to the API, the
// toolboxes and the previews, passes one handler, and their connections can be
// cut.
package front

import (
	"bytes"
	"io"
	"log"
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

// Front is a server before a Daytona.
type Front struct {
	server    *httptest.Server
	listener  *cuttable
	transport *http.Transport
	path      string // of the API
}

// New starts a front of the Daytona whose API has the URL api. What the
// handler that around returns does not answer itself, it hands on to the one
// that it was given: the way to Daytona. The URLs in Daytona's answers lead
// through the front.
func New(api string, around func(http.Handler) http.Handler) (*Front, error) {
	base, err := url.Parse(api)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	server := httptest.NewUnstartedServer(around(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(behind(base, r.Out.URL)) },
		ModifyResponse: func(r *http.Response) error { return inFront(base, r) },
		FlushInterval:  -1,
		Transport:      transport,
		ErrorLog:       log.New(io.Discard, "", 0), // its connections are cut all the time
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f := &Front{
		server: server, transport: transport, path: base.Path,
		listener: &cuttable{Listener: server.Listener, open: map[net.Conn]bool{}},
	}
	server.Listener = f.listener
	server.Start()
	return f, nil
}

// URL is the API's base URL, by way of the front.
func (f *Front) URL() string { return f.server.URL + f.path }

// Close cuts all connections and ends the front.
func (f *Front) Close() {
	f.Cut()
	f.server.Close()
	f.transport.CloseIdleConnections()
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
