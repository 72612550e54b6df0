//go:build embed_sandboxd

package snapshot

import "embed"

// `make build` puts the binaries there.
//
//go:embed bin/sandboxd-linux-amd64 bin/sandboxd-linux-arm64
var binaries embed.FS
