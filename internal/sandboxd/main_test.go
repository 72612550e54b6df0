package sandboxd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/dayclaude/dayclaude/internal/sandboxd"
)

// asServer makes the test binary a sandboxd, which tests then kill.
const asServer = "TEST_AS_SANDBOXD"

func TestMain(m *testing.M) {
	if addr := os.Getenv(asServer); addr != "" {
		if err := serve(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func serve(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server, err := sandboxd.New(sandboxd.Config{Home: os.Getenv("HOME"), Environ: os.Environ()})
	if err != nil {
		return err
	}
	return server.Serve(ctx, listener)
}
