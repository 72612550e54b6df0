package daytona

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// SSHAccess opens a sandbox to whoever has the token.
type SSHAccess struct {
	Token     secret.String // the user name at Daytona's SSH gateway
	Command   secret.String // as Daytona wrote it, the token in it: "ssh -p 2222 TOKEN@host"; not checked
	ExpiresAt Time
}

// SSHAccess makes an access of its own for ttl, rounded up to minutes. An
// access that the sandbox had before ends with that (v0.190), so it is
// repeated when an answer is lost.
//
// It calls POST /sandbox/{sandboxIdOrName}/ssh-access.
func (c *Client) SSHAccess(ctx context.Context, id string, ttl time.Duration) (SSHAccess, error) {
	r := request{
		op: "open SSH access to sandbox " + clean(id), method: http.MethodPost,
		path: []string{"sandbox", id, "ssh-access"}, safe: true,
		query: url.Values{"expiresInMinutes": {strconv.Itoa(roundUp(ttl, time.Minute))}},
	}
	if ttl <= 0 {
		return SSHAccess{}, fault.New(fault.Usage, "%s: %s is no time", r.op, ttl)
	}
	var answer struct {
		Token      string `json:"token"`
		SSHCommand string `json:"sshCommand"`
		ExpiresAt  Time   `json:"expiresAt"`
	}
	if err := c.call(ctx, r, &answer); err != nil {
		return SSHAccess{}, err
	}
	if answer.Token == "" || answer.SSHCommand == "" {
		return SSHAccess{}, r.lacks("token or command")
	}
	return SSHAccess{Token: secret.New(answer.Token), Command: secret.New(answer.SSHCommand), ExpiresAt: answer.ExpiresAt}, nil
}

// RevokeSSHAccess ends an access before its time; without a token, all of the
// sandbox's. It does not break connections that are open. (The API wants the
// token in the URL. Logs and errors here leave that part of URLs out, and the
// token is worth nothing afterwards.)
//
// It calls DELETE /sandbox/{sandboxIdOrName}/ssh-access.
func (c *Client) RevokeSSHAccess(ctx context.Context, id string, token secret.String) error {
	r := request{
		op: "revoke SSH access to sandbox " + clean(id), method: http.MethodDelete,
		path: []string{"sandbox", id, "ssh-access"}, safe: true,
	}
	if !token.IsZero() {
		r.query, r.hide = url.Values{"token": {token.Reveal()}}, token.Reveal // a refusal may quote the URL
	}
	return c.call(ctx, r, nil)
}
