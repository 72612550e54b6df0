// Dayclaude turns GitHub issues into pull requests: it makes a Daytona cloud
// sandbox, runs Claude Code in it on the repository, and publishes what comes
// out.
package main

import (
	"os"

	"github.com/dayclaude/dayclaude/cmd"
)

func main() { os.Exit(cmd.Main()) }
