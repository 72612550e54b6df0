package hub

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/untrusted"
)

// graphQL asks what REST has no words for and decodes the answer's data.
// GraphQL refuses with the status 200: refused is then GitHub's reason.
func (c *Client) graphQL(ctx context.Context, o op, query string, variables map[string]string, into any) (refused string, err error) {
	// github.com: https://api.github.com/graphql; GitHub Enterprise Server:
	// https://HOST/api/graphql beside https://HOST/api/v3/.
	endpoint := "graphql"
	if strings.HasSuffix(c.base.Path, "/api/v3/") {
		endpoint = "../graphql"
	}
	type answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	body := struct {
		Query     string            `json:"query"`
		Variables map[string]string `json:"variables,omitempty"`
	}{query, variables}
	got, err := call(ctx, c, o, func(ctx context.Context, gh *github.Client) (answer, *github.Response, error) {
		var a answer
		req, err := gh.NewRequest(http.MethodPost, endpoint, body)
		if err != nil {
			return a, nil, err
		}
		resp, err := gh.Do(ctx, req, &a)
		return a, resp, err
	})
	switch {
	case err != nil:
		return "", err
	case len(got.Errors) > 0:
		return untrusted.Line(got.Errors[0].Message, 400), nil
	case json.Unmarshal(got.Data, into) != nil:
		return "", incomplete(o.does)
	}
	return "", nil
}
