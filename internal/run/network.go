package run

import (
	"fmt"
	"regexp"
	"strings"
)

// Network is what a sandbox may reach besides the tunnel: NetworkOpen,
// NetworkRegistries, NetworkNone, or the named domains.
type Network struct {
	Mode    NetworkMode `json:"mode"`
	Domains []string    `json:"domains,omitempty"` // with NetworkDomains: "a.com" or "*.b.com"
}

// NetworkMode is the kind of a Network.
type NetworkMode string

// The modes.
const (
	NetworkOpen       NetworkMode = "open"       // everything that Daytona's tier allows
	NetworkRegistries NetworkMode = "registries" // package registries only
	NetworkNone       NetworkMode = "none"       // nothing: model and git come through the tunnel
	NetworkDomains    NetworkMode = "domains"    // a list of domains
)

// MaxDomains is how many names Daytona's allow list takes.
const MaxDomains = 10

// registries are the domains of the package registries that most repositories
// install from: npm, Go, Python, Rust, Ruby, Maven and Debian.
var registries = []string{
	"*.npmjs.org", "*.golang.org", "pypi.org", "*.pythonhosted.org", "*.crates.io",
	"rubygems.org", "*.maven.org", "*.debian.org",
}

var domainPattern = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)

// ParseNetwork reads a mode by its name, or a list of domains.
func ParseNetwork(values ...string) (Network, error) {
	if len(values) == 1 {
		switch m := NetworkMode(values[0]); m {
		case NetworkOpen, NetworkRegistries, NetworkNone:
			return Network{Mode: m}, nil
		}
	}
	if len(values) == 0 || len(values) > MaxDomains {
		return Network{}, fmt.Errorf("network takes open, registries, none, or 1 to %d domains, not %d", MaxDomains, len(values))
	}
	n := Network{Mode: NetworkDomains}
	for _, v := range values {
		d := strings.ToLower(v)
		if !domainPattern.MatchString(d) {
			return Network{}, fmt.Errorf("network: %q is neither open, registries or none nor a domain", v)
		}
		n.Domains = append(n.Domains, d)
	}
	return n, nil
}

// DefaultNetwork is the policy of a repository that names none: a private
// repository's source must not leave by an open network.
func DefaultNetwork(private bool) Network {
	if private {
		return Network{Mode: NetworkRegistries}
	}
	return Network{Mode: NetworkOpen}
}

// Allowed returns Daytona's two settings for the policy: everything blocked,
// or the domains that are not (none: no restriction).
func (n Network) Allowed() (blockAll bool, domains []string) {
	switch n.Mode {
	case NetworkNone:
		return true, nil
	case NetworkRegistries:
		return false, registries
	}
	return false, n.Domains
}

// String is the policy as it stands in settings.
func (n Network) String() string {
	if n.Mode == NetworkDomains {
		return strings.Join(n.Domains, ", ")
	}
	return string(n.Mode)
}
