package daytona

import (
	"context"
	"net/http"
	"strings"
)

// ServerConfig is what a Daytona says of itself to anybody.
type ServerConfig struct {
	Version         string `json:"version"`
	PreviewTemplate string `json:"proxyTemplateUrl"`  // "https://{{PORT}}-{{sandboxId}}.proxy.example.com"
	ToolboxURL      string `json:"proxyToolboxUrl"`   // of the toolboxes' proxy
	SSHCommand      string `json:"sshGatewayCommand"` // "ssh -p 2222 {{TOKEN}}@host"; "": there is no gateway
	Maintenance     bool   `json:"maintananceMode"`   // sic

	// RateLimits by their names: authenticated, sandboxCreate, sandboxLifecycle.
	RateLimits map[string]RateLimit `json:"rateLimit"`
}

// RateLimit is how many requests Daytona answers in a window.
type RateLimit struct {
	Window   float64 `json:"ttl"` // seconds
	Requests float64 `json:"limit"`
}

// Config returns the server's configuration. It sends no key, so it tells
// whether the URL is right when the key is not.
//
// It calls GET /config.
func (c *Client) Config(ctx context.Context) (*ServerConfig, error) {
	var cfg ServerConfig
	err := c.call(ctx, request{
		op: "look up Daytona's configuration", method: http.MethodGet, path: []string{"config"}, safe: true, keyless: true,
	}, &cfg)
	if err != nil {
		return nil, err
	}
	return &cfg, nil
}

// proxies are the URLs of Daytona's own proxies: that of the toolboxes, and
// that of the previews. A host below the latter's belongs to a sandbox.
func (s *ServerConfig) proxies() []string {
	all := []string{s.ToolboxURL}
	scheme, rest, _ := strings.Cut(s.PreviewTemplate, "://")
	if i := strings.LastIndex(rest, "}}."); i >= 0 {
		all = append(all, scheme+"://"+rest[i+len("}}."):])
	}
	return all
}
