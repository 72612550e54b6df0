package e2e

import (
	"net/http"

	"github.com/dayclaude/dayclaude/internal/devstack/front"
)

// FrontDaytona puts a handler around all of Daytona as the command line sees
// it: the API, the toolbox, and the previews with the tunnel.
func (s *Stack) FrontDaytona(around func(http.Handler) http.Handler) *front.Front {
	s.t.Helper()
	f, err := front.New(s.Daytona.URL(), around)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(f.Close)
	s.Env["DAYTONA_API_URL"] = f.URL()
	return f
}
