package daytona

import (
	"context"
	"net/http"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// RegistryPushAccess lets an image be pushed to where Daytona makes snapshots
// from, as {Registry}/{Project}/{name}:{tag}. It cannot pull.
type RegistryPushAccess struct {
	Registry  string // host[:port]
	Project   string
	Username  string
	Password  secret.String
	ExpiresAt Time // after an hour
}

// RegistryPushAccess makes credentials for the registry of Config.Target's
// region.
//
// It calls GET /docker-registry/registry-push-access.
func (c *Client) RegistryPushAccess(ctx context.Context) (*RegistryPushAccess, error) {
	r := request{
		op: "get access to Daytona's registry", method: http.MethodGet,
		path: []string{"docker-registry", "registry-push-access"}, query: c.region(), safe: true,
	}
	var answer struct {
		RegistryURL string `json:"registryUrl"` // not a URL, whatever its name
		Project     string `json:"project"`
		Username    string `json:"username"`
		Secret      string `json:"secret"`
		ExpiresAt   Time   `json:"expiresAt"`
	}
	if err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	if answer.RegistryURL == "" || answer.Project == "" || answer.Secret == "" {
		return nil, r.lacks("registry, project or secret")
	}
	return &RegistryPushAccess{
		Registry: answer.RegistryURL, Project: answer.Project, Username: answer.Username,
		Password: secret.New(answer.Secret), ExpiresAt: answer.ExpiresAt,
	}, nil
}
