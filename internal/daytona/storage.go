package daytona

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// ObjectStorageAccess lets the context of a build be put where Daytona's
// builder finds it, by the S3 protocol with signature version 4, as
// {OrganizationID}/{hash}/context.tar in Bucket. It is good for an hour.
type ObjectStorageAccess struct {
	URL            string
	Bucket         string
	Region         string
	OrganizationID string
	AccessKey      string // the key's id
	Secret         secret.String
	SessionToken   secret.String
}

// ObjectStorageAccess makes credentials for Daytona's object storage; an
// *Error of kind Unavailable if the server has none.
//
// It calls GET /object-storage/push-access.
func (c *Client) ObjectStorageAccess(ctx context.Context) (*ObjectStorageAccess, error) {
	r := request{
		op: "get access to Daytona's object storage", method: http.MethodGet,
		path: []string{"object-storage", "push-access"}, safe: true,
	}
	var answer struct{ AccessKey, Secret, SessionToken, StorageURL, OrganizationID, Bucket, Region string }
	if err := c.call(ctx, r, &answer); err != nil {
		return nil, err
	}
	u, err := c.told(answer.StorageURL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.op, err)
	}
	if answer.Bucket == "" || answer.OrganizationID == "" || answer.Secret == "" {
		return nil, r.lacks("bucket, organization or secret")
	}
	return &ObjectStorageAccess{
		URL: u.String(), Bucket: answer.Bucket,
		Region:         cmp.Or(answer.Region, "us-east-1"), // v0.190 does not say
		OrganizationID: answer.OrganizationID, AccessKey: answer.AccessKey,
		Secret: secret.New(answer.Secret), SessionToken: secret.New(answer.SessionToken),
	}, nil
}
