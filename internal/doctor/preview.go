package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// servers serve $WORD, as index.html or whatever is asked for, on the port
// $PORT, with what an image may have.
var servers = []struct{ program, line string }{
	{"python3", `exec python3 -m http.server "$PORT" --directory "$DIR"`},
	{"busybox", `exec busybox httpd -f -p "$PORT" -h "$DIR"`},
	{"node", `exec node -e 'require("http").createServer((q, r) => r.end(process.env.WORD)).listen(process.env.PORT)'`},
	{"perl", `exec perl -MIO::Socket::INET -e '
my $s = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or exit 1;
while (1) {
	my $c = $s->accept or next;
	while (<$c>) { last if /^\r?$/ }
	print $c "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", length $ENV{WORD}, "\r\n\r\n", $ENV{WORD};
	close $c;
}'`},
}

const (
	sandboxdPort      = 8080 // where an image of dayclaude's serves
	lowPort, highPort = 20000, 22000
	webTimeout        = 15 * time.Second
	serverPatience    = 15 * time.Second // until what was started listens
	webPoll           = 200 * time.Millisecond
)

// serve starts something tiny in the sandbox and sets what it says and where.
func (e *exam) serve(ctx context.Context) error {
	var names []string
	for _, s := range servers {
		names = append(names, s.program)
	}
	has, err := e.box.Execute(ctx, daytona.Command{
		Line: "for p in " + strings.Join(names, " ") + "; do command -v $p >/dev/null && echo $p; done; true", Again: true,
	})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(strings.Fields(has.Output), name) })
	if e.port = sandboxdPort; i < 0 {
		return nil // perhaps something listens there
	}
	e.port, e.word = lowPort+rand.N(highPort-lowPort), e.Name
	dir := e.dir + "/web"
	if err := e.box.Upload(ctx, daytona.File{Path: dir + "/index.html", Content: []byte(e.word)}); err != nil {
		return err
	}
	variables := "export PORT=" + strconv.Itoa(e.port) + " WORD=" + e.word + " DIR=" + daytona.Quote(dir) + "\n"
	return e.box.Spawn(ctx, e.Name+"-web", variables+servers[i].line)
}

func (e *exam) preview(ctx context.Context) (string, error) {
	if err := e.serve(ctx); err != nil {
		return "", err
	}
	door, err := e.Daytona.Preview(ctx, e.sandbox.ID, e.port)
	if err != nil {
		return "", err
	}
	e.door = door
	status, err := e.visit(ctx, door.URL, door.Token)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusBadGateway && e.word == "":
		return "", skip(fmt.Sprintf("not checked: the snapshot has nothing to serve with, and nothing listens on port %d", e.port))
	case e.refuses(status):
		return "", wrong("the preview answered %d to its own token", status)
	}
	closed, err := e.get(ctx, door.URL, secret.String{})
	if err != nil {
		return "", err
	}
	if !e.refuses(closed) {
		return "", wrong("the preview answered %d without its token: it is open to all", closed)
	}
	return fmt.Sprintf("open with its token, closed without (%d)", closed), nil
}

func (e *exam) signed(ctx context.Context) (string, error) {
	s, err := e.Daytona.SignedPreview(ctx, e.sandbox.ID, e.port, time.Minute)
	if err != nil {
		return "", err
	}
	status, err := e.visit(ctx, s.URL.Reveal(), secret.String{})
	if err != nil {
		return "", err
	}
	if e.refuses(status) {
		return "", wrong("the signed preview answered %d", status)
	}
	return "open without a token", nil
}

// refuses reports whether a preview's status says that it did not let us in.
// The proxy sends those without a token to a login page.
func (e *exam) refuses(status int) bool {
	if e.word != "" {
		return status != http.StatusOK
	}
	return status >= 300 && status < 400 || status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadGateway
}

// visit is get, again and again while nothing listens yet.
func (e *exam) visit(ctx context.Context, url string, token secret.String) (status int, err error) {
	for until := e.Now().Add(serverPatience); ; {
		status, err = e.get(ctx, url, token)
		if err != nil || status != http.StatusBadGateway || e.word == "" || e.Now().After(until) {
			return status, err
		}
		if err := pause.For(ctx, webPoll); err != nil {
			return 0, err
		}
	}
}

// get asks a preview for a page. What answers in place of what was started is
// an error; errors name no host, whose name may be a secret.
func (e *exam) get(ctx context.Context, url string, token secret.String) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, webTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/index.html", nil)
	if err != nil {
		return 0, wrong("the preview's URL is not one")
	}
	if !token.IsZero() {
		req.Header.Set(daytona.PreviewTokenHeader, token.Reveal())
	}
	req.Header.Set("X-Daytona-Skip-Preview-Warning", "true")
	resp, err := e.Web.Do(req)
	if err != nil {
		return 0, fault.New(fault.Unavailable, "the preview's host does not answer: %s", reason(err)).
			WithHint("the network must let this machine reach the hosts below Daytona's preview domain")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return 0, fault.New(fault.Unavailable, "the preview's answer was cut")
	}
	if resp.StatusCode == http.StatusOK && e.word != "" && string(body) != e.word {
		return 0, wrong("the preview shows something else than what the sandbox serves: %q", line(string(body)))
	}
	return resp.StatusCode, nil
}

// reason is why a connection failed, without the host.
func reason(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name cannot be looked up"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("nothing came within %s", webTimeout)
	}
	return "the connection failed"
}
