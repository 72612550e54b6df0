// Package demo is the repository demo/shop and its issue: a small program
// with a real bug and a test that fails for it. `dayclaude demo` and the tests
// work on it. It needs nothing but bash, coreutils and sed.
package demo

import (
	"embed"
	"io/fs"
)

// The issue that tells of the bug.
const (
	Owner       = "demo"
	Repository  = "shop"
	IssueNumber = 42
	IssueTitle  = "No bulk discount for exactly ten pieces"
	IssueBody   = "A customer ordered ten pens at 1.00 and paid the full 10.00. The README promises 10 % off " +
		"\"from ten pieces of one article on\", so the receipt should say 9.00.\n\n" +
		"```\n" +
		"$ echo 'pen,100,10' | bash cart.sh\n" +
		"pen                 10 x      1.00        10.00\n" +
		"Goods                                     10.00\n" +
		"Shipping                                   4.90\n" +
		"Total                                     14.90\n" +
		"```\n\n" +
		"With eleven pieces the discount is there. `tests/run.sh` has a test for it that fails: " +
		"*ten pieces: bulk discount*.\n"
)

//go:embed all:shop
var files embed.FS

// Shop is the repository's tree, with its executable bits.
func Shop() fs.FS {
	sub, err := fs.Sub(files, "shop")
	if err != nil {
		panic(err) // the path is constant and valid
	}
	return executable{sub}
}
