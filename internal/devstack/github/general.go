package github

import "strings"

// generalRoutes are those of users, limits and repositories as such.
func generalRoutes() []route {
	metadata := need{permissions: []string{"metadata"}}
	return []route{
		{"GET /user", need{}, getUser},
		{"GET /users/{username}", need{}, getNamedUser},
		{"GET /rate_limit", need{}, getRateLimit},
		{"GET /repos/{owner}/{repo}", metadata, getRepository},
		{"GET /repos/{owner}/{repo}/collaborators/{username}/permission", metadata, getPermission},
	}
}

func getUser(c *call) (any, error) {
	switch {
	case c.token == nil:
		return nil, refuse(401, "Requires authentication")
	case c.token.Kind == App:
		return nil, refuse(403, "Resource not accessible by integration")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	shape := c.s.accountShape(c.s.user(c.token.Login))
	for _, field := range []string{"private_gists", "total_private_repos", "owned_private_repos", "disk_usage", "collaborators"} {
		shape[field] = 0
	}
	shape["user_view_type"], shape["two_factor_authentication"] = "private", true
	return shape, nil
}

func getNamedUser(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	u := c.s.users[strings.ToLower(c.r.PathValue("username"))]
	if u == nil {
		return nil, errNotFound
	}
	return c.s.accountShape(u), nil
}

func getRepository(c *call) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.fullRepoShape(c.repo, c.token), nil
}

// getPermission says what a user may do, to those who may push themselves.
func getPermission(c *call) (any, error) {
	if c.token == nil {
		return nil, refuse(401, "Requires authentication")
	}
	if c.token.role(c.repo) < roleWrite {
		return nil, refuse(403, "Must have push access to view collaborator permission.")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	login := c.r.PathValue("username")
	u := c.s.users[strings.ToLower(login)]
	if u == nil {
		return nil, refuse(404, "%s is not a user", login)
	}
	role := c.repo.role(u.Login)
	permission := role // the older field knows four values only
	switch role {
	case roleTriage:
		permission = roleRead
	case roleMaintain:
		permission = roleWrite
	}
	shape := c.s.userShape(u)
	shape["role_name"] = role.String()
	shape["permissions"] = object{
		"admin": role >= roleAdmin, "maintain": role >= roleMaintain, "push": role >= roleWrite,
		"triage": role >= roleTriage, "pull": role >= roleRead,
	}
	return object{"permission": permission.String(), "role_name": role.String(), "user": shape}, nil
}
