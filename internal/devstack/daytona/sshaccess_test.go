package daytona_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/devstack/daytona"
)

// An SSH access opens one sandbox until it expires, is revoked or replaced.
func TestSSHAccess(t *testing.T) {
	t.Parallel()
	b := serve(t, daytona.Options{Engine: hollow()})
	id := b.create(object{"name": "one"})
	path := "/sandbox/one/ssh-access"
	access := b.want(b.api("POST", path+"?expiresInMinutes=5", nil), 200, id)
	if ends, err := time.Parse(time.RFC3339, access.text("expiresAt")); err != nil || ends.Sub(b.clock.Now()).Round(time.Minute) != 5*time.Minute {
		t.Errorf("expires %s, %v", ends, err)
	}
	if command := access.text("sshCommand"); !strings.HasPrefix(command, "ssh -p ") || !strings.HasSuffix(command, " "+access.text("token")+"@127.0.0.1") {
		t.Errorf("command %q", command)
	}
	for _, minutes := range []string{"0", "soon"} {
		b.want(b.api("POST", path+"?expiresInMinutes="+minutes, nil), 400, "expiresInMinutes")
	}
	for _, query := range []string{"?token=" + access.text("token"), "?token=other", ""} {
		b.want(b.api("DELETE", path+query, nil), 200, id)
	}
	b.want(b.api("POST", "/sandbox/none/ssh-access", nil), 404, "")
	b.want(b.api("DELETE", "/sandbox/none/ssh-access", nil), 404, "")
}
