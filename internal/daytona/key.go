package daytona

import (
	"context"
	"net/http"
)

// Key describes the API key that the client uses, without its value.
type Key struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"` // as "write:sandboxes"
	ExpiresAt   Time     `json:"expiresAt"`   // zero: never
	UserID      string   `json:"userId"`
}

// CurrentKey returns what the client's API key may do; an *Error with ReasonKey
// if Daytona does not know it.
//
// It calls GET /api-keys/current.
func (c *Client) CurrentKey(ctx context.Context) (*Key, error) {
	var k Key
	err := c.call(ctx, request{
		op: "look up the API key", method: http.MethodGet, path: []string{"api-keys", "current"}, safe: true,
	}, &k)
	if err != nil {
		return nil, err
	}
	return &k, nil
}
