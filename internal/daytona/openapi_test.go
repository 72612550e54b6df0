package daytona_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	devstack "github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/devstack/openapi"
	"github.com/dayclaude/dayclaude/internal/secret"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// documents are Daytona's OpenAPI documents.
func documents(t *testing.T) *openapi.Documents {
	t.Helper()
	dir := os.Getenv(openapi.Env)
	if dir == "" {
		testenv.Missing(t, "%s names no folder with Daytona's api.json and toolbox.json", openapi.Env)
	}
	docs, err := openapi.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// What each method sends, and what the embedded Daytona answers, holds against
// Daytona's documents; docs/daytona-coverage.md says which operations those
// are.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	server := standIn(t, func(o *devstack.Options) { o.Wrap = docs.Check(func(err error) { t.Error(err) }) })
	w := newWorld(t, server)
	// Which operations a method calls can depend on the moment: its comment
	// names them all, and each must have been met.
	texts, callers, seen := comments(t), map[string][]string{}, map[string]bool{}
	for _, m := range methods() {
		for _, f := range operation.FindAllStringSubmatch(texts[m.name], -1) {
			o := parameters.ReplaceAllString(f[0], "{}")
			callers[o] = append(callers[o], m.name)
		}
		t.Run(m.name, func(t *testing.T) {
			w.T = t
			call := m.arrange(w)
			docs.Met()
			if err := call(t.Context()); err != nil {
				t.Error(err)
			}
			met := docs.Met()
			if len(met) == 0 {
				t.Error("nothing was sent")
			}
			for _, o := range met {
				seen[parameters.ReplaceAllString(o.String(), "{}")] = true
			}
		})
	}
	w.T = t
	for o, names := range callers {
		if !seen[o] {
			t.Errorf("none of %v called %s", names, o)
		}
	}
	if !t.Failed() {
		testenv.Golden(t, filepath.Join(testenv.Root(), "docs", "daytona-coverage.md"), coverage(docs.Operations(), callers, served(t)))
	}
}

// The check can fail: what the client sends to another version, say, is found.
func TestOpenAPIFinds(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	var found []string
	server := standIn(t, func(o *devstack.Options) {
		o.Wrap = func(next http.Handler) http.Handler {
			return docs.Check(func(err error) { found = append(found, err.Error()) })(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/config" {
					daytona.Refuse(w, http.StatusTeapot, "short and stout")
					return
				}
				next.ServeHTTP(w, r)
			}))
		}
	})
	c, err := daytona.New(daytona.Config{BaseURL: server.URL(), Key: secret.New(canary)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Config(t.Context()); err == nil {
		t.Error("a refusal was taken for an answer")
	}
	if len(found) == 0 || !strings.Contains(found[0], `answer of GET /config (418): /timestamp: property "timestamp" is missing`) {
		t.Errorf("found %q", found)
	}
}

// parameters of a path, as a document and as a route spell them.
var parameters = regexp.MustCompile(`{\w+}`)

// served asks the embedded Daytona, without a key, for every operation: those
// that reach a route of just that operation are served.
func served(t *testing.T) func(openapi.Operation) bool {
	t.Helper()
	route := "" // that answered the last request
	server := standIn(t, func(o *devstack.Options) {
		o.Wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				route = r.Pattern
			})
		}
	})
	origin := strings.TrimSuffix(server.URL(), "/api")
	return func(o openapi.Operation) bool {
		prefix := "/api"
		if o.Toolbox {
			prefix = "/toolbox/{id}"
		}
		request, err := http.NewRequestWithContext(t.Context(), o.Method, origin+parameters.ReplaceAllString(prefix+o.Path, "x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return parameters.ReplaceAllString(route, "{}") == parameters.ReplaceAllString(o.Method+" "+prefix+o.Path, "{}")
	}
}

// coverage is the page docs/daytona-coverage.md.
func coverage(all []openapi.Operation, callers map[string][]string, served func(openapi.Operation) bool) string {
	var page strings.Builder
	var group string
	called, offered := 0, 0
	for _, o := range all {
		title := "API: " + o.Tag
		if o.Toolbox {
			title = "Toolbox: " + o.Tag
		}
		if title != group {
			group = title
			fmt.Fprintf(&page, "\n## %s\n\n| operation | called by | embedded |\n|---|---|---|\n", title)
		}
		methods := callers[parameters.ReplaceAllString(o.String(), "{}")]
		mark := ""
		if served(o) {
			mark = "yes"
			offered++
		}
		if len(methods) > 0 {
			called++
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", o, strings.Join(methods, ", "), mark)
	}
	return fmt.Sprintf(coverageHead, len(all), called, offered) + page.String()
}

const coverageHead = `# What is used of Daytona

All %d operations of Daytona's OpenAPI documents, version 0.205.1: the API, and
the toolbox in each sandbox. The client calls %d of them, the embedded Daytona
serves %d. A test of ` + "`internal/daytona`" + ` writes this page with UPDATE_GOLDEN=1
and fails when it is out of date.

- **called by**: the methods of ` + "`internal/daytona`" + ` that send the request. The test
  calls each, and holds what it sends and gets against the documents.
- **embedded**: whether the embedded Daytona (` + "`dayclaude dev daytona`" + `) serves it,
  found by asking. It serves more than the client calls, for other clients.
`
