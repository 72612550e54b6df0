package e2e

import (
	"net/http"
	"net/url"
	"time"

	"github.com/dayclaude/dayclaude/cmd"
	"github.com/dayclaude/dayclaude/internal/engine"
	"github.com/dayclaude/dayclaude/internal/run"
)

// touchVariable is how often the command line shows activity in a sandbox.
const touchVariable = "DAYCLAUDE_E2E_TOUCH"

// TouchEvery makes the commands that are started from now on show activity in
// their sandbox so often, in place of every minute.
func (s *Stack) TouchEvery(d time.Duration) { s.Env[touchVariable] = d.String() }

// momentsVariable is where the command line tells of the moments of its run.
const momentsVariable = "DAYCLAUDE_E2E_MOMENTS"

// Moments has f called at each moment of a run of the commands that are started
// from now on. They wait until it returns.
func (s *Stack) Moments(f func(run.State, engine.Moment)) {
	s.Env[momentsVariable] = s.front(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		f(run.State(r.FormValue("state")), engine.Moment(r.FormValue("moment")))
	}))
}

// telling is the command line's end of Stack.Moments.
func telling(where string) cmd.Option {
	return cmd.WithCheckpoint(func(state run.State, m engine.Moment) {
		told, err := http.Get(where + "?" + url.Values{"state": {string(state)}, "moment": {string(m)}}.Encode())
		if err == nil { // else the test is over
			told.Body.Close()
		}
	})
}
