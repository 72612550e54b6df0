package daytona_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// fact is something that was seen on a running platform, as facts.md has it,
// and the case which shows that the embedded Daytona is so and that the client
// copes.
type fact struct {
	name string
	said string // in facts.md, word by word
	with func(*daytona.Options)
	bare bool // nothing has to run: the API alone is asked
	show func(*platform)
}

// platform is a server with both ways to talk to it.
type platform struct {
	*bench
	client *client.Client
}

func (p *platform) ctx() context.Context { return p.Context() }

// made is a started sandbox, as the client made it.
func (p *platform) made() *client.Sandbox {
	p.Helper()
	s, err := p.client.Create(p.ctx(), asked("one"))
	if err != nil {
		p.Fatal(err)
	}
	return s
}

func asked(name string) client.CreateSandbox {
	return client.CreateSandbox{Name: name, Labels: map[string]string{"dayclaude/store": "s"}}
}

// stopped stops a sandbox.
func (p *platform) stopped(id string) {
	p.Helper()
	p.ok(p.client.Stop(p.ctx(), id))
	p.reaches(id, client.Stopped)
}

func (p *platform) started(id string) {
	p.Helper()
	p.ok(p.client.Start(p.ctx(), id))
	p.reaches(id, client.Started)
}

func (p *platform) reaches(id string, state client.State) *client.Sandbox {
	p.Helper()
	s, err := p.client.Wait(p.ctx(), id, state)
	p.ok(err)
	return s
}

func (p *platform) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// kind fails the test unless the client's error is of the kind.
func (p *platform) kind(err error, want fault.Kind, says string) {
	p.Helper()
	if err == nil || fault.KindOf(err) != want || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		p.Errorf("the client says %v (%s), want %s and %q", err, fault.KindOf(err), want, says)
	}
}

var facts = []fact{
	{
		name: "a key's own organization counts",
		said: "With an API key the key's own organization is used and the header is ignored [R]",
		bare: true,
		show: func(p *platform) {
			organization := p.want(p.api("POST", "/sandbox", object{"name": "one"}), 200, "").text("organizationId")
			other := p.want(p.api("GET", "/sandbox/one", nil, "X-Daytona-Organization-ID", "somebody-elses"), 200, "")
			if other.text("organizationId") != organization {
				p.Errorf("organization %s", other.text("organizationId"))
			}
		},
	},
	{
		name: "the server tells its version",
		said: "Server answers with `X-Daytona-Api-Version` [R]",
		bare: true,
		show: func(p *platform) {
			if v := p.api("GET", "/sandbox", nil).header.Get("X-Daytona-Api-Version"); !strings.HasPrefix(v, "v0.190") {
				p.Errorf("version %q", v)
			}
		},
	},
	{
		name: "a missing permission is a 403",
		said: `Missing one: 403 "Access denied" [R]`,
		bare: true,
		show: func(p *platform) {
			s := p.made()
			p.server.SetPermissions("write:sandboxes")
			p.want(p.api("DELETE", "/sandbox/"+s.ID, nil), 403, "Access denied")
			p.kind(p.client.Delete(p.ctx(), s.ID), fault.Auth, "Access denied")
			key, err := p.client.CurrentKey(p.ctx())
			p.ok(err)
			if strings.Join(key.Permissions, " ") != "write:sandboxes" {
				p.Errorf("permissions %q", key.Permissions)
			}
		},
	},
	{
		name: "messages have several lines",
		said: `message is one string (validation messages joined by ", "), may contain newlines [R]`,
		bare: true,
		with: func(o *daytona.Options) { o.Quota.CPU = 1 },
		show: func(p *platform) {
			p.made()
			if r := p.want(p.api("POST", "/sandbox", object{"name": "two"}), 400, ""); !strings.Contains(r.text("message"), "\n") {
				p.Errorf("message %q", r.text("message"))
			}
			_, err := p.client.Create(p.ctx(), asked("two"))
			p.kind(err, fault.Quota, "Total CPU limit exceeded")
		},
	},
	{
		name: "quota is a 400 with words",
		said: "Quota is 400 and not 403 in v0.190: detect by message text, never by status alone",
		bare: true,
		with: func(o *daytona.Options) { o.Quota.Memory = 1 },
		show: func(p *platform) {
			p.made()
			p.want(p.api("POST", "/sandbox", object{"name": "two"}), 400, "Total memory limit exceeded")
			_, err := p.client.Create(p.ctx(), asked("two"))
			p.kind(err, fault.Quota, "Total memory limit exceeded")
			_, err = p.client.Create(p.ctx(), client.CreateSandbox{Name: "three", Labels: map[string]string{"a": "b"}, Snapshot: "none"})
			if fault.KindOf(err) == fault.Quota {
				p.Errorf("another 400 counts as a quota: %v", err)
			}
		},
	},
	{
		name: "refusals by their status",
		said: "400 validation, unknown snapshot on create, wrong state, AND quota",
		bare: true,
		with: func(o *daytona.Options) { o.Delays.Archive = 300 * time.Millisecond },
		show: func(p *platform) {
			s := p.made()
			p.want(p.api("POST", "/sandbox", object{"autoStopInterval": -1}), 400, "")
			p.want(p.api("POST", "/sandbox", object{"snapshot": "none"}), 400, "not found")
			unknown := asked("two")
			unknown.Snapshot = "none"
			_, err := p.client.Create(p.ctx(), unknown)
			p.kind(err, fault.NotFound, "none")
			p.want(p.api("POST", "/sandbox/one/archive", nil), 400, "not stopped")
			p.stopped(s.ID)
			p.want(p.api("POST", "/sandbox/one/stop", nil), 400, "not started")
			p.ok(p.client.Stop(p.ctx(), s.ID)) // it is as was asked
			p.ok(p.client.Archive(p.ctx(), s.ID))
			p.want(p.api("POST", "/sandbox/one/start", nil), 409, "state change in progress")
			p.started(s.ID) // after a while
			p.want(p.api("GET", "/sandbox/none", nil), 404, "")
			_, err = p.client.Get(p.ctx(), "none")
			p.kind(err, fault.NotFound, "none")
			p.server.Suspend("no credits")
			p.want(p.api("POST", "/sandbox", nil), 403, "suspended")
			_, err = p.client.Create(p.ctx(), asked("two"))
			p.kind(err, fault.Quota, "no credits")
		},
	},
	{
		name: "an empty body refuses, too",
		said: "v0.190 sometimes sends an empty body (404 on /files/info) [R]",
		show: func(p *platform) {
			s := p.made()
			if r := p.toolbox("GET", s.ID, "/files/info?path=none", nil); r.status != 404 || len(r.body) > 0 {
				p.Errorf("%d %q", r.status, r.body)
			}
			_, err := p.client.Toolbox(s).Info(p.ctx(), "/none")
			p.kind(err, fault.NotFound, "not found")
		},
	},
	{
		name: "unknown fields are ignored",
		said: "Unknown JSON fields in a request are ignored silently (200) [R]",
		bare: true,
		show: func(p *platform) {
			r := p.want(p.api("POST", "/sandbox", object{"name": "two", "ttlMinutes": 5, "secrets": []object{}}), 200, "")
			for _, field := range []string{"ttlMinutes", "secrets", "autoDestroyAt"} {
				if r.text(field) != "" {
					p.Errorf("%s is there: %s", field, r.body)
				}
			}
			// What was asked for is held against what is there.
			want := asked("one")
			want.AutoStop = new(20)
			s := p.made()
			if missing := s.Ungranted(want); strings.Join(missing, " ") != "autoStopInterval" {
				p.Errorf("not granted: %q", missing)
			}
		},
	},
	{
		name: "answers lack what newer documents require",
		said: "the generated v0.205.1 client refuses v0.190 replies because required fields are missing",
		bare: true,
		show: func(p *platform) {
			s := p.made()
			for listed, err := range p.client.List(p.ctx(), client.Filter{Labels: s.Labels}) {
				p.ok(err)
				if listed.ID != s.ID || listed.State != client.Started {
					p.Errorf("listed %+v", listed)
				}
			}
			if r := p.api("GET", "/sandbox", nil); strings.Contains(string(r.body), `"env"`) {
				p.Errorf("a list item has an environment: %s", r.body)
			}
		},
	},
	{
		name: "rate limits have suffixed headers",
		said: "No plain Retry-After on ordinary 429: look up every `Retry-After*`",
		bare: true,
		with: func(o *daytona.Options) { o.RateLimit.Create = 1 },
		show: func(p *platform) {
			p.made()
			r := p.want(p.api("POST", "/sandbox", object{"name": "two"}), 429, "Too Many Requests")
			if r.header.Get("Retry-After") != "" || r.header.Get("Retry-After-sandbox-create") == "" ||
				r.header.Get("X-RateLimit-Limit-sandbox-create") != "1" || r.header.Get("X-RateLimit-Reset-authenticated") == "" {
				p.Errorf("headers %v", r.header)
			}
			ctx, cancel := context.WithTimeout(p.ctx(), 200*time.Millisecond)
			defer cancel()
			_, err := p.client.Create(ctx, asked("two")) // it waits, for as long as it may
			e, ok := errors.AsType[*client.Error](err)
			if !ok || e.Status != 429 || e.RetryAfter < time.Second || !errors.Is(err, context.DeadlineExceeded) {
				p.Errorf("the client says %v", err)
			}
		},
	},
	{
		name: "wrong keys become a 429",
		said: "Repeated 401s turn into 429 [R]",
		bare: true,
		with: func(o *daytona.Options) { o.RateLimit.FailedAuth = 3 },
		show: func(p *platform) {
			wrong := newClient(p.bench, "dtn_wrong")
			for range 2 {
				_, err := wrong.Get(p.ctx(), "one")
				p.kind(err, fault.Auth, "refused the API key")
			}
			r := p.want(p.send("GET", p.server.URL()+"/sandbox/one", nil), 429, "Too Many Requests")
			if r.header.Get("Retry-After") == "" || r.header.Get("Retry-After-failed-auth") == "" {
				p.Errorf("headers %v", r.header)
			}
			p.want(p.api("GET", "/sandbox", nil), 429, "") // the right key, too: it is the address that is barred
		},
	},
	{
		name: "array parameters are repeated",
		said: "Repeat array query keys (states=a&states=b) [R]",
		bare: true,
		show: func(p *platform) {
			s := p.made()
			p.stopped(s.ID)
			p.want(p.api("GET", "/sandbox?states=started&states=stopped", nil), 200, s.ID)
			if r := p.api("GET", "/sandbox?states=started&states=archived", nil); strings.Contains(string(r.body), s.ID) {
				p.Errorf("%s", r.body)
			}
			for _, states := range [][]client.State{{client.Started, client.Stopped}, {client.Started, client.Archived}} {
				found := 0
				for _, err := range p.client.List(p.ctx(), client.Filter{States: states}) {
					p.ok(err)
					found++
				}
				if want := map[client.State]int{client.Stopped: 1, client.Archived: 0}[states[1]]; found != want {
					p.Errorf("%d in %v", found, states)
				}
			}
		},
	},
	{
		name: "label filter and cursor work",
		said: "label filter and cursor work [R]",
		bare: true,
		show: func(p *platform) {
			const all = 205 // the largest page has 200
			for range all {
				p.want(p.api("POST", "/sandbox", object{"labels": object{"a": "b"}}), 200, "")
			}
			p.want(p.api("POST", "/sandbox", object{"labels": object{"a": "c"}}), 200, "")
			seen := map[string]bool{}
			for s, err := range p.client.List(p.ctx(), client.Filter{Labels: map[string]string{"a": "b"}}) {
				p.ok(err)
				seen[s.ID] = true
			}
			if len(seen) != all {
				p.Errorf("%d of %d", len(seen), all)
			}
		},
	},
	{
		name: "defaults",
		said: `Defaults [R]: autoStop 15, autoArchive 10080 (7 d), autoDelete -1, cpu 1, memory 1, disk 3, user "daytona"`,
		bare: true,
		show: func(p *platform) {
			s := p.made()
			if *s.AutoStop != 15 || *s.AutoArchive != 10080 || *s.AutoDelete != -1 || s.CPU != 1 || s.Memory != 1 || s.Disk != 3 || s.User != "daytona" {
				p.Errorf("%+v", s)
			}
		},
	},
	{
		name: "zero as an interval",
		said: "autoStop 0 = never. autoArchive 0 = server maximum (43200 = 30 d). autoDelete 0 = ephemeral: stop destroys it, archive refused",
		bare: true,
		show: func(p *platform) {
			lasting, fleeting := asked("lasting"), asked("fleeting")
			lasting.AutoStop, lasting.AutoArchive = new(0), new(0)
			fleeting.AutoDelete = new(0)
			s, err := p.client.Create(p.ctx(), lasting)
			p.ok(err)
			if *s.AutoArchive != 43200 || s.Ungranted(lasting) != nil {
				p.Errorf("archived after %d minutes, not granted: %v", *s.AutoArchive, s.Ungranted(lasting))
			}
			f, err := p.client.Create(p.ctx(), fleeting)
			p.ok(err)
			p.want(p.api("POST", "/sandbox/"+f.ID+"/archive", nil), 400, "")
			p.clock.advance(365 * 24 * time.Hour)
			p.reaches(f.ID, client.Destroyed) // stopped as idle
			if got := p.reaches(s.ID, client.Started); got.State != client.Started {
				p.Errorf("after a year it is %s", got.State)
			}
		},
	},
	{
		name: "create answers creating and holds the request",
		said: `for a snapshot the server holds the request up to 30 s until started, yet returns the record as it was at creation (state "creating"): always poll`,
		bare: true,
		with: func(o *daytona.Options) { o.Delays.Pull = 300 * time.Millisecond },
		show: func(p *platform) {
			p.want(p.api("POST", "/sandbox", object{"name": "two"}), 200, `"state":"creating"`)
			p.want(p.api("GET", "/sandbox/two", nil), 200, `"state":"started"`)
			if s := p.made(); s.State != client.Started {
				p.Errorf("made %s", s.State)
			}
		},
	},
	{
		name: "create answers before the sandbox runs",
		said: "for a snapshot the server holds the request up to 30 s until started",
		bare: true,
		with: func(o *daytona.Options) { o.Delays.Pull, o.Delays.Hold = 2*time.Second, 50*time.Millisecond },
		show: func(p *platform) {
			p.want(p.api("POST", "/sandbox", object{"name": "two"}), 200, `"state":"creating"`)
			p.want(p.api("GET", "/sandbox/two", nil), 200, `"state":"pulling_snapshot"`)
			if s := p.made(); s.State != client.Started {
				p.Errorf("made %s", s.State)
			}
		},
	},
	{
		name: "a failed start leaves an errored sandbox",
		said: `A failed start gives 400 "Sandbox failed to start: ..." and LEAVES a sandbox in state error: delete it by name`,
		bare: true,
		with: func(o *daytona.Options) { o.Engine = broken{o.Engine} },
		show: func(p *platform) {
			p.want(p.api("POST", "/sandbox", object{"name": "two"}), 400, "Sandbox failed to start: out of luck")
			left := p.want(p.api("GET", "/sandbox/two", nil), 200, `"state":"error"`).text("id")
			_, err := p.client.Create(p.ctx(), client.CreateSandbox{Name: "two", Labels: map[string]string{"a": "b"}})
			p.kind(err, fault.Conflict, "another host") // not with our labels: not ours to delete
			p.want(p.api("DELETE", "/sandbox/"+left, nil), 200, "")
			_, err = p.client.Create(p.ctx(), asked("two"))
			p.kind(err, fault.Sandbox, "out of luck")
		},
	},
	{
		name: "names are free again right after delete",
		said: "Duplicate name: 409; names are free again right after delete",
		show: func(p *platform) {
			first := p.made()
			p.want(p.api("POST", "/sandbox", object{"name": "one"}), 409, "already exists")
			p.ok(p.client.Delete(p.ctx(), first.ID))
			if second := p.made(); second.ID == first.ID {
				p.Error("the deleted sandbox came back")
			}
			gone := p.reaches(first.ID, client.Destroyed)
			if !strings.HasPrefix(gone.Name, "DESTROYED_one_") {
				p.Errorf("the destroyed one is called %q", gone.Name)
			}
			p.ok(p.client.Delete(p.ctx(), first.ID)) // once more does nothing
		},
	},
	{
		name: "archiving takes its time, files survive",
		said: "Archive took 15 s (backup runs on a timer), restore 1 s; files survive, processes do not [R]",
		with: func(o *daytona.Options) {
			o.Delays.Archive, o.Delays.Restore = 500*time.Millisecond, 100*time.Millisecond
		},
		show: func(p *platform) {
			s := p.made()
			p.want(p.upload(s.ID, "kept", []byte("content")), 200, "")
			p.ok(p.client.Toolbox(s).Spawn(p.ctx(), "s", "sleep 1009"))
			p.stopped(s.ID)
			p.ok(p.client.Archive(p.ctx(), s.ID))
			p.want(p.api("GET", "/sandbox/"+s.ID, nil), 200, `"state":"archiving"`)
			p.want(p.api("POST", "/sandbox/"+s.ID+"/stop", nil), 409, "state change in progress")
			p.reaches(s.ID, client.Archived)
			p.started(s.ID)
			if _, out := p.run(s.ID, "cat kept; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 100[9]'"); out != "content0\n" {
				p.Errorf("afterwards: %q", out)
			}
		},
	},
	{
		name: "the preview admits by key and token, and redirects the rest",
		said: "No valid one: 307 to the login page (not 401): disable redirects and treat 307 as unauthorised",
		show: func(p *platform) {
			s := p.made()
			p.serveEcho(s.ID)
			preview, err := p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			token := preview.Token.Reveal()
			p.want(p.send("GET", preview.URL+"/headers", nil), 307, "")
			p.want(p.send("GET", preview.URL+"/headers", nil, previewToken, token), 200, "")
			p.want(p.send("GET", preview.URL+"/headers?DAYTONA_SANDBOX_AUTH_KEY="+token, nil), 200, "")
			seen := p.want(p.send("GET", preview.URL+"/headers", nil, "Authorization", "Bearer "+p.server.Key()), 200, "")
			if strings.Contains(string(seen.body), p.server.Key()) {
				p.Error("the application saw the key")
			}
		},
	},
	{
		name: "an application's own bearer passes beside the token",
		said: "An invalid Bearer together with a good preview token passes, and the Bearer reaches the app",
		show: func(p *platform) {
			s := p.made()
			p.serveEcho(s.ID)
			url, token := p.preview(s.ID, 8080)
			p.want(p.send("GET", url+"/headers", nil, "Authorization", "Bearer the-apps-own", previewToken, token), 200, "Bearer the-apps-own")
			p.want(p.send("GET", url+"/headers", nil, "Authorization", "Bearer the-apps-own"), 307, "")
		},
	},
	{
		name: "the preview token changes at every start",
		said: "Standard token changes at every start; fetch again after each start. The old one kept working up to ~2 min (proxy cache). The preview-url reply is cached 1 s server-side: a read at once after start may be stale",
		show: func(p *platform) {
			s := p.made()
			p.serveEcho(s.ID)
			before, err := p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			p.want(p.send("GET", before.URL+"/headers", nil, previewToken, before.Token.Reveal()), 200, "")
			p.stopped(s.ID)
			p.clock.advance(2 * time.Second)
			_, err = p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			p.started(s.ID)
			stale, err := p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			p.clock.advance(2 * time.Second)
			fresh, err := p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			if stale.Token.Reveal() != before.Token.Reveal() || fresh.Token.Reveal() == before.Token.Reveal() {
				p.Error("at once after the start the old token is told, and a second later the new one: not so")
			}
			p.startEcho(s.ID)
			p.want(p.send("GET", before.URL+"/headers", nil, previewToken, before.Token.Reveal()), 200, "")
			p.clock.advance(2 * time.Minute)
			p.want(p.send("GET", before.URL+"/headers", nil, previewToken, before.Token.Reveal()), 307, "")
			fresh, err = p.client.Preview(p.ctx(), s.ID, 8080)
			p.ok(err)
			p.want(p.send("GET", fresh.URL+"/headers", nil, previewToken, fresh.Token.Reveal()), 200, "")
		},
	},
	{
		name: "an expired signed preview is a 307, a stopped sandbox a 400, an empty port a 502",
		said: `Expired signed: 307. Stopped sandbox: 400 "...Is the Sandbox started?". Nothing on the port: 502`,
		show: func(p *platform) {
			s := p.made()
			signed, err := p.client.SignedPreview(p.ctx(), s.ID, 1, time.Minute) // nothing listens on 1
			p.ok(err)
			url, token := p.preview(s.ID, 1)
			p.want(p.send("GET", signed.URL.Reveal(), nil), 502, "")
			p.want(p.send("GET", url, nil, previewToken, token), 502, "")
			p.stopped(s.ID)
			p.want(p.send("GET", url, nil, previewToken, token), 400, "Is the Sandbox started?")
			p.clock.advance(2 * time.Minute)
			p.want(p.send("GET", signed.URL.Reveal(), nil), 307, "")
		},
	},
	{
		name: "requests that are not to count, and private ports",
		said: "WebSockets pass. Ports 22222 (terminal), 2280 (toolbox), 33333 are always private",
		bare: true,
		show: func(p *platform) {
			id := p.create(object{"public": true})
			for port, status := range map[int]int{8080: 502, 2280: 307, 22222: 307, 33333: 307} {
				url, _ := p.preview(id, port)
				before := p.api("GET", "/sandbox/"+id, nil).text("lastActivityAt")
				p.want(p.send("GET", url, nil, "X-Daytona-Skip-Last-Activity-Update", "true"), status, "")
				if p.api("GET", "/sandbox/"+id, nil).text("lastActivityAt") != before {
					p.Errorf("port %d: it counted", port)
				}
			}
		},
	},
	{
		name: "a command that reads stdin swallows the rest",
		said: "a command that reads stdin eats the rest of the script (bash, [R])",
		show: func(p *platform) {
			s := p.made()
			if _, out := p.run(s.ID, "cat >/dev/null\necho swallowed"); out != "" {
				p.Errorf("the line after it ran: %q", out)
			}
			result, err := p.client.Toolbox(s).Execute(p.ctx(), client.Command{Line: "cat >/dev/null\necho kept"})
			if p.ok(err); result.Output != "kept\n" {
				p.Errorf("%+v", result)
			}
		},
	},
	{
		name: "exit kills a session",
		said: "`exit N` kills the session, the exit code is never recorded, later exec fails 500 broken pipe [R]: wrap as `( ... )`",
		show: func(p *platform) {
			s := p.made()
			p.want(p.toolbox("POST", s.ID, "/process/session", object{"sessionId": "raw"}), 201, "")
			exec := func(line string) reply {
				return p.toolbox("POST", s.ID, "/process/session/raw/exec", object{"command": line, "runAsync": true})
			}
			last := p.want(exec("exit 3"), 202, "").text("cmdId")
			p.eventually("a broken pipe", func() bool { return exec("true").status == 500 })
			p.want(exec("true"), 500, "broken pipe")
			if code := p.toolbox("GET", s.ID, "/process/session/raw/command/"+last, nil).text("exitCode"); code != "" {
				p.Errorf("exit code %s", code)
			}

			session, err := p.client.Toolbox(s).OpenSession(p.ctx(), "wrapped")
			p.ok(err)
			for _, code := range []int{3, 0} {
				id, err := session.Start(p.ctx(), "exit "+string(rune('0'+code)))
				p.ok(err)
				p.eventually("the exit code", func() bool {
					got, ended, err := session.ExitCode(p.ctx(), id)
					p.ok(err)
					return ended && got == code
				})
			}
		},
	},
	{
		name: "logs are JSON for those who know streams",
		said: `JSON {output,stdout,stderr} only with X-Daytona-SDK-Version >= 0.167 (or "dev"), otherwise plain text [P,R]`,
		show: func(p *platform) {
			s := p.made()
			p.want(p.toolbox("POST", s.ID, "/process/session", object{"sessionId": "s"}), 201, "")
			id := p.want(p.toolbox("POST", s.ID, "/process/session/s/exec", object{"command": "echo out; echo err >&2"}), 200, "").text("cmdId")
			path := "/process/session/s/command/" + id + "/logs"
			p.want(p.toolbox("GET", s.ID, path, nil, "X-Daytona-SDK-Version", "0.167.0"), 200, `"stderr":"err\n"`)
			plain := p.want(p.toolbox("GET", s.ID, path, nil, "X-Daytona-SDK-Version", "0.166.0"), 200, "out\n")
			if strings.HasPrefix(plain.header.Get("Content-Type"), "application/json") {
				p.Errorf("%s", plain.body)
			}
		},
	},
	{
		name: "a log that is followed over plain HTTP does not end",
		said: "Plain HTTP follow worked but did not end [R]",
		show: func(p *platform) {
			s := p.made()
			session, err := p.client.Toolbox(s).OpenSession(p.ctx(), "s")
			p.ok(err)
			id, err := session.Start(p.ctx(), "echo out; echo err >&2")
			p.ok(err)
			var out, errs strings.Builder
			p.ok(session.Follow(p.ctx(), id, &out, &errs)) // by WebSocket, which does
			if out.String() != "out\n" || errs.String() != "err\n" {
				p.Errorf("followed %q and %q", out.String(), errs.String())
			}
			ctx, cancel := context.WithTimeout(p.ctx(), 200*time.Millisecond)
			defer cancel()
			url := strings.TrimSuffix(p.server.URL(), "/api") + "/toolbox/" + s.ID + "/process/session/s/command/" + id + "/logs?follow=true"
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			p.ok(err)
			request.Header.Set("Authorization", "Bearer "+p.server.Key())
			response, err := p.http.Do(request)
			p.ok(err)
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); !errors.Is(err, context.DeadlineExceeded) {
				p.Errorf("the stream ended: %v", err)
			}
		},
	},
	{
		name: "an upload makes the directories",
		said: "multipart fields files[0].path, files[0].file (creates parent directories [R])",
		show: func(p *platform) {
			s := p.made()
			tools := p.client.Toolbox(s)
			home, err := tools.HomeDir(p.ctx())
			p.ok(err)
			p.ok(tools.Upload(p.ctx(), client.File{Path: home + "/a/b/c", Content: []byte("x")}))
			if _, out := p.run(s.ID, "cat a/b/c"); out != "x" {
				p.Errorf("it holds %q", out)
			}
		},
	},
	{
		name: "the entrypoint runs at each start, and its end is its own",
		said: `Started in the background in session "entrypoint"; its death does not stop the sandbox; it runs again at every start`,
		with: func(o *daytona.Options) {
			o.Snapshots = []daytona.Snapshot{{Name: "dev", Image: image, Entrypoint: []string{"sh", "-c", `echo begun; echo start >>"$HOME/starts"; exit 7`}}}
		},
		show: func(p *platform) {
			s := p.made()
			for starts := 1; starts <= 2; starts++ {
				p.eventually("the entrypoint's end", func() bool {
					return strings.Contains(string(p.toolbox("GET", s.ID, "/process/session/entrypoint", nil).body), `"exitCode":7`)
				})
				if _, out := p.run(s.ID, "cat $HOME/starts"); out != strings.Repeat("start\n", starts) {
					p.Errorf("after %d starts: %q", starts, out)
				}
				var log strings.Builder
				p.ok(p.client.Toolbox(s).EntrypointLogs(p.ctx(), false, &log, &log))
				if log.String() != "begun\n" {
					p.Errorf("its log: %q", log.String())
				}
				p.stopped(s.ID)
				p.started(s.ID)
			}
		},
	},
	{
		name: "the environment is told in clear",
		said: "`env` given at create is returned in clear by GET /sandbox/{id}: never put keys there",
		show: func(p *platform) {
			id := p.create(object{"env": object{"COLOUR": "blue"}})
			p.want(p.api("GET", "/sandbox/"+id, nil), 200, `"COLOUR":"blue"`)
			if _, out := p.run(id, "echo $COLOUR $DAYTONA_SANDBOX_ID $DAYTONA_SANDBOX_SNAPSHOT"); out != "blue "+id+" dev\n" {
				p.Errorf("in the sandbox: %q", out)
			}
		},
	},
	{
		name: "snapshots are deleted by id alone",
		said: "by UUID ONLY (a name gives 400 on DELETE, 500 on build-logs-url) [R]: resolve the name first",
		bare: true,
		show: func(p *platform) {
			made, err := p.client.CreateSnapshot(p.ctx(), client.CreateSnapshot{Name: "mine:1", ImageName: "mine:1"})
			p.ok(err)
			p.want(p.api("DELETE", "/snapshots/mine:1", nil), 400, "")
			p.want(p.api("GET", "/snapshots/mine:1/build-logs-url", nil), 500, "")
			p.ok(p.client.Ready(p.ctx(), "mine:1"))
			p.ok(p.client.DeleteSnapshot(p.ctx(), made.ID))
		},
	},
	{
		name: "a snapshot's end is asynchronous",
		said: "Delete is asynchronous (removing, then 404 in seconds)",
		bare: true,
		show: func(p *platform) {
			made, err := p.client.CreateSnapshot(p.ctx(), client.CreateSnapshot{Name: "mine:1", ImageName: "mine:1"})
			p.ok(err)
			p.ok(p.client.Ready(p.ctx(), "mine:1"))
			p.ok(p.client.DeleteSnapshot(p.ctx(), made.ID))
			p.eventually("its end", func() bool {
				s, err := p.client.Snapshot(p.ctx(), made.ID)
				if err == nil && s.State != client.SnapshotRemoving {
					p.Fatalf("it is %s", s.State)
				}
				return fault.KindOf(err) == fault.NotFound
			})
		},
	},
}

// unused are the facts that touch nothing here, by how they begin, with why.
var unused = map[string]string{
	"[R] = seen on a running":                                "says what the mark means",
	"Waiting: SDK polls GET every 100 ms":                    "the event socket: the client polls, as the platform's own command line does",
	"- Self-hosted runner creates privileged containers":     "a runner's inside",
	"- Needs in the image: sh, env, mkfifo":                  "what an image must hold: the images' tests",
	"- Dockerfile builds: the API finds ENTRYPOINT":          "nothing builds from a Dockerfile yet",
	"  The builder puts dockerfileContent as ./Dockerfile":   "nothing builds from a Dockerfile yet",
	"- States: building pending pulling snapshotting(0.205)": "its build errors: nothing builds from a Dockerfile yet",
	"- Sandbox to snapshot: POST":                            "never called",
	"- Already in 0.190: cursor listing":                     "its mark is on pausing a container, which is never called",
}

func TestFacts(t *testing.T) {
	for _, f := range facts {
		t.Run(f.name, func(t *testing.T) {
			show := func(t *testing.T, engine daytona.Engine) {
				options := daytona.Options{Engine: engine}
				if f.with != nil {
					f.with(&options)
				}
				b := serve(t, options)
				f.show(&platform{b, newClient(b, b.server.Key())})
			}
			if f.bare {
				t.Parallel()
				show(t, hollow())
				return
			}
			each(t, func(t *testing.T, engine func(*testing.T, string) daytona.Engine) { show(t, engine(t, place(t))) })
		})
	}
}

func newClient(b *bench, key string) *client.Client {
	b.Helper()
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{BaseURL: b.server.URL(), Key: secret.New(key), HTTP: &http.Client{Transport: transport}})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// Each paragraph of facts.md that is marked as seen has its case, and each
// case its words there.
func TestFactsAreAllThere(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("DAYCLAUDE_OPENAPI")
	if dir == "" {
		testenv.Missing(t, "DAYCLAUDE_OPENAPI names no folder with facts.md")
	}
	content, err := os.ReadFile(filepath.Join(dir, "facts.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range facts {
		if !strings.Contains(string(content), f.said) {
			t.Errorf("%s: facts.md does not say %q", f.name, f.said)
		}
	}
	seen, heading := regexp.MustCompile(`\[([PSD],)?R\]`), false
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "## ") {
			heading = seen.MatchString(line)
			continue
		}
		if !heading && !seen.MatchString(line) || strings.TrimSpace(line) == "" {
			continue
		}
		shown := false
		for _, f := range facts {
			shown = shown || strings.Contains(line, f.said)
		}
		for begins := range unused {
			shown = shown || strings.HasPrefix(line, begins)
		}
		if !shown {
			t.Errorf("no case shows: %s", line)
		}
	}
	for begins, why := range unused {
		if !strings.Contains(string(content), "\n"+begins) || why == "" {
			t.Errorf("facts.md does not say %q", begins)
		}
	}
}
