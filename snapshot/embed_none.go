//go:build !embed_sandboxd

package snapshot

import "embed"

// A plain `go build` or `go install` embeds no binaries.
var binaries embed.FS
