package daytona_test

import (
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

func TestPushAccess(t *testing.T) {
	t.Parallel()
	const registry, storage = "/docker-registry/registry-push-access", "/object-storage/push-access"
	none := serve(t, daytona.Options{Engine: hollow()})
	none.want(none.api("GET", registry, nil), 500, "An unexpected error occurred.")
	none.want(none.api("GET", storage, nil), 503, "Object storage is not configured")

	b := serve(t, daytona.Options{
		Engine: hollow(), Permissions: []string{"write:sandboxes"},
		Registry: &daytona.Registry{Host: "127.0.0.1:5000", Project: "daytona", Username: "robot", Secret: "s1"},
		Storage:  &daytona.Storage{URL: "http://127.0.0.1:9000", Bucket: "daytona", AccessKey: "a", Secret: "s2", SessionToken: "s3"},
	})
	access := b.want(b.api("GET", registry+"?regionId=local", nil), 200, `"registryUrl":"127.0.0.1:5000"`)
	if ends, err := time.Parse(time.RFC3339, access.text("expiresAt")); err != nil || ends.Before(b.clock.Now()) {
		t.Errorf("expires %s, %v", ends, err)
	}
	b.want(b.api("GET", registry+"?regionId=mars", nil), 500, "")
	b.want(b.api("GET", storage, nil), 200, `"bucket":"daytona"`)
	b.server.SetPermissions("delete:sandboxes")
	for _, path := range []string{registry, storage} {
		b.want(b.api("GET", path, nil), 403, "Access denied")
	}
}
