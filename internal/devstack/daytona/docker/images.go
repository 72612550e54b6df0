package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
)

// Pull finds a local image. It asks no registry: what a sandbox is made from is
// the user's to bring to this machine.
func (e *Engine) Pull(ctx context.Context, image string) (size int64, err error) {
	found, err := e.docker.ImageInspect(ctx, image)
	if err != nil {
		return 0, fmt.Errorf("pull image %s: %w", image, err)
	}
	return found.Size, nil
}

// Build makes an image from a Dockerfile alone, with the builder that every
// Docker engine has in it, and gives log what that says.
func (e *Engine) Build(ctx context.Context, image, dockerfile string, log func([]byte)) error {
	var files bytes.Buffer
	archive := tar.NewWriter(&files)
	if err := archive.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
		return err
	}
	if _, err := io.WriteString(archive, dockerfile); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	result, err := e.docker.ImageBuild(ctx, &files, client.ImageBuildOptions{
		Tags: []string{image}, Version: build.BuilderV1, Remove: true, ForceRemove: true,
		Labels: map[string]string{labelNamespace: e.namespace},
	})
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	defer result.Body.Close()
	for decoder := json.NewDecoder(result.Body); ; {
		var message struct{ Stream, Error string }
		switch err := decoder.Decode(&message); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("build: %w", err)
		case message.Error != "":
			return fmt.Errorf("build: %s", message.Error)
		}
		log([]byte(message.Stream))
	}
}

// Discard removes an image's name, and the image if it has no other.
func (e *Engine) Discard(ctx context.Context, image string) error {
	if _, err := e.docker.ImageRemove(ctx, image, client.ImageRemoveOptions{Force: true, PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", image, err)
	}
	return nil
}
