package daytona_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/devstack/openapi"
	"github.com/dayclaude/dayclaude/internal/testenv"
)

// cleanup is for work after the test's own context has ended.
func cleanup(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// documents are Daytona's OpenAPI documents, or nil where there are none.
var documents = sync.OnceValues(func() (*openapi.Documents, error) {
	dir := os.Getenv(openapi.Env)
	if dir == "" {
		return nil, nil
	}
	return openapi.Load(dir)
})

// checking stands before a test's server and holds all that goes through
// against the documents, if there are any. A request that breaks them and is
// refused is a test's doing, as is what its query or body says is unknown.
func checking(t *testing.T) func(http.Handler) http.Handler {
	t.Helper()
	docs, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	if docs == nil {
		return func(next http.Handler) http.Handler { return next } // TestOpenAPI says so
	}
	return docs.Check(func(err error) {
		v, ok := errors.AsType[*openapi.Violation](err)
		if ok && v.Request && (v.Status >= 400 || strings.Contains(err.Error(), "unknown")) {
			return
		}
		t.Error(err)
	})
}

// TestOpenAPI is where missing documents show. The checks themselves run in all
// other tests, and TestMain holds that they needed every exception.
func TestOpenAPI(t *testing.T) {
	if docs, err := documents(); err != nil {
		t.Fatal(err)
	} else if docs == nil {
		testenv.Missing(t, "%s names no folder with Daytona's api.json and toolbox.json", openapi.Env)
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if docs, err := documents(); err == nil && docs != nil && code == 0 && flag.Lookup("test.run").Value.String() == "" && !testing.Short() {
		for _, e := range docs.Unneeded() {
			fmt.Fprintln(os.Stderr, "no test needed the exception of", e)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
