// Package docker runs the embedded Daytona's sandboxes as containers of a
// local Docker engine (20.10 or later).
//
// A sandbox keeps running when the server ends: what is known of it lives in
// Docker's labels. A container's labels cannot change, so a changed record
// becomes the label of an empty volume that nothing mounts.
//
// Containers have no capabilities, cannot gain privileges and do not see each
// other. PID 1 is a sleeper; the image's entrypoint is the server's to start.
// A sandbox without network is on an internal network: it reaches neither the
// internet nor DNS, but does reach what this machine offers on all its
// addresses.
package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
)

// Labels of containers and of the volumes that hold records.
const (
	labelNamespace  = "dayclaude.daytona.namespace"
	labelSandbox    = "dayclaude.daytona.sandbox"
	labelRecord     = "dayclaude.daytona.record"
	labelEntrypoint = "dayclaude.daytona.entrypoint" // JSON, of containers
	labelSequence   = "dayclaude.daytona.sequence"   // of volumes; the highest counts
)

// previewPort is the one port published where containers' addresses cannot
// be reached from the host, as with Docker Desktop.
const previewPort = 8080

// maxProcesses bounds a sandbox's processes and threads.
const maxProcesses = 4096

// Options say which Docker engine to use and whose sandboxes to see.
type Options struct {
	// Host is the engine's address; default DOCKER_HOST, then Docker's own.
	Host string
	// Namespace keeps the sandboxes of several servers apart; one server uses
	// it at a time. Default "dayclaude".
	Namespace string
}

// Engine implements daytona.Engine. Make it with New.
type Engine struct {
	docker    *client.Client
	namespace string

	mu      sync.Mutex
	address map[string]string // of running sandboxes, as far as looked up
	volumes map[string]volumeOf
}

// volumeOf is the volume that holds a sandbox's record.
type volumeOf struct {
	name     string
	sequence int
}

// New connects to the Docker engine. It fails if no engine answers.
func New(ctx context.Context, opts Options) (*Engine, error) {
	host := client.WithHostFromEnv()
	if opts.Host != "" {
		host = client.WithHost(opts.Host)
	}
	docker, err := client.New(host, client.WithTLSClientConfigFromEnv())
	if err != nil {
		return nil, fault.New(fault.Usage, "docker client: %w", err).WithHint("check DOCKER_HOST")
	}
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, errors.Join(
			fault.New(fault.Unavailable, "no Docker engine answers: %w", err).
				WithHint("start Docker, or use the process engine"),
			docker.Close())
	}
	return &Engine{
		docker: docker, namespace: cmp.Or(opts.Namespace, "dayclaude"),
		address: make(map[string]string), volumes: make(map[string]volumeOf),
	}, nil
}

// Isolates is true.
func (e *Engine) Isolates() bool { return true }

// Notice is empty.
func (e *Engine) Notice() string { return "" }

// Close lets go of the connection; containers run on.
func (e *Engine) Close() error { return e.docker.Close() }

func (e *Engine) container(id string) string { return e.namespace + "-" + id }

func (e *Engine) mine() client.Filters {
	return make(client.Filters).Add("label", labelNamespace+"="+e.namespace)
}

// Load finds the namespace's containers, and the records of sandboxes that
// never got one.
func (e *Engine) Load(ctx context.Context) ([]daytona.Saved, error) {
	containers, err := e.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.mine()})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := make(map[string]daytona.Saved)
	for _, c := range containers.Items {
		id := c.Labels[labelSandbox]
		found[id] = daytona.Saved{ID: id, Record: []byte(c.Labels[labelRecord]), Running: c.State == container.StateRunning}
	}
	volumes, err := e.docker.VolumeList(ctx, client.VolumeListOptions{Filters: e.mine()})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range volumes.Items {
		id := v.Labels[labelSandbox]
		sequence, err := strconv.Atoi(v.Labels[labelSequence])
		if err != nil {
			continue
		}
		this := volumeOf{v.Name, sequence}
		if other, ok := e.volumes[id]; ok { // a save was interrupted
			stale := other
			if other.sequence > sequence {
				stale, this = this, other
			}
			if err := e.removeVolume(ctx, stale.name); err != nil {
				return nil, err
			}
			if this == other {
				continue
			}
		}
		e.volumes[id] = this
		saved := found[id]
		saved.ID, saved.Record = id, []byte(v.Labels[labelRecord])
		found[id] = saved
	}
	return slices.Collect(maps.Values(found)), nil
}

// HasImage reports whether the engine holds a local image.
func (e *Engine) HasImage(ctx context.Context, name string) (bool, error) {
	_, err := e.docker.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Create makes a container from a local image.
func (e *Engine) Create(ctx context.Context, spec daytona.Spec) error {
	image, err := e.docker.ImageInspect(ctx, spec.Image)
	if err != nil {
		return fmt.Errorf("image %s: %w", spec.Image, err)
	}
	entrypoint := spec.Entrypoint
	if entrypoint == nil && image.Config != nil {
		entrypoint = image.Config.Entrypoint
	}
	words, err := json.Marshal(entrypoint)
	if err != nil {
		return err
	}
	networkID, err := e.network(ctx, spec.Blocked)
	if err != nil {
		return err
	}
	config := &container.Config{
		Image:      spec.Image,
		Entrypoint: []string{"sleep", "infinity"},
		Env:        list(spec.Env),
		Labels: map[string]string{
			labelNamespace: e.namespace, labelSandbox: spec.ID,
			labelRecord: string(spec.Record), labelEntrypoint: string(words),
		},
	}
	host := hostConfig(spec)
	host.NetworkMode = container.NetworkMode(networkID)
	publish(config, host)
	if _, err := e.docker.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: e.container(spec.ID), Config: config, HostConfig: host,
	}); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	return nil
}

func hostConfig(spec daytona.Spec) *container.HostConfig {
	const (
		gib    = 1 << 30
		period = 100_000 // microseconds
	)
	reap, processes := true, int64(maxProcesses)
	host := &container.HostConfig{
		CapDrop:     []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges"},
		Init:        &reap,
		Resources: container.Resources{
			Memory:     int64(spec.Memory) * gib,
			MemorySwap: int64(spec.Memory) * gib, // no swap on top
			CPUPeriod:  period,
			CPUQuota:   int64(spec.CPU) * period,
			PidsLimit:  &processes,
		},
	}
	if spec.Blocked {
		// Docker's resolver would ask on the container's behalf, from the
		// host's network (CVE-2024-29018), unless it is told a server: this
		// one is nobody's (RFC 5737). Packets vanish, so nobody should wait
		// long for the answer.
		host.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		host.DNSOptions = []string{"timeout:1", "attempts:1"}
	}
	return host
}

// publish maps previewPort to the host's loopback where it is needed.
func publish(config *container.Config, host *container.HostConfig) {
	if runtime.GOOS == "linux" {
		return
	}
	port, _ := network.PortFrom(previewPort, network.TCP)
	config.ExposedPorts = network.PortSet{port: {}}
	host.PortBindings = network.PortMap{port: {{HostIP: netip.MustParseAddr("127.0.0.1")}}}
}

// Start starts the container and returns the image's entrypoint, or what
// replaces it.
func (e *Engine) Start(ctx context.Context, id string) ([]string, error) {
	if _, err := e.docker.ContainerStart(ctx, e.container(id), client.ContainerStartOptions{}); err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	c, err := e.docker.ContainerInspect(ctx, e.container(id), client.ContainerInspectOptions{})
	if err != nil {
		return nil, fmt.Errorf("inspect container: %w", err)
	}
	var entrypoint []string
	if err := json.Unmarshal([]byte(c.Container.Config.Labels[labelEntrypoint]), &entrypoint); err != nil {
		return nil, fmt.Errorf("entrypoint label: %w", err)
	}
	return entrypoint, nil
}

// Stop kills the container's processes.
func (e *Engine) Stop(ctx context.Context, id string) error {
	e.forget(id)
	_, err := e.docker.ContainerKill(ctx, e.container(id), client.ContainerKillOptions{Signal: "KILL"})
	if err == nil {
		// The kill is sent; stopping waits for it.
		now := 0
		_, err = e.docker.ContainerStop(ctx, e.container(id), client.ContainerStopOptions{Timeout: &now})
	}
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil // it does not run
	}
	return err
}

// Remove removes the container and the record.
func (e *Engine) Remove(ctx context.Context, id string) error {
	e.forget(id)
	_, err := e.docker.ContainerRemove(ctx, e.container(id), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container: %w", err)
	}
	e.mu.Lock()
	volume, ok := e.volumes[id]
	delete(e.volumes, id)
	e.mu.Unlock()
	if !ok {
		return nil
	}
	return e.removeVolume(ctx, volume.name)
}

// Save puts the record into a new volume's label and removes the one before:
// an interrupted save leaves at least one.
func (e *Engine) Save(ctx context.Context, id string, record []byte) error {
	e.mu.Lock()
	old, replaced := e.volumes[id]
	e.mu.Unlock()
	sequence := old.sequence + 1
	next := volumeOf{fmt.Sprintf("%s-record-%s-%d", e.namespace, id, sequence), sequence}
	if _, err := e.docker.VolumeCreate(ctx, client.VolumeCreateOptions{
		Name: next.name,
		Labels: map[string]string{
			labelNamespace: e.namespace, labelSandbox: id,
			labelRecord: string(record), labelSequence: strconv.Itoa(sequence),
		},
	}); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	e.mu.Lock()
	e.volumes[id] = next
	e.mu.Unlock()
	if !replaced {
		return nil
	}
	return e.removeVolume(ctx, old.name)
}

func (e *Engine) removeVolume(ctx context.Context, name string) error {
	if _, err := e.docker.VolumeRemove(ctx, name, client.VolumeRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove record: %w", err)
	}
	return nil
}

func (e *Engine) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.address, id)
}

// Dial connects to a port at the container's own address, or, where that
// cannot be reached, to the published previewPort.
func (e *Engine) Dial(ctx context.Context, id string, port int) (net.Conn, error) {
	address, err := e.reach(ctx, id, port)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

func (e *Engine) reach(ctx context.Context, id string, port int) (string, error) {
	if runtime.GOOS == "linux" {
		e.mu.Lock()
		ip := e.address[id]
		e.mu.Unlock()
		if ip != "" {
			return net.JoinHostPort(ip, strconv.Itoa(port)), nil
		}
	}
	result, err := e.docker.ContainerInspect(ctx, e.container(id), client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return "", daytona.ErrStopped
	case err != nil:
		return "", err
	case !result.Container.State.Running:
		return "", daytona.ErrStopped
	}
	settings := result.Container.NetworkSettings
	if runtime.GOOS != "linux" {
		number, _ := network.PortFrom(previewPort, network.TCP)
		if bindings := settings.Ports[number]; port == previewPort && len(bindings) > 0 {
			return net.JoinHostPort("127.0.0.1", bindings[0].HostPort), nil
		}
		return "", fmt.Errorf("port %d of a container cannot be reached on %s, only %d", port, runtime.GOOS, previewPort)
	}
	for _, endpoint := range settings.Networks {
		if endpoint.IPAddress.IsValid() {
			ip := endpoint.IPAddress.String()
			e.mu.Lock()
			e.address[id] = ip
			e.mu.Unlock()
			return net.JoinHostPort(ip, strconv.Itoa(port)), nil
		}
	}
	return "", errors.New("the container has no address")
}

func list(env map[string]string) []string {
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}
