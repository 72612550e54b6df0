package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// The networks are shared by all sandboxes on the machine, whatever their
// namespace, and stay: Docker has room for few of them.
const (
	networkOpen    = "dayclaude-sandboxes"
	networkBlocked = "dayclaude-sandboxes-blocked"
)

// network returns the id of the network for sandboxes with or without a way
// out, and makes it if it is not there.
func (e *Engine) network(ctx context.Context, blocked bool) (string, error) {
	name := networkOpen
	if blocked {
		name = networkBlocked
	}
	id, err := e.findNetwork(ctx, name)
	if id != "" || err != nil {
		return id, err
	}
	if _, err := e.docker.NetworkCreate(ctx, name, client.NetworkCreateOptions{
		Driver: "bridge", Internal: blocked,
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
	}); err != nil {
		// Another may have made it meanwhile.
		if id, _ := e.findNetwork(ctx, name); id != "" {
			return id, nil
		}
		return "", fmt.Errorf("create network %s: %w", name, err)
	}
	return e.findNetwork(ctx, name)
}

// findNetwork returns the oldest network of that name: an old Docker allows
// several, and two engines may have made one each at the same moment.
func (e *Engine) findNetwork(ctx context.Context, name string) (string, error) {
	networks, err := e.docker.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("name", name)})
	if err != nil {
		return "", fmt.Errorf("list networks: %w", err)
	}
	same := slices.DeleteFunc(networks.Items, func(n network.Summary) bool { return n.Name != name }) // the filter takes parts
	if len(same) == 0 {
		return "", nil
	}
	oldest := slices.MinFunc(same, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return oldest.ID, nil
}

// Block moves the container to the other network. Docker before 25 goes on
// to resolve names for a container that was created with a way out.
func (e *Engine) Block(ctx context.Context, id string, blocked bool) error {
	to, err := e.network(ctx, blocked)
	if err != nil {
		return err
	}
	c, err := e.docker.ContainerInspect(ctx, e.container(id), client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	e.forget(id)
	connected := false
	for _, endpoint := range c.Container.NetworkSettings.Networks {
		if endpoint.NetworkID == to {
			connected = true
			continue
		}
		if _, err := e.docker.NetworkDisconnect(ctx, endpoint.NetworkID, client.NetworkDisconnectOptions{Container: e.container(id), Force: true}); err != nil {
			return fmt.Errorf("leave network: %w", err)
		}
	}
	if connected {
		return nil
	}
	if _, err := e.docker.NetworkConnect(ctx, to, client.NetworkConnectOptions{Container: e.container(id)}); err != nil {
		return fmt.Errorf("join network: %w", err)
	}
	return nil
}
