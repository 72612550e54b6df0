package daytona

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// platform keeps sandboxes by name as Daytona does. Each create takes the next
// of its moods.
type platform struct {
	t     *testing.T
	mu    sync.Mutex
	moods []string
	boxes map[string]map[string]any // by name
	made  int
	slow  int            // looks for which a new sandbox pulls its image
	asked map[string]any // the last create's body
}

func (p *platform) put(id string, state State, labels map[string]string) map[string]any {
	box := record(state, Started, "no space left on runner")
	box["id"], box["labels"] = id, labels
	p.boxes[name] = box
	return box
}

func (p *platform) find(key string) map[string]any {
	for n, box := range p.boxes {
		if n == key || box["id"] == key {
			return box
		}
	}
	return nil
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	key := strings.TrimPrefix(r.URL.Path, "/api/sandbox/")
	box := p.find(key)
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/sandbox":
		p.create(w, body)
	case box == nil:
		Refuse(w, 404, "Sandbox not found")
	case r.Method == http.MethodGet:
		if box["state"] == Creating || box["state"] == PullingSnapshot {
			next := Started
			if p.slow--; p.slow > 0 {
				next = PullingSnapshot
			}
			defer func() { box["state"] = next }()
		}
		answer(w, 200, box)
	case r.Method == http.MethodDelete:
		if key != box["id"] {
			p.t.Error("deleted by name: it may have passed to another sandbox")
		}
		delete(p.boxes, name)
		answer(w, 200, box)
	default:
		p.t.Errorf("unexpected %s %s", r.Method, r.URL)
	}
}

func (p *platform) create(w http.ResponseWriter, body []byte) {
	if err := json.Unmarshal(body, &p.asked); err != nil {
		p.t.Error(err)
	}
	mood := "works"
	if len(p.moods) > 0 {
		mood, p.moods = p.moods[0], p.moods[1:]
	}
	if p.boxes[name] != nil && mood != "quota" {
		Refuse(w, 409, "Sandbox with name "+name+" already exists")
		return
	}
	made := fmt.Sprintf("box-%d", p.made+1)
	switch mood {
	case "quota":
		Refuse(w, 400, "Total CPU limit exceeded. Maximum allowed: 4")
		return
	case "no runners":
		Refuse(w, 400, "No available runners")
		return
	case "inactive":
		Refuse(w, 400, "Snapshot dayclaude/slim:1 is inactive")
		return
	case "lost on the way there":
		panic(http.ErrAbortHandler)
	case "name still taken":
		Refuse(w, 409, "Sandbox with name "+name+" already exists")
		return
	}
	p.made++
	switch mood {
	case "works":
		answer(w, 200, p.put(made, Creating, ours))
	case "no answer":
		p.put(made, Creating, ours)
		panic(http.ErrAbortHandler)
	case "cut":
		p.put(made, Creating, ours)
		Cut(w, nil)
	case "gateway":
		p.put(made, Creating, ours)
		w.WriteHeader(504)
	case "breaks":
		p.put(made, Errored, ours)
		Refuse(w, 400, "Sandbox failed to start: no space left on runner")
	case "breaks later":
		answer(w, 200, func() map[string]any {
			first := record(Creating, Started, "")
			first["id"] = made
			p.put(made, Errored, ours)
			return first
		}())
	default:
		p.t.Errorf("no mood %q", mood)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	theirs := map[string]string{"dayclaude/store": "s2", "dayclaude/thread": "t"}
	for _, tt := range []struct {
		name   string
		moods  []string
		before map[string]string // labels of what has the name already
		state  State             // of it
		id     string            // of what is returned
		kind   fault.Kind
		says   string
		made   int // by this Create
	}{
		{name: "works", id: "box-1", made: 1},
		{name: "no answer", moods: []string{"no answer"}, id: "box-1", made: 1},
		{name: "cut answer", moods: []string{"cut"}, id: "box-1", made: 1},
		{name: "gateway time-out", moods: []string{"gateway"}, id: "box-1", made: 1},
		{name: "lost on the way there", moods: []string{"lost on the way there", "lost on the way there"}, id: "box-1", made: 1},
		{name: "failed to start once", moods: []string{"breaks"}, id: "box-2", made: 2},
		{name: "failed to start once, then no answer", moods: []string{"breaks", "no answer"}, id: "box-2", made: 2},
		{name: "failed to start, told later", moods: []string{"breaks later"}, id: "box-2", made: 2},
		{name: "failed to start twice", moods: []string{"breaks", "breaks"}, kind: fault.Sandbox, says: "error: no space left on runner", made: 2},
		{name: "quota", moods: []string{"quota"}, kind: fault.Quota, says: "Total CPU", made: 0},
		{name: "ours is there", before: ours, state: Started, id: "old"},
		{name: "ours is there, stopped", before: ours, state: Stopped, id: "old"},
		{name: "ours is there, with more labels", before: map[string]string{"dayclaude/store": "s1", "x": "y"}, state: Started, id: "old"},
		{name: "ours is there, and the quota is full", moods: []string{"quota"}, before: ours, state: Creating, id: "old"},
		{name: "ours is there, broken", before: ours, state: Errored, id: "box-1", made: 1},
		{name: "theirs is there", before: theirs, state: Started, kind: fault.Conflict, says: "was made by another host at 2026-11-23 10:00 UTC"},
		{name: "theirs is there, broken", before: theirs, state: Errored, kind: fault.Conflict, says: "made by another host"},
		{name: "an unlabelled one is there", before: map[string]string{}, state: Started, kind: fault.Conflict},
		{name: "name just becoming free", moods: []string{"name still taken"}, id: "box-1", made: 1},
		{name: "name never free", moods: slices.Repeat([]string{"name still taken"}, 100), kind: fault.Conflict, says: "tried again for 3m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &platform{t: t, moods: tt.moods, boxes: map[string]map[string]any{}}
			if tt.before != nil {
				p.put("old", tt.state, tt.before)
			}
			c, _, _ := serve(t, p)
			s, err := c.Create(t.Context(), asked())
			switch {
			case tt.kind != "":
				if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v of kind %s, want %s: %s", err, fault.KindOf(err), tt.kind, tt.says)
				}
			case err != nil:
				t.Fatal(err)
			case s.ID != tt.id || !s.State.AtRest() || s.State.Failed():
				t.Errorf("got %s in state %s, want %s", s.ID, s.State, tt.id)
			}
			if p.made != tt.made {
				t.Errorf("%d sandboxes were made, want %d", p.made, tt.made)
			}
			if p.find("old") == nil && (tt.before["dayclaude/store"] == "s2" || tt.state == Started) {
				t.Error("a sandbox was deleted that should stand")
			}
			for _, key := range []string{"env", "public", "cpu"} {
				if _, ok := p.asked[key]; ok {
					t.Errorf("%s was sent", key)
				}
			}
			if p.asked["target"] != "eu" || p.asked["domainAllowList"] != "*.npmjs.org,PyPI.org" || p.asked["autoArchiveInterval"] != 0.0 {
				t.Errorf("sent %v", p.asked)
			}
		})
	}
}

func TestCreateNeedsNameAndLabels(t *testing.T) {
	t.Parallel()
	c, srv, _ := serve(t, http.NotFoundHandler())
	for _, bad := range []CreateSandbox{{Labels: ours}, {Name: name}} {
		if _, err := c.Create(t.Context(), bad); fault.KindOf(err) != fault.Usage {
			t.Errorf("got %v", err)
		}
	}
	if n := len(srv.seen()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestUngranted(t *testing.T) {
	t.Parallel()
	granted := Sandbox{
		Labels: ours, Domains: Domains{"pypi.org", "*.npmjs.org"},
		AutoStop: new(15), AutoArchive: new(43200), AutoDelete: new(-1),
	}
	if got := granted.Ungranted(asked()); got != nil {
		t.Errorf("missing %v of what was granted", got)
	}
	all := asked()
	all.NetworkBlockAll, all.AutoArchive = true, new(5)
	want := []string{"labels", "networkBlockAll", "domainAllowList", "autoStopInterval", "autoArchiveInterval", "autoDeleteInterval"}
	if got := new(Sandbox).Ungranted(all); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
