package hub

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

func TestViewerOfApp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, api, graphql, says, want string }{
		{"github.com", "/", "/graphql", `{"data":{"viewer":{"login":"shop-helper[bot]"}}}`, "shop-helper[bot]"},
		{"Enterprise Server", "/api/v3/", "/api/graphql", `{"data":{"viewer":{"login":"shop-helper[bot]"}}}`, "shop-helper[bot]"},
		{"without suffix", "/", "/graphql", `{"data":{"viewer":{"login":"shop-helper"}}}`, "shop-helper[bot]"},
		{"refused", "/", "/graphql", `{"data":null,"errors":[{"message":"no \u001b[2Jviewer"}]}`, ""},
		{"empty", "/", "/graphql", `{}`, ""},
		{"strange", "/", "/graphql", `{"data":{"viewer":{"login":"a\nb[bot]"}}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.Method + " " + r.URL.Path {
				case "GET " + tt.api + "user":
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte(`{"message":"Resource not accessible by integration"}`))
				case "POST " + tt.graphql:
					asked++
					if r.Header.Get("Authorization") != "Bearer ghs_x" {
						t.Error("GraphQL is asked without the token")
					}
					_, _ = w.Write([]byte(tt.says))
				default:
					t.Errorf("asks %s %s", r.Method, r.URL)
				}
			}))
			defer s.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c, err := New(Config{APIURL: s.URL + tt.api, Token: secret.New("ghs_x"), HTTP: &http.Client{Transport: transport}})
			must(t, err)
			for range 2 {
				login, err := c.Viewer(t.Context())
				if login != tt.want || (err == nil) != (tt.want != "") || err != nil && strings.Contains(err.Error(), "\x1b") {
					t.Errorf("got %q, %v", login, err)
				}
				if tt.name == "refused" && fault.KindOf(err) != fault.Auth {
					t.Errorf("kind %s", fault.KindOf(err))
				}
			}
			if tt.want != "" && asked != 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
