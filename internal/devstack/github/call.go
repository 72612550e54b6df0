package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxBody bounds the body of an API request.
const maxBody = 64 << 20

// call is one API request on its way.
type call struct {
	s     *Server
	r     *http.Request
	w     *answer
	token *Token // nil: nobody in particular
	repo  *repo  // nil where the route names none
}

func (c *call) ctx() context.Context { return c.r.Context() }

// object is a JSON object.
type object = map[string]any

// raw is an answer that is not JSON.
type raw struct {
	mediaType string
	data      []byte
}

// apiError is an answer that refuses.
type apiError struct {
	status  int
	message string
	fields  []fieldError
}

// fieldError is one entry of a 422's errors.
type fieldError struct {
	Resource string `json:"resource"`
	Field    string `json:"field,omitempty"`
	Code     string `json:"code"`
	Message  string `json:"message,omitempty"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.status, e.message) }

func refuse(status int, format string, args ...any) *apiError {
	return &apiError{status: status, message: fmt.Sprintf(format, args...)}
}

// invalid is a 422 with what is wrong about one resource.
func invalid(resource, field, code, message string) *apiError {
	return &apiError{422, "Validation Failed", []fieldError{{resource, field, code, message}}}
}

var (
	errNotFound  = refuse(404, "Not Found")
	errEmptyRepo = refuse(409, "Git Repository is empty.")
)

// answer checks who asks before it does what the route does.
func (c *call) answer(rt route) (any, error) {
	value, ok := apiCredential(c.r)
	if ok {
		c.token, ok = c.s.bearer(value)
	}
	if !ok {
		return nil, refuse(401, "Bad credentials")
	}
	c.w.login = c.token.login()
	c.describeToken(rt.need)
	if c.r.URL.Path != "/api/v3/rate_limit" {
		if err := c.spend(); err != nil {
			return nil, err
		}
	}
	if c.r.PathValue("owner") != "" {
		c.s.mu.Lock()
		c.repo, _ = c.s.repo(c.r.PathValue("owner") + "/" + c.r.PathValue("repo"))
		c.s.mu.Unlock()
		if err := c.authorize(rt.need); err != nil {
			return nil, err
		}
		if name := c.r.PathValue("owner") + "/" + c.r.PathValue("repo"); c.repo.renamed(name) {
			_, rest, _ := strings.Cut(c.r.URL.EscapedPath(), "/repos/")
			return nil, c.moved(c.repo.id, rest[len(name):])
		}
	}
	return rt.do(c)
}

// refusal turns an error into an answer.
func (c *call) refusal(err error) (int, any) {
	var refused *apiError
	var moved *movedError
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
	case errors.As(err, &moved):
		c.w.Header().Set("Location", moved.to)
		return moved.status, object{
			"message": "Moved Permanently", "url": moved.to,
			"documentation_url": "https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api#follow-redirects",
		}
	case errors.As(err, &tooBig):
		refused = refuse(413, "Payload too big: the maximum is %d bytes", tooBig.Limit)
	case errors.Is(err, errTooLarge):
		refused = &apiError{403, "This API returns blobs up to 100 MB in size. The requested blob is too large to fetch via the API, but you can always clone the repository via Git to obtain this blob.", []fieldError{{"Blob", "data", "too_large", ""}}}
	default:
		c.s.opts.Log.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		refused = refuse(500, "Server Error")
	}
	body := object{
		"message":           refused.message,
		"documentation_url": "https://docs.github.com/rest",
		"status":            strconv.Itoa(refused.status),
	}
	if len(refused.fields) > 0 {
		body["errors"] = refused.fields
	}
	return refused.status, body
}

// apiCredential reads the token of an API request; false if there is an
// Authorization header that holds none.
func apiCredential(r *http.Request) (string, bool) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", true
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, password != ""
	}
	scheme, value, _ := strings.Cut(header, " ")
	value = strings.TrimSpace(value)
	return value, value != "" && (strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token"))
}

// describeToken sets the headers from which a client learns what its token is
// and what the route would have wanted.
func (c *call) describeToken(n need) {
	if c.token == nil {
		return
	}
	h := c.w.Header()
	if !c.token.Expires.IsZero() {
		h.Set("GitHub-Authentication-Token-Expiration", c.token.Expires.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	if c.token.Kind == Classic {
		h.Set("X-OAuth-Scopes", strings.Join(c.token.Scopes, ", "))
		h.Set("X-Accepted-OAuth-Scopes", "")
		if n.write {
			h.Set("X-Accepted-OAuth-Scopes", "repo")
		}
	} else if len(n.permissions) > 0 {
		h.Set("X-Accepted-GitHub-Permissions", n.String())
	}
}

// authorize refuses what the token or its bearer's role does not allow. A
// private repository that the token does not see does not exist.
func (c *call) authorize(n need) error {
	t := c.token
	switch {
	case c.repo == nil || !t.sees(c.repo):
		return errNotFound
	case t == nil && n.write:
		return refuse(401, "Requires authentication")
	case t != nil && t.lacksSAML(c.repo):
		c.w.Header().Set("X-GitHub-SSO", fmt.Sprintf("required; url=https://github.com/orgs/%s/sso?authorization_request=A", c.repo.Owner))
		return refuse(403, "Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization.")
	case t != nil && !c.repo.admits(c.r.RemoteAddr):
		return refuse(403, "Although you appear to have the correct authorization credentials, the `%s` organization has an IP allow list enabled, and your IP address is not permitted to access this resource.", c.repo.Owner)
	case t != nil && t.Kind == Classic && c.repo.NoClassicTokens:
		return refuse(403, "`%s` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions.", c.repo.Owner)
	case t.grants(c.repo, n.write, n.permissions...) && t.role(c.repo) >= n.role:
	case t != nil && t.Kind == FineGrained:
		return refuse(403, "Resource not accessible by personal access token")
	case t != nil && t.Kind == App:
		return refuse(403, "Resource not accessible by integration")
	default:
		return errNotFound
	}
	if n.write && c.repo.Archived {
		return refuse(403, "Repository was archived so is read-only.")
	}
	return nil
}

// decode reads the request's JSON body.
func (c *call) decode(into any) error {
	data, err := io.ReadAll(c.r.Body)
	if err != nil {
		return err
	}
	var mistyped *json.UnmarshalTypeError
	switch err := json.Unmarshal(data, into); {
	case err == nil:
		return nil
	case errors.As(err, &mistyped) && mistyped.Field == "":
		return refuse(400, "Body should be a JSON object")
	case errors.As(err, &mistyped):
		return refuse(422, "Invalid request.\n\nFor 'properties/%s', %s is not of the right type.", strings.ToLower(mistyped.Field), mistyped.Value)
	}
	return refuse(400, "Problems parsing JSON")
}

// accepts reports whether the client asked for a media type such as "raw",
// in any of the spellings that GitHub takes.
func (c *call) accepts(format string) bool {
	for _, value := range c.r.Header.Values("Accept") {
		for accepted := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(accepted), ";")
			name = strings.TrimSuffix(name, "+json")
			if name == "application/vnd.github."+format || name == "application/vnd.github.v3."+format {
				return true
			}
		}
	}
	return false
}

// number is a path parameter that is a number; 404 if it is not one.
func (c *call) number(name string) (int64, error) {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil || n < 1 {
		return 0, errNotFound
	}
	return n, nil
}

// page cuts a list to the page that was asked for and links to the others.
func page[T any](c *call, items []T) []T {
	query := c.r.URL.Query()
	size, err := strconv.Atoi(query.Get("per_page"))
	if err != nil || size < 1 {
		size = 30
	}
	size = min(size, 100)
	last := max(1, (len(items)+size-1)/size)
	at, err := strconv.Atoi(query.Get("page"))
	if err != nil || at < 1 {
		at = 1
	}
	var links []string
	link := func(rel string, page int) {
		query.Set("page", strconv.Itoa(page))
		u := url.URL{Path: c.r.URL.Path, RawPath: c.r.URL.RawPath, RawQuery: query.Encode()}
		links = append(links, fmt.Sprintf(`<%s%s>; rel="%s"`, c.s.url, u.String(), rel))
	}
	if at > 1 {
		link("prev", min(at-1, last))
	}
	if at < last {
		link("next", at+1)
		link("last", last)
	}
	if at > 1 {
		link("first", 1)
	}
	if len(links) > 0 {
		c.w.Header().Set("Link", strings.Join(links, ", "))
	}
	if at > last {
		return []T{}
	}
	return slices.Clone(items[(at-1)*size : min(at*size, len(items))])
}
