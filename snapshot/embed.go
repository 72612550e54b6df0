//go:build embed_sandboxd

package snapshot

import "embed"

// `make build` puts the binaries there.
//
//go:embed bin/sandboxd-linux-*.gz
var binaries embed.FS
