// Package process runs the embedded Daytona's sandboxes as a directory and
// processes on this machine. It isolates nothing: it is for tests and the
// demo, with demo keys.
//
// As root each sandbox has its own user id, which keeps sandboxes from each
// other's files and lets them be killed as a whole. Otherwise they run as the
// caller, and a process that leaves its group and drops its environment
// outlives the sandbox.
//
// There is no image: programs come from the system's PATH and Options.Tools.
// Ports are the machine's own; only port 8080 is mapped, to the address in
// the sandbox's SANDBOXD_ADDR.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// Notice is what users of this engine must know.
const Notice = "the process engine isolates nothing: what runs in a sandbox can reach this machine and its network; use demo keys and trusted input only"

// mappedPort is the port that SANDBOXD_ADDR stands for.
const mappedPort = 8080

// systemPath is the sandbox's PATH after the tools.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Options say where sandboxes live and what they find. Root is required.
type Options struct {
	// Root is the directory of the sandboxes; one engine uses it at a time.
	// As root, other users must be able to reach it (search permission on
	// every directory above).
	Root string
	// Tools are paths of programs to put on the sandboxes' PATH.
	Tools []string
	// Entrypoint, when set, is run at each start, like an image's.
	Entrypoint []string
	Log        *slog.Logger // default: discard
}

// Engine implements daytona.Engine. Make it with New.
type Engine struct {
	root       string
	entrypoint []string
	log        *slog.Logger
	lock       *os.File
	separate   bool // each sandbox has its own user id

	mu    sync.Mutex
	boxes map[string]*box
}

// box is one sandbox. saved is its file's content.
type box struct {
	saved
	dir string

	mu      sync.Mutex
	running bool
	port    int            // what mappedPort stands for while running
	claim   net.PacketConn // on that port; see freePort
}

type saved struct {
	ID         string            `json:"id"`
	UID        int               `json:"uid"` // the engine's own unless separate
	Env        map[string]string `json:"env"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Record     json.RawMessage   `json:"record"`
}

// New prepares the root directory. It fails if another engine uses it.
func New(opts Options) (*Engine, error) {
	if !supported {
		return nil, fault.New(fault.Usage, "the process engine needs a Unix system").WithHint("use the docker engine")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil || opts.Root == "" {
		return nil, fmt.Errorf("process engine: root directory %q: %w", opts.Root, errors.Join(err, os.ErrInvalid))
	}
	e := &Engine{
		root: root, entrypoint: opts.Entrypoint, log: opts.Log,
		separate: os.Geteuid() == 0, boxes: make(map[string]*box),
	}
	for _, dir := range []string{root, e.toolsDir(), e.boxesDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("process engine: %w", err)
		}
	}
	if e.separate {
		if closed := unreachable(e.boxesDir()); closed != "" {
			return nil, fault.New(fault.Usage, "process engine: other users cannot reach %s, because of %s", root, closed).
				WithHint("choose a directory that is not below a private one")
		}
	}
	if e.lock, err = lockFile(filepath.Join(root, "lock")); err != nil {
		return nil, fault.New(fault.Conflict, "process engine: %s is in use: %w", root, err)
	}
	for _, tool := range opts.Tools {
		if err := e.provide(tool); err != nil {
			return nil, errors.Join(fmt.Errorf("process engine: tool %s: %w", tool, err), e.lock.Close())
		}
	}
	return e, nil
}

func (e *Engine) toolsDir() string { return filepath.Join(e.root, "tools") }
func (e *Engine) boxesDir() string { return filepath.Join(e.root, "sandboxes") }

// Isolates is false.
func (e *Engine) Isolates() bool { return false }

// Notice returns the package's Notice.
func (e *Engine) Notice() string { return Notice }

// Load finds the sandboxes below the root. Their processes ended with the
// engine that started them; what is left of one that crashed is killed.
func (e *Engine) Load(ctx context.Context) ([]daytona.Saved, error) {
	files, err := filepath.Glob(filepath.Join(e.boxesDir(), "*", "sandbox.json"))
	if err != nil {
		return nil, err
	}
	var found []daytona.Saved
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		b := &box{dir: filepath.Dir(file)}
		if err := json.Unmarshal(data, &b.saved); err != nil || b.ID != filepath.Base(b.dir) {
			e.log.Warn("sandbox file cannot be read; left alone", "file", file, "error", err)
			continue
		}
		if err := e.kill(ctx, b); err != nil {
			return nil, err
		}
		e.mu.Lock()
		e.boxes[b.ID] = b
		e.mu.Unlock()
		found = append(found, daytona.Saved{ID: b.ID, Record: b.Record})
	}
	return found, nil
}

// Create makes the sandbox's directory and, as root, picks its user id.
func (e *Engine) Create(_ context.Context, spec daytona.Spec) error {
	entrypoint := spec.Entrypoint
	if entrypoint == nil {
		entrypoint = e.entrypoint
	}
	b := &box{dir: filepath.Join(e.boxesDir(), spec.ID)}
	b.saved = saved{ID: spec.ID, UID: os.Geteuid(), Env: maps.Clone(spec.Env), Entrypoint: entrypoint, Record: spec.Record}
	if err := os.Mkdir(b.dir, 0o711); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.furnish(b)
	if err != nil {
		return errors.Join(err, os.RemoveAll(b.dir))
	}
	e.boxes[b.ID] = b
	return nil
}

// furnish fills a new sandbox's directory. The caller holds e.mu, which keeps
// two from picking one user id.
func (e *Engine) furnish(b *box) error {
	if e.separate {
		uid, err := freeUID(slices.Collect(maps.Values(e.boxes)))
		if err != nil {
			return err
		}
		b.UID = uid
	}
	for _, dir := range []string{b.home(), b.temp()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, b.UID, b.gid()); err != nil {
			return err
		}
	}
	return b.write()
}

func (b *box) home() string { return filepath.Join(b.dir, "home") }
func (b *box) temp() string { return filepath.Join(b.dir, "tmp") }

// gid is the sandbox's group: its own when it has its own user.
func (b *box) gid() int {
	if b.UID != os.Geteuid() {
		return b.UID
	}
	return os.Getegid()
}

// write replaces the sandbox's file.
func (b *box) write() error {
	data, err := json.Marshal(b.saved)
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, "sandbox.json")
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Save keeps the record, also of a sandbox that could not be created.
func (e *Engine) Save(_ context.Context, id string, record []byte) error {
	b, err := e.box(id)
	if err != nil {
		b = &box{dir: filepath.Join(e.boxesDir(), id), saved: saved{ID: id, UID: os.Geteuid()}}
		if err := os.MkdirAll(b.dir, 0o711); err != nil {
			return err
		}
		e.mu.Lock()
		e.boxes[id] = b
		e.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Record = record
	return b.write()
}

func (e *Engine) box(id string) (*box, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("no sandbox %s", id)
}

// Start finds a free port for mappedPort; nothing runs yet.
func (e *Engine) Start(ctx context.Context, id string) ([]string, error) {
	b, err := e.box(id)
	if err != nil {
		return nil, err
	}
	port, claim, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claim != nil {
		b.claim.Close()
	}
	b.port, b.claim, b.running = port, claim, true
	return b.Entrypoint, nil
}

// freePort picks a port that nobody listens on. It is random, and below those
// that systems give to whoever asks for any: until the sandbox listens on it,
// nobody else should get it by chance. No other engine, of this process or
// another, does: the claim holds the port for UDP, which nobody else wants.
func freePort(ctx context.Context) (int, net.PacketConn, error) {
	const low, high = 10_000, 30_000
	var config net.ListenConfig
	for range 1000 {
		port := low + rand.IntN(high-low)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		claim, err := config.ListenPacket(ctx, "udp", address)
		if err != nil {
			continue
		}
		if listener, err := config.Listen(ctx, "tcp", address); err == nil {
			return port, claim, listener.Close()
		}
		claim.Close()
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
	}
	return 0, nil, errors.New("no free port")
}

// Stop kills everything that the sandbox runs.
func (e *Engine) Stop(ctx context.Context, id string) error {
	b, err := e.box(id)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	b.running = false
	claim := b.claim
	b.claim = nil
	b.mu.Unlock()
	if claim != nil {
		defer claim.Close()
	}
	return e.kill(ctx, b)
}

// Remove deletes the sandbox's directory.
func (e *Engine) Remove(ctx context.Context, id string) error {
	if err := e.Stop(ctx, id); err != nil {
		return err
	}
	e.mu.Lock()
	b := e.boxes[id]
	delete(e.boxes, id)
	e.mu.Unlock()
	if b == nil {
		return nil
	}
	return removeTree(b.dir)
}

// Block does nothing: see Notice.
func (e *Engine) Block(context.Context, string, bool) error { return nil }

// Dial connects to the machine's own port, or to SANDBOXD_ADDR for 8080.
func (e *Engine) Dial(ctx context.Context, id string, port int) (net.Conn, error) {
	b, err := e.box(id)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	running, mapped := b.running, b.port
	b.mu.Unlock()
	if !running {
		return nil, daytona.ErrStopped
	}
	if port == mappedPort {
		port = mapped
	}
	return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// Close stops the sandboxes: they do not outlive the engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	boxes := slices.Collect(maps.Values(e.boxes))
	e.mu.Unlock()
	var errs []error
	for _, b := range boxes {
		errs = append(errs, e.Stop(context.Background(), b.ID))
	}
	return errors.Join(append(errs, e.lock.Close())...)
}
