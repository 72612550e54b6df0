package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
)

func (e *exam) server(ctx context.Context) (string, error) {
	c, err := e.Daytona.Config(ctx)
	if err != nil {
		return "", err
	}
	e.gateway = c.SSHCommand != ""
	if c.Maintenance {
		return "", fault.New(fault.Unavailable, "Daytona is under maintenance")
	}
	return "Daytona " + line(c.Version), nil
}

// needed are the permissions that a run needs.
var needed = []string{"write:sandboxes", "delete:sandboxes"}

func (e *exam) key(ctx context.Context) (string, error) {
	k, err := e.Daytona.CurrentKey(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range needed {
		if !slices.Contains(k.Permissions, p) {
			return "", fault.New(fault.Auth, "the key %s lacks the permission %s", line(k.Name), p).
				WithHint("make a key with %s in Daytona's dashboard, and set DAYTONA_API_KEY to it", strings.Join(needed, " and "))
		}
	}
	until := "for ever"
	if !k.ExpiresAt.IsZero() {
		until = "until " + k.ExpiresAt.UTC().Format(time.DateTime) + " UTC"
	}
	return fmt.Sprintf("%s, valid %s", line(k.Name), until), nil
}

func (e *exam) snapshot(ctx context.Context) (string, error) {
	s, err := e.Daytona.Snapshot(ctx, e.Snapshot)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is %s", line(s.Name), line(string(s.State))), nil
}

func (e *exam) create(ctx context.Context) (string, error) {
	e.made = true
	stop, remove := stopAfter, deleteAfter
	asked := daytona.CreateSandbox{Name: e.Name, Labels: e.ours(), Snapshot: e.Snapshot, AutoStop: &stop, AutoDelete: &remove}
	s, err := e.Daytona.Create(ctx, asked)
	switch fault.KindOf(err) {
	case fault.Auth, fault.Usage, fault.Quota, fault.NotFound:
		e.made = false
	}
	if err != nil {
		return "", err
	}
	e.sandbox = s
	if s.State != daytona.Started {
		return "", wrong("the new sandbox is in state %s", line(string(s.State)))
	}
	if names := s.Ungranted(asked); names != nil {
		return "", wrong("Daytona did not do as it was asked with %s", strings.Join(names, ", "))
	}
	if err := e.moveIn(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %g CPU, %g GiB memory, %g GiB disk", e.Name, s.CPU, s.Memory, s.Disk), nil
}

// moveIn makes the toolbox of the sandbox, as it now is, the exam's.
func (e *exam) moveIn(ctx context.Context) error {
	e.box, e.down = e.Daytona.Toolbox(e.sandbox), ""
	home, err := e.box.HomeDir(ctx)
	e.dir = strings.TrimSuffix(home, "/") + "/" + e.Name
	return err
}

func (e *exam) list(ctx context.Context) (string, error) {
	n := 0
	for s, err := range e.Daytona.List(ctx, daytona.Filter{Labels: e.ours()}) {
		if err != nil {
			return "", err
		}
		if n++; s.ID == e.sandbox.ID {
			return "found by its labels", nil
		}
	}
	return "", wrong("the sandbox is not among the %d that have its labels", n)
}

// reread sets something of the sandbox and reads the sandbox back.
func (e *exam) reread(ctx context.Context, err error) (*daytona.Sandbox, error) {
	if err != nil {
		return nil, err
	}
	return e.Daytona.Get(ctx, e.sandbox.ID)
}

func (e *exam) labels(ctx context.Context) (string, error) {
	want := e.ours()
	want[LabelDoctor] = "labelled"
	s, err := e.reread(ctx, e.Daytona.SetLabels(ctx, e.sandbox.ID, want))
	if err != nil {
		return "", err
	}
	if !maps.Equal(s.Labels, want) {
		return "", wrong("the labels that were set are not those that are there")
	}
	return "set and read back", nil
}

func (e *exam) intervals(ctx context.Context) (string, error) {
	stop, archive, remove := stopAfter+1, 2*deleteAfter, deleteAfter+1
	s, err := e.reread(ctx, e.Daytona.SetIntervals(ctx, e.sandbox.ID, daytona.Intervals{AutoStop: &stop, AutoArchive: &archive, AutoDelete: &remove}))
	if err != nil {
		return "", err
	}
	if missing := s.Ungranted(daytona.CreateSandbox{AutoStop: &stop, AutoArchive: &archive, AutoDelete: &remove}); missing != nil {
		return "", wrong("Daytona did not keep %s", strings.Join(missing, ", "))
	}
	return fmt.Sprintf("stops after %d min, deleted after %d min", stop, remove), nil
}

func (e *exam) network(ctx context.Context) (string, error) {
	want := daytona.Network{Domains: daytona.Domains{"example.com", "*.example.org"}}
	if _, err := e.Daytona.SetNetwork(ctx, e.sandbox.ID, want); err != nil {
		return "", err
	}
	s, err := e.Daytona.Get(ctx, e.sandbox.ID)
	if err != nil {
		return "", err
	}
	if missing := s.Ungranted(daytona.CreateSandbox{Domains: want.Domains}); missing != nil {
		return "", wrong("Daytona did not keep %s", strings.Join(missing, ", "))
	}
	return "allowed domains set and read back", nil
}

func (e *exam) ssh(ctx context.Context) (string, error) {
	if !e.gateway {
		return "", skip("not checked: this Daytona tells of no SSH gateway")
	}
	access, err := e.Daytona.SSHAccess(ctx, e.sandbox.ID, 5*time.Minute)
	if err != nil {
		return "", err
	}
	if err := e.Daytona.RevokeSSHAccess(ctx, e.sandbox.ID, access.Token); err != nil {
		return "", err
	}
	return "made and revoked; not connected", nil
}

// change asks for a state and waits for it.
func (e *exam) change(ctx context.Context, ask func(context.Context, string) error, want daytona.State) error {
	if err := ask(ctx, e.sandbox.ID); err != nil {
		return err
	}
	s, err := e.Daytona.Wait(ctx, e.sandbox.ID, want)
	if err == nil {
		e.sandbox = s
	}
	return err
}

func (e *exam) stop(ctx context.Context) (string, error) {
	if err := e.change(ctx, e.Daytona.Stop, daytona.Stopped); err != nil {
		return "", err
	}
	e.down = "the sandbox is stopped"
	_, err := e.box.HomeDir(ctx)
	return "its toolbox says so", refused(err, fault.Sandbox, "a call of the stopped sandbox's toolbox")
}

// start starts the sandbox, from stopped or archived, and looks for what was
// in it.
func (e *exam) start(ctx context.Context) (string, error) {
	if err := e.change(ctx, e.Daytona.Start, daytona.Started); err != nil {
		return "", err
	}
	if err := e.moveIn(ctx); err != nil {
		return "", err
	}
	var found []string
	if e.kept != "" {
		if err := e.expectFile(ctx, e.dir+"/"+keptFile, e.kept); err != nil {
			return "", err
		}
		found = append(found, "files are there")
	}
	if e.door.URL != "" {
		// Daytona caches its answer for a second.
		if err := pause.For(ctx, 1100*time.Millisecond); err != nil {
			return "", err
		}
		p, err := e.Daytona.Preview(ctx, e.sandbox.ID, e.port)
		if err != nil {
			return "", err
		}
		if p.Token.Reveal() == e.door.Token.Reveal() {
			return "", wrong("the preview token is the one from before the stop")
		}
		e.door = p
		found = append(found, "the preview token is a new one")
	}
	return strings.Join(found, "; "), nil
}

func (e *exam) archive(ctx context.Context) (string, error) {
	if err := e.change(ctx, e.Daytona.Stop, daytona.Stopped); err != nil {
		return "", err
	}
	e.down = "the sandbox is stopped"
	return "", e.change(ctx, e.Daytona.Archive, daytona.Archived)
}

// appears is how long a sandbox may take to show up whose creation was cut off.
const appears = 5 * time.Second

// remove deletes the sandbox, or what stands under its name after a creation
// that did not go well.
func (e *exam) remove(ctx context.Context) (string, error) {
	if !e.made {
		return "", skip("nothing was made")
	}
	if e.sandbox == nil {
		s, err := e.leftover(ctx)
		if err != nil {
			return "", err
		}
		e.sandbox = s
	}
	if err := e.change(ctx, e.Daytona.Delete, daytona.Destroyed); err != nil {
		return "", fault.New(fault.KindOf(err), "sandbox %s is left: %w", e.Name, err).
			WithHint("`dayclaude sandboxes delete %s` deletes it", e.Name)
	}
	_, err := e.Daytona.Get(ctx, e.Name)
	return "its name is free", refused(err, fault.NotFound, "to find the deleted sandbox by its name")
}

// leftover finds the sandbox that has the name.
func (e *exam) leftover(ctx context.Context) (*daytona.Sandbox, error) {
	for until := e.Now().Add(appears); ; {
		s, err := e.Daytona.Get(ctx, e.Name)
		switch {
		case err == nil && s.Labels[LabelDoctor] != "":
			return s, nil
		case err == nil || fault.KindOf(err) == fault.NotFound && e.Now().After(until):
			return nil, skip("nothing was made")
		case fault.KindOf(err) != fault.NotFound:
			return nil, err
		}
		if err := pause.For(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}
