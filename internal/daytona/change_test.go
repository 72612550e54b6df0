package daytona

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/pause"
)

// script answers looks from one list and orders from another; the last of each
// lasts.
type script struct {
	mu     sync.Mutex
	looks  []map[string]any // nil: 404
	orders []int
	sent   int
}

func next[T any](list *[]T) T {
	v := (*list)[0]
	if len(*list) > 1 {
		*list = (*list)[1:]
	}
	return v
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		if box := next(&s.looks); box != nil {
			answer(w, 200, box)
			return
		}
		Refuse(w, 404, "Sandbox not found")
		return
	}
	s.sent++
	switch status := next(&s.orders); status {
	case 0:
		panic(http.ErrAbortHandler)
	case 200:
		answer(w, 200, record(Unknown, "", ""))
	case 409:
		Refuse(w, 409, "Sandbox state change in progress")
	default:
		Refuse(w, status, "refused")
	}
}

// many stands for as often as patience lets.
const many = -1

func TestChange(t *testing.T) {
	t.Parallel()
	start, stop, del := (*Client).Start, (*Client).Stop, (*Client).Delete
	box := func(state, desired State) map[string]any { return record(state, desired, "disk full") }
	for _, tt := range []struct {
		name   string
		do     func(*Client, context.Context, string) error
		orders []int
		looks  []map[string]any
		sent   int
		kind   fault.Kind // "": succeeds
		says   string
	}{
		{name: "start", do: start, orders: []int{200}, sent: 1},
		{name: "start heard, answer lost", do: start, orders: []int{0}, looks: []map[string]any{box(Stopped, Started)}, sent: 1},
		{name: "start not heard", do: start, orders: []int{0, 200}, looks: []map[string]any{box(Stopped, Stopped)}, sent: 2},
		{name: "start while starting", do: start, orders: []int{409}, looks: []map[string]any{box(Starting, Started)}, sent: 1},
		{name: "start while stopping", do: start, orders: []int{409, 200},
			looks: []map[string]any{box(Stopping, Stopped), box("novel", Stopped), box("", Stopped), box(Stopped, Stopped)}, sent: 2},
		{name: "start while something holds it for long", do: start, orders: []int{409, 409, 409, 409, 409, 409, 409, 409, 200},
			looks: []map[string]any{box(Stopped, Stopped)}, sent: 9},
		{name: "start on a server without desiredState", do: start, orders: []int{409}, looks: []map[string]any{box(Starting, ""), box(Started, "")}, sent: 1},
		{name: "start of a broken one", do: start, orders: []int{400}, looks: []map[string]any{box(Errored, Stopped)}, sent: 1, kind: fault.Sandbox, says: "state error: disk full"},
		{name: "start refused", do: start, orders: []int{400}, looks: []map[string]any{box(Stopped, Stopped)}, sent: 1, kind: fault.Failed, says: "refused"},
		{name: "start of none", do: start, orders: []int{404}, sent: 1, kind: fault.NotFound},
		{name: "start not allowed", do: start, orders: []int{403}, sent: 1, kind: fault.Auth},
		{name: "start never heard", do: start, orders: []int{500}, looks: []map[string]any{box(Stopped, Stopped)}, sent: many, kind: fault.Unavailable, says: "tried again for 3m"},
		{name: "stop of a stopped one", do: stop, orders: []int{400}, looks: []map[string]any{box(Stopped, Stopped)}, sent: 1},
		{name: "stop, answer lost", do: stop, orders: []int{0}, looks: []map[string]any{box(Stopping, Stopped)}, sent: 1},
		{name: "stop before it was started", do: stop, orders: []int{409, 200}, looks: []map[string]any{box(Starting, Started), box(Started, Started)}, sent: 2},
		{name: "delete", do: del, orders: []int{200}, sent: 1},
		{name: "delete of none", do: del, orders: []int{404}, sent: 1},
		{name: "delete, answer lost", do: del, orders: []int{0}, looks: []map[string]any{nil}, sent: 1},
		{name: "delete heard", do: del, orders: []int{502}, looks: []map[string]any{box(Errored, Destroyed)}, sent: 1},
		{name: "delete heard by a server without desiredState", do: del, orders: []int{502}, looks: []map[string]any{box(Destroying, "")}, sent: 1},
		{name: "delete of a broken one, not heard", do: del, orders: []int{502, 200}, looks: []map[string]any{box(Errored, Started)}, sent: 2},
		{name: "delete while starting", do: del, orders: []int{409, 200}, looks: []map[string]any{box(Starting, Started), box(Started, Started)}, sent: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &script{orders: tt.orders, looks: tt.looks}
			if s.looks == nil {
				s.looks = []map[string]any{nil}
			}
			c, _, _ := serve(t, s)
			err := tt.do(c, t.Context(), id)
			if (err == nil) != (tt.kind == "") || err != nil && (fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v of kind %s, want %q", err, fault.KindOf(err), tt.kind)
			}
			if s.sent != tt.sent && (tt.sent != many || s.sent < 10) {
				t.Errorf("asked %d times, want %d", s.sent, tt.sent)
			}
		})
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	box := func(state, desired State) map[string]any { return record(state, desired, "out of\nmemory") }
	for _, tt := range []struct {
		name  string
		want  []State
		looks []map[string]any
		state State
		kind  fault.Kind
		says  string
	}{
		{name: "at once", want: []State{Started}, looks: []map[string]any{box(Started, Started)}, state: Started},
		{name: "through known and unknown states", want: []State{Started},
			looks: []map[string]any{box(Creating, Started), box(Unknown, Started), box("warming", Started), box("", ""), box(Started, Started)}, state: Started},
		{name: "any of several", want: []State{Stopped, Destroyed}, looks: []map[string]any{box(Stopping, Stopped), box(Stopped, Stopped)}, state: Stopped},
		{name: "breaks", want: []State{Started}, looks: []map[string]any{box(Creating, Started), box(Errored, Started)}, kind: fault.Sandbox, says: "state error: out of memory"},
		{name: "build fails", want: []State{Started}, looks: []map[string]any{box(BuildFailed, Started)}, kind: fault.Sandbox, says: "build_failed"},
		{name: "is deleted meanwhile", want: []State{Started}, looks: []map[string]any{box(Destroying, Destroyed)}, kind: fault.Sandbox, says: "was deleted"},
		{name: "is gone meanwhile", want: []State{Started}, looks: []map[string]any{box(Creating, Started), nil}, kind: fault.NotFound},
		{name: "destroyed", want: []State{Destroyed}, looks: []map[string]any{box(Destroying, Destroyed), box(Destroyed, Destroyed)}, state: Destroyed},
		{name: "broken, then gone", want: []State{Destroyed}, looks: []map[string]any{box(Errored, Destroyed), nil}, state: Destroyed},
		{name: "late to show that it starts", want: []State{Started}, looks: append(slices.Repeat([]map[string]any{box(Stopped, Stopped)}, 20), box(Starting, Started), box(Started, Started)), state: Started},
		{name: "nobody asked", want: []State{Started}, looks: []map[string]any{box(Stopped, Stopped)}, kind: fault.Sandbox, says: "stays stopped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _, _ := serve(t, &script{looks: tt.looks})
			s, err := c.Wait(t.Context(), id, tt.want...)
			if tt.kind != "" {
				if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v of kind %s, want %s: %s", err, fault.KindOf(err), tt.kind, tt.says)
				}
				return
			}
			if err != nil || s.State != tt.state || s.ID != id {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

func TestWaitPollsAsTheSDKDoes(t *testing.T) {
	t.Parallel()
	c, _, pauses := serve(t, &script{looks: append(slices.Repeat([]map[string]any{record(Creating, Started, "")}, 90), record(Started, Started, ""))})
	if _, err := c.Wait(t.Context(), id, Started); err != nil {
		t.Fatal(err)
	}
	got := pauses()
	for i, d := range got {
		switch {
		case i < 50 && d != 100*time.Millisecond, i == 50 && d != 110*time.Millisecond,
			i > 50 && d < got[i-1], d > time.Second:
			t.Fatalf("pause %d is %s after %s", i, d, got[max(i-1, 0)])
		}
	}
	if last := got[len(got)-1]; last != time.Second {
		t.Errorf("the last pause is %s", last)
	}
}

func TestWaitSaysWhereItStood(t *testing.T) {
	t.Parallel()
	c, _, _ := serve(t, &script{looks: []map[string]any{record(PullingSnapshot, Started, "")}})
	ctx, cancel := context.WithCancel(t.Context())
	c.sleep = func(ctx context.Context, d time.Duration) error { cancel(); return pause.For(ctx, d) }
	_, err := c.Wait(ctx, id, Started)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "still pulling_snapshot") {
		t.Errorf("got %v", err)
	}
}
