package cmd

import (
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/daytona"
	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// TestParseSSH takes nothing from a server that could be another option, line
// or command.
func TestParseSSH(t *testing.T) {
	t.Parallel()
	const token = "Ab1_x-Y"
	for command, want := range map[string]sshTo{
		"ssh -p 2222 Ab1_x-Y@ssh.example.com": {"ssh.example.com", "2222", token},
		"ssh Ab1_x-Y@127.0.0.1":               {"127.0.0.1", "22", token},
		"ssh Ab1_x-Y@2001:db8::1":             {"2001:db8::1", "22", token},
	} {
		got, err := parseSSH(daytona.SSHAccess{Token: secret.New(token), Command: secret.New(command)})
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", command, got, err)
		}
	}
	for _, command := range []string{
		"", "ssh", "ssh ssh.example.com", "ssh other@ssh.example.com",
		"ssh -p 2222 Ab1_x-Y@ssh.example.com rm -rf /", "ssh -o ProxyCommand=evil Ab1_x-Y@ssh.example.com",
		"ssh Ab1_x-Y@-oProxyCommand=evil", "ssh Ab1_x-Y@ssh.example.com\nProxyCommand evil", "ssh -p 22\n2 Ab1_x-Y@ssh.example.com",
		"ssh Ab1_x-Y@ssh.example.com;evil", "sh Ab1_x-Y@ssh.example.com", "ssh -p 2222222 Ab1_x-Y@ssh.example.com",
		"ssh Ab1_x-Y@%h", "ssh Ab1_x-Y@",
	} {
		_, err := parseSSH(daytona.SSHAccess{Token: secret.New(token), Command: secret.New(command)})
		if fault.KindOf(err) != fault.Unavailable || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", command, err)
		}
	}
	evil := daytona.SSHAccess{Token: secret.New("-oX"), Command: secret.New("ssh -oX@ssh.example.com")}
	if to, err := parseSSH(evil); err == nil {
		t.Errorf("a token that is an option: %+v", to)
	}
}
