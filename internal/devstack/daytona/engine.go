package daytona

import (
	"context"
	"errors"
	"io"
	"net"
)

// Engine runs the sandboxes of a Server. Its methods are safe for concurrent
// use; the Server never makes two state changes of one sandbox at once.
type Engine interface {
	// Isolates reports whether what runs in a sandbox is kept from the host.
	Isolates() bool
	// Notice is the sentence a user must read before trusting the engine, or "".
	Notice() string

	// Load finds the sandboxes, and the other records, that an earlier server
	// left.
	Load(ctx context.Context) ([]Saved, error)
	// Create makes a sandbox, stopped. When it fails nothing is left but,
	// perhaps, the record.
	Create(ctx context.Context, spec Spec) error
	// Save replaces the sandbox's record, whether Create succeeded or not. It
	// keeps a record under any other id, too, until Remove.
	Save(ctx context.Context, id string, record []byte) error
	// Start starts the sandbox and returns the command to run in it at each
	// start, or nil.
	Start(ctx context.Context, id string) (entrypoint []string, err error)
	// Stop kills everything that runs in the sandbox. Stopping a stopped one
	// is no error.
	Stop(ctx context.Context, id string) error
	// Remove destroys the sandbox, its files and its record. What is already
	// gone is no error.
	Remove(ctx context.Context, id string) error
	// Block takes the sandbox's way to the network away, or gives it back.
	Block(ctx context.Context, id string, blocked bool) error

	// Exec runs a command in a started sandbox, as the sandbox's user, and
	// returns its exit code. When ctx ends the command is killed and ctx's
	// error returned; an engine whose sandboxes outlive it lets the command go
	// on if the cause is ErrDetached. ErrStopped: the sandbox does not run.
	Exec(ctx context.Context, id string, command Command) (exit int, err error)
	// Dial connects to a TCP port in a started sandbox.
	Dial(ctx context.Context, id string, port int) (net.Conn, error)

	// Close lets go of the engine's own resources. Sandboxes that can outlive
	// the program go on.
	Close() error
}

// ErrStopped says that a sandbox does not run. ErrDetached is why a context
// ends when the server does.
var (
	ErrStopped  = errors.New("sandbox is not running")
	ErrDetached = errors.New("the embedded daytona closes")
)

// Spec is what an engine needs to know to create a sandbox.
type Spec struct {
	ID         string
	Image      string            // the snapshot's image; engines without images ignore it
	Entrypoint []string          // replaces the image's entrypoint when set
	Env        map[string]string // of everything that runs in it
	Blocked    bool              // no way to the network
	CPU        int               // cores
	Memory     int               // GiB
	Record     []byte            // kept beside the sandbox, returned by Load
}

// Saved is a sandbox that an engine found.
type Saved struct {
	ID      string
	Record  []byte
	Running bool
}

// Command is a program to run in a sandbox.
type Command struct {
	Args []string
	Dir  string            // "" is the sandbox's own working directory
	Env  map[string]string // on top of the sandbox's own
	// Stdin may be nil. If it is an io.Closer it is closed once the program
	// has ended, to end a read that waits.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal, when set, is the size of a terminal that the program gets for
	// its input and its outputs; what it shows comes to Stdout. The terminal
	// ends with the program.
	Terminal *Size
	// Started, when set, is called once, before any output comes.
	Started func(Process)
}

// Size is a terminal's, in characters.
type Size struct{ Cols, Rows uint16 }

// Process is a command's program that runs.
type Process struct {
	PID    int              // in the sandbox; it leads a session of its own
	Resize func(Size) error // of its terminal, if it has one
}
