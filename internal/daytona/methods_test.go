package daytona_test

import (
	"context"
	"io"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
)

// method is an exported method that sends something. Those that return an
// iterator or a reader are used to the end.
type method struct {
	name string // as "Client.Get"

	once    bool // it is not repeated when it is unclear what happened
	hurried bool // it is not repeated at all
	empty   bool // it needs nothing of the bodies of good answers
	stream  bool // what it returns is read as it comes: a cut is the caller's
	socket  bool // it opens a WebSocket, which no other answer can be
	fine    int  // the status that tells that there is nothing to do

	// arrange prepares what the method needs, with the world's client, and
	// returns a call of it.
	arrange func(*world) func(context.Context) error
}

// methods are all methods of the package that send something.
func methods() []method {
	return slices.Concat(clientMethods(), toolboxMethods())
}

func clientMethods() []method {
	return []method{
		{name: "Client.Create", arrange: func(w *world) func(context.Context) error {
			asked := w.asked()
			return func(ctx context.Context) error { return second(w.client.Create(ctx, asked)) }
		}},
		{name: "Client.Get", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.Get(ctx, id))
		})},
		{name: "Client.List", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, _ string) error {
			return drain(c.List(ctx, daytona.Filter{Labels: ours, States: []daytona.State{daytona.Started, daytona.Stopped}, Name: "dayclaude-"}))
		})},
		{name: "Client.Start", empty: true, arrange: withSandbox(daytona.Stopped, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.Start(ctx, id)
		})},
		{name: "Client.Stop", empty: true, arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.Stop(ctx, id)
		})},
		{name: "Client.Archive", empty: true, arrange: withSandbox(daytona.Stopped, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.Archive(ctx, id)
		})},
		{name: "Client.Delete", empty: true, fine: 404, arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.Delete(ctx, id)
		})},
		{name: "Client.Recover", arrange: withSandbox(daytona.Errored, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.Recover(ctx, id))
		})},
		{name: "Client.Wait", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.Wait(ctx, id, daytona.Started))
		})},
		{name: "Client.Touch", hurried: true, empty: true, arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.Touch(ctx, id)
		})},
		{name: "Client.SetLabels", empty: true, arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.SetLabels(ctx, id, ours)
		})},
		{name: "Client.SetIntervals", empty: true, arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return c.SetIntervals(ctx, id, daytona.Intervals{AutoStop: new(20), AutoArchive: new(60), AutoDelete: new(-1)})
		})},
		{name: "Client.SetNetwork", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.SetNetwork(ctx, id, daytona.Network{Domains: daytona.Domains{"*.npmjs.org", "pypi.org"}}))
		})},
		{name: "Client.Preview", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.Preview(ctx, id, 8080))
		})},
		{name: "Client.SignedPreview", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.SignedPreview(ctx, id, 8080, time.Minute))
		})},
		{name: "Client.SSHAccess", arrange: withSandbox(daytona.Started, func(ctx context.Context, c *daytona.Client, id string) error {
			return second(c.SSHAccess(ctx, id, time.Hour))
		})},
		{name: "Client.RevokeSSHAccess", empty: true, arrange: func(w *world) func(context.Context) error {
			id := w.sandbox(daytona.Started).ID
			access, err := w.client.SSHAccess(w.Context(), id, time.Hour)
			if err != nil {
				w.Fatal(err)
			}
			return func(ctx context.Context) error { return w.client.RevokeSSHAccess(ctx, id, access.Token) }
		}},
		{name: "Client.Snapshots", arrange: withClient(func(ctx context.Context, c *daytona.Client) error { return drain(c.Snapshots(ctx)) })},
		{name: "Client.Snapshot", arrange: withClient(func(ctx context.Context, c *daytona.Client) error {
			return second(c.Snapshot(ctx, snapshot))
		})},
		{name: "Client.Ready", arrange: func(w *world) func(context.Context) error {
			name := w.snapshot(daytona.CreateSnapshot{ImageName: "debian:12"})
			if err := w.server.SetSnapshot(name, string(daytona.SnapshotInactive), ""); err != nil {
				w.Fatal(err)
			}
			return func(ctx context.Context) error { return w.client.Ready(ctx, name) }
		}},
		{name: "Client.CreateSnapshot", arrange: func(w *world) func(context.Context) error {
			asked := daytona.CreateSnapshot{Name: w.name(), ImageName: "debian:12", CPU: 1, Memory: 2, Disk: 3, Entrypoint: []string{"sleep", "infinity"}}
			return func(ctx context.Context) error { return second(w.client.CreateSnapshot(ctx, asked)) }
		}},
		{name: "Client.DeleteSnapshot", arrange: func(w *world) func(context.Context) error {
			name := w.snapshot(daytona.CreateSnapshot{ImageName: "debian:12"})
			return func(ctx context.Context) error { return w.client.DeleteSnapshot(ctx, name) }
		}},
		{name: "Client.SnapshotLogs", arrange: func(w *world) func(context.Context) error {
			name := w.snapshot(daytona.CreateSnapshot{Build: &daytona.Build{Dockerfile: "FROM debian:12\nENTRYPOINT [\"sleep\", \"infinity\"]\n"}})
			return func(ctx context.Context) error { return readAll(w.client.SnapshotLogs(ctx, name)) }
		}},
		{name: "Client.RegistryPushAccess", arrange: withClient(func(ctx context.Context, c *daytona.Client) error {
			return second(c.RegistryPushAccess(ctx))
		})},
		{name: "Client.ObjectStorageAccess", arrange: withClient(func(ctx context.Context, c *daytona.Client) error {
			return second(c.ObjectStorageAccess(ctx))
		})},
		{name: "Client.CurrentKey", arrange: withClient(func(ctx context.Context, c *daytona.Client) error { return second(c.CurrentKey(ctx)) })},
		{name: "Client.Config", arrange: withClient(func(ctx context.Context, c *daytona.Client) error { return second(c.Config(ctx)) })},
	}
}

// withClient needs nothing to be there.
func withClient(call func(context.Context, *daytona.Client) error) func(*world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		return func(ctx context.Context) error { return call(ctx, w.client) }
	}
}

// withSandbox needs a sandbox in a state.
func withSandbox(state daytona.State, call func(context.Context, *daytona.Client, string) error) func(*world) func(context.Context) error {
	return func(w *world) func(context.Context) error {
		id := w.sandbox(state).ID
		return func(ctx context.Context) error { return call(ctx, w.client, id) }
	}
}

// snapshot makes one and returns its name.
func (w *world) snapshot(asked daytona.CreateSnapshot) string {
	w.Helper()
	asked.Name = w.name()
	s, err := w.client.CreateSnapshot(w.Context(), asked)
	if err != nil {
		w.Fatal(err)
	}
	return s.Name
}

func second[T any](_ T, err error) error { return err }

func drain[T any](all iter.Seq2[T, error]) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func readAll(r io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// No method is forgotten.
func TestMethodsAreAll(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, m := range methods() {
		if listed[m.name] {
			t.Errorf("%s is listed twice", m.name)
		}
		listed[m.name] = true
	}
	silent := []string{
		"Client.Toolbox",             // sends nothing
		"Client.Hurry", "Session.ID", // of these tests
		"PTY.Read", "PTY.Write", "PTY.Wait", // on a connection
		"PTY.Close", // when all else has ended
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[*daytona.Client](), reflect.TypeFor[*daytona.Toolbox](), reflect.TypeFor[*daytona.Session](), reflect.TypeFor[*daytona.PTY](),
	} {
		for m := range typ.Methods() {
			name := typ.Elem().Name() + "." + m.Name
			if !listed[name] && !slices.Contains(silent, name) {
				t.Errorf("%s is not listed", name)
			}
			delete(listed, name)
		}
	}
	for name := range listed {
		t.Errorf("%s is not a method", name)
	}
}
