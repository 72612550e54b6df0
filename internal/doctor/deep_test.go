package doctor_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/doctor"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testbox"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "dtn_canary_0123456789"

// patient is a Daytona that is examined.
type patient struct {
	*testing.T
	server *devstack.Server
	client *daytona.Client
	deep   doctor.Deep
	steps  map[string]doctor.Step
}

// admit starts an embedded Daytona for a test, and a doctor for it.
func admit(t *testing.T, engine devstack.Engine, change ...func(*devstack.Options)) *patient {
	t.Helper()
	opts := devstack.Options{Engine: engine, Key: key, Snapshots: []devstack.Snapshot{{Name: testenv.Image}}}
	for _, c := range change {
		c(&opts)
	}
	p := &patient{T: t, server: testbox.Serve(t, opts), steps: make(map[string]doctor.Step)}
	p.client = p.connect(key)
	p.deep = doctor.Deep{
		Daytona: p.client, Name: doctor.NewName(), StoreID: "store", Snapshot: testenv.Image, Now: time.Now,
		Web:   &http.Client{Transport: p.transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Begin: func(string) {},
		Done: func(s doctor.Step) {
			t.Logf("%s: %s %s %v", s.Name, s.Result, s.Detail, s.Err)
			p.steps[s.Name] = s
		},
	}
	return p
}

func (p *patient) transport() *http.Transport {
	transport := &http.Transport{}
	p.Cleanup(transport.CloseIdleConnections)
	return transport
}

func (p *patient) connect(key string) *daytona.Client {
	p.Helper()
	c, err := daytona.New(daytona.Config{BaseURL: p.server.URL(), Key: secret.New(key), HTTP: &http.Client{Transport: p.transport()}})
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// at does something as a step begins.
func (p *patient) at(step string, do func()) {
	p.deep.Begin = func(name string) {
		if name == step {
			do()
		}
	}
}

// want holds the results of steps, and that nothing is left.
func (p *patient) want(result doctor.Result, steps ...string) {
	p.Helper()
	for _, name := range steps {
		if p.steps[name].Result != result {
			p.Errorf("%s is %q, want %q", name, p.steps[name].Result, result)
		}
	}
	for s, err := range p.client.List(context.WithoutCancel(p.Context()), daytona.Filter{}) {
		if err != nil {
			p.Fatal(err)
		}
		p.Errorf("left behind: %s, %s", s.Name, s.State)
	}
}

// A Daytona that is well passes each step, in order.
func TestDeep(t *testing.T) {
	t.Parallel()
	for name, engine := range map[string]func(*testing.T) devstack.Engine{"process": testbox.Processes, "docker": testbox.Containers} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := admit(t, engine(t))
			var order []string
			done := p.deep.Done
			p.deep.Done = func(s doctor.Step) {
				order = append(order, s.Name)
				done(s)
			}
			if err := p.deep.Run(t.Context()); err != nil {
				t.Error(err)
			}
			if !slices.Equal(order, doctor.Steps()) {
				t.Errorf("steps %q, want %q", order, doctor.Steps())
			}
			p.want(doctor.OK, order...)
		})
	}
}

// A self-hosted Daytona may do without an SSH gateway.
func TestDeepWithoutGateway(t *testing.T) {
	t.Parallel()
	p := admit(t, testbox.Processes(t), func(o *devstack.Options) {
		o.Wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/config" {
					_, _ = io.WriteString(w, `{"version":"v0.190.0"}`)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	if err := p.deep.Run(t.Context()); err != nil {
		t.Error(err)
	}
	p.want(doctor.Skipped, "ssh")
	p.want(doctor.OK, "signed", "stop", "delete")
}

func TestDeepOfWhatIsBroken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		harm    func(*patient)
		kind    fault.Kind
		failed  []string
		skipped []string
		ok      []string
	}{
		{
			name: "the key is wrong", harm: func(p *patient) { p.deep.Daytona = p.connect("dtn_other") },
			kind: fault.Auth, failed: []string{"key", "snapshot", "create"}, skipped: []string{"list", "files", "restore", "delete"}, ok: []string{"server"},
		},
		{
			name: "the key may too little", harm: func(p *patient) { p.server.SetPermissions("delete:sandboxes") },
			kind: fault.Auth, failed: []string{"key", "create"}, skipped: []string{"list", "delete"}, ok: []string{"server", "snapshot"},
		},
		{
			name: "the quota is used up", harm: func(p *patient) { p.server.SetQuota(devstack.Quota{CPU: 1, Memory: 1, Disk: 1}) },
			kind: fault.Quota, failed: []string{"create"}, skipped: []string{"list", "delete"}, ok: []string{"key"},
		},
		{
			name: "the snapshot is missing", harm: func(p *patient) { p.deep.Snapshot = "nowhere:1" },
			kind: fault.NotFound, failed: []string{"snapshot", "create"}, skipped: []string{"list", "delete"}, ok: []string{"key"},
		},
		{
			name: "the sandbox breaks amid it",
			harm: func(p *patient) {
				p.at("session", func() {
					if err := p.server.Break(p.deep.Name, "disk full", false); err != nil {
						p.Error(err)
					}
				})
			},
			kind: fault.Sandbox, failed: []string{"session"}, skipped: []string{"terminal", "preview", "stop", "archive"}, ok: []string{"files", "delete"},
		},
		{
			name: "somebody deletes the sandbox amid it",
			harm: func(p *patient) {
				p.at("git", func() {
					s, err := p.client.Get(p.Context(), p.deep.Name)
					if err == nil {
						err = p.client.Delete(p.Context(), s.ID)
					}
					if err == nil {
						_, err = p.client.Wait(p.Context(), s.ID, daytona.Destroyed)
					}
					if err != nil {
						p.Error(err)
					}
				})
			},
			kind: fault.NotFound, failed: []string{"git"}, skipped: []string{"session", "stop", "start"}, ok: []string{"files", "delete"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := admit(t, testbox.Processes(t))
			tt.harm(p)
			if err := p.deep.Run(t.Context()); fault.KindOf(err) != tt.kind {
				t.Errorf("got %v of kind %s, want %s", err, fault.KindOf(err), tt.kind)
			}
			p.want(doctor.Failed, tt.failed...)
			p.want(doctor.Skipped, tt.skipped...)
			p.want(doctor.OK, tt.ok...)
		})
	}
}

// However an examination ends, its sandbox goes.
func TestDeepCleansUp(t *testing.T) {
	t.Parallel()
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		p := admit(t, testbox.Processes(t))
		ctx, cancel := context.WithCancel(t.Context())
		p.at("terminal", cancel)
		if err := p.deep.Run(ctx); fault.KindOf(err) != fault.Cancelled {
			t.Errorf("got %v", err)
		}
		p.want(doctor.OK, "session", "delete")
		p.want(doctor.Skipped, "terminal")
		p.want("", "preview")
	})
	t.Run("interrupted while the sandbox is made", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		p := admit(t, testbox.Processes(t), func(o *devstack.Options) {
			o.Wrap = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost && r.URL.Path == "/api/sandbox" {
						cancel()
						r = r.WithContext(context.WithoutCancel(r.Context())) // Daytona goes on
					}
					next.ServeHTTP(w, r)
				})
			}
		})
		if err := p.deep.Run(ctx); fault.KindOf(err) != fault.Cancelled {
			t.Errorf("got %v", err)
		}
		p.want(doctor.Skipped, "create")
		p.want(doctor.OK, "delete")
	})
	t.Run("panicking", func(t *testing.T) {
		t.Parallel()
		p := admit(t, testbox.Processes(t))
		p.at("files", func() { panic("a mistake") })
		func() {
			defer func() {
				if got := recover(); got != "a mistake" {
					t.Errorf("recovered %v", got)
				}
			}()
			_ = p.deep.Run(t.Context())
		}()
		p.want(doctor.OK, "delete")
	})
}
