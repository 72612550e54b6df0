package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	client "github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/run"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/store"
)

// records is an engine of the embedded Daytona whose sandboxes are records
// that the server keeps, and run nothing.
type records struct{}

func (records) Isolates() bool                                  { return true }
func (records) Notice() string                                  { return "" }
func (records) Load(context.Context) ([]daytona.Saved, error)   { return nil, nil }
func (records) Create(context.Context, daytona.Spec) error      { return nil }
func (records) Save(context.Context, string, []byte) error      { return nil }
func (records) Start(context.Context, string) ([]string, error) { return nil, nil }
func (records) Stop(context.Context, string) error              { return nil }
func (records) Remove(context.Context, string) error            { return nil }
func (records) Block(context.Context, string, bool) error       { return nil }
func (records) Exec(context.Context, string, daytona.Command) (int, error) {
	return 0, daytona.ErrStopped
}
func (records) Dial(context.Context, string, int) (net.Conn, error) { return nil, daytona.ErrStopped }
func (records) Close() error                                        { return nil }

// fleet is a Daytona with many sandboxes, and the store of the machine that
// made them. Of each four one is an orphan, one broke, one was replaced, and
// one runs for nobody. Nothing happened in any for an hour.
type fleet struct {
	dir    string
	server *daytona.Server
	client *client.Client
	ids    []string
}

// newFleet makes one of n sandboxes, whose Daytona takes its time with every
// request, as a network does.
func newFleet(ctx context.Context, n int, latency time.Duration) (_ *fleet, err error) {
	f := &fleet{ids: make([]string, n)}
	var slow atomic.Bool
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if slow.Load() {
				time.Sleep(latency)
			}
			next.ServeHTTP(w, r)
		})
	}
	if f.dir, err = os.MkdirTemp("", "dayclaude-bench-"); err != nil {
		return nil, err
	}
	f.server, err = daytona.New(daytona.Options{
		Engine: records{}, Snapshots: []daytona.Snapshot{{Name: image, CPU: 2, Memory: 4, Disk: 10}},
		RateLimit: daytona.RateLimit{General: 1 << 30, Create: 1 << 30}, // it is filled in a moment
		Now:       func() time.Time { return time.Now().Add(-time.Hour) },
		Wrap:      wrap,
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(f.dir))
	}
	if err = f.server.Start(ctx); err == nil {
		err = f.fill(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.close(context.WithoutCancel(ctx)))
	}
	slow.Store(true)
	return f, nil
}

func (f *fleet) close(ctx context.Context) error {
	return errors.Join(f.server.Close(ctx), os.RemoveAll(f.dir))
}

func (f *fleet) fill(ctx context.Context) (err error) {
	if f.client, err = client.New(client.Config{BaseURL: f.server.URL(), Key: secret.New(f.server.Key())}); err != nil {
		return err
	}
	db, err := store.Open(ctx, filepath.Join(f.dir, "dayclaude"), time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var work errgroup.Group
	work.SetLimit(8)
	for i := range f.ids {
		work.Go(func() error { return f.add(ctx, db, i) })
	}
	return work.Wait()
}

// add makes a sandbox, and the finished run that it is of unless it is an
// orphan.
func (f *fleet) add(ctx context.Context, db *store.Store, i int) error {
	t := &run.Thread{
		ID: run.NewID("t"), RepositoryID: 1, Generation: 1, SessionID: rand.Text(),
		Ref: run.Ref{Owner: "demo", Repo: "shop", Number: i + 1},
	}
	name := run.SandboxName(t.RepositoryID, t.Ref.Number, t.Generation)
	sb, err := f.client.Create(ctx, client.CreateSandbox{
		Name: name, Labels: map[string]string{run.LabelStore: db.ID(), run.LabelThread: t.ID},
	})
	if err != nil {
		return err
	}
	f.ids[i] = sb.ID
	kind := i % 4
	if kind == 0 {
		return nil
	}
	if t.SandboxID = sb.ID; kind == 2 {
		t.SandboxID = "another"
	}
	if err := finished(ctx, db, t); err != nil || kind != 1 {
		return err
	}
	if err := f.server.Break(sb.ID, "no space left on device", false); err != nil {
		return err
	}
	if sb, err = f.client.Get(ctx, sb.ID); err == nil && sb.State != client.Errored {
		_, err = f.client.Wait(ctx, sb.ID, client.Errored)
	}
	return err
}

// finished stores a thread with a run that has ended.
func finished(ctx context.Context, db *store.Store, t *run.Thread) error {
	if err := db.CreateThread(ctx, t); err != nil {
		return err
	}
	lease, err := db.Acquire(ctx, t.ID, "bench", time.Minute, func(string) bool { return false })
	if err != nil {
		return err
	}
	r := &run.Run{ID: run.NewID("r"), ThreadID: t.ID, Options: run.Options{Snapshot: image, Model: model}}
	if err := db.CreateRun(ctx, lease, r); err != nil {
		return err
	}
	for _, next := range []run.State{run.Reporting, run.Settling, run.Done} {
		if err := db.Advance(ctx, lease, r, next); err != nil {
			return err
		}
	}
	return db.Release(ctx, lease)
}

// env is the environment of a command on the machine that the fleet is of.
func (f *fleet) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + f.dir, "XDG_STATE_HOME=" + f.dir,
		"DAYTONA_API_URL=" + f.server.URL(), "DAYTONA_API_KEY=" + f.server.Key(),
	}
}

// ask sends a plain request, as a script would.
func (f *fleet) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, f.server.URL()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+f.server.Key())
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("%s %s: %s", method, path, resp.Status), resp.Body.Close())
	}
	return resp, err
}
