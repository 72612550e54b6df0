// Command sandboxd runs in a sandbox and does the host's tasks there: see
// package internal/sandboxd. It takes no arguments but --version; SANDBOXD_ADDR
// says where to listen (default :8080).
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/dayclaude/dayclaude/internal/sandboxd"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "--version":
		fmt.Printf("sandboxd %s, protocol %d\n", version(), api.Protocol)
	case len(os.Args) > 1:
		fmt.Fprintln(os.Stderr, "usage: sandboxd [--version]")
		os.Exit(2)
	case os.Getpid() == 1:
		code, err := asInit()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandboxd:", err)
		}
		os.Exit(code)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		err := serve(ctx)
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandboxd:", err)
			os.Exit(1)
		}
	}
}

// serve runs the server until ctx is done; a task under way is left for the
// next start.
func serve(ctx context.Context) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	instance := os.Getenv("DAYTONA_SANDBOX_ID")
	if instance == "" {
		if instance, err = os.Hostname(); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	addr := os.Getenv("SANDBOXD_ADDR")
	if addr == "" {
		addr = ":" + strconv.Itoa(api.Port)
	}
	// The address is also the lock on the state: New mends what it finds.
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server, err := sandboxd.New(sandboxd.Config{
		Home: home, Environ: os.Environ(), Version: version(), Instance: instance, Log: log,
	})
	if err != nil {
		listener.Close()
		return err
	}
	log.Info("listening", "address", listener.Addr().String(), "version", version())
	return server.Serve(ctx, listener)
}

// version is dayclaude's own, as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
