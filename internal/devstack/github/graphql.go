package github

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// viewerQuery matches the one query that is known: who the token's bearer is.
var viewerQuery = regexp.MustCompile(`^(?:query(?:\s+\w+)?)?\s*\{\s*viewer\s*\{([\s,\w]+)\}\s*\}$`)

// readyMutation matches the one mutation that is known.
var readyMutation = regexp.MustCompile(`^mutation\s*\(\s*\$id\s*:\s*ID!\s*\)\s*\{\s*markPullRequestReadyForReview\s*\(\s*input\s*:\s*\{\s*pullRequestId\s*:\s*\$id\s*\}\s*\)\s*\{\s*pullRequest\s*\{\s*isDraft\s*\}\s*\}\s*\}$`)

// graphQL answers what REST does not tell: the login of an App's installation,
// for which GET /user is forbidden, and that a draft is ready for review.
// Errors come with the status 200.
func graphQL(c *call) (any, error) {
	var in struct {
		Query     string
		Variables struct{ ID string }
	}
	switch {
	case c.r.Method != "POST":
		return nil, errNotFound
	case c.token == nil:
		return nil, refuse(401, "This endpoint requires you to be authenticated.")
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if readyMutation.MatchString(strings.TrimSpace(in.Query)) {
		return c.ready(in.Variables.ID)
	}
	query := viewerQuery.FindStringSubmatch(strings.TrimSpace(in.Query))
	if query == nil {
		return graphQLError("the embedded GitHub knows only the query { viewer { … } } and the mutation markPullRequestReadyForReview")
	}
	c.s.mu.Lock()
	u := c.s.user(c.token.Login)
	c.s.mu.Unlock()
	known := object{"login": u.Login, "databaseId": u.id, "id": nodeID(u.kind(), u.id), "__typename": "User"}
	viewer := object{}
	for field := range strings.FieldsFuncSeq(query[1], func(r rune) bool { return r == ',' || r <= ' ' }) {
		value, ok := known[field]
		if !ok {
			return graphQLError(fmt.Sprintf("Field '%s' doesn't exist on type 'User'", field))
		}
		viewer[field] = value
	}
	return graphQLAnswer(object{"data": object{"viewer": viewer}})
}

// ready makes a draft an ordinary pull request.
func (c *call) ready(node string) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, r := range c.s.repos {
		for _, i := range r.issues {
			if i.pull == nil || nodeID("PullRequest", i.id) != node {
				continue
			}
			if !c.token.grants(r, true, "pull_requests") || c.token.role(r) < roleWrite {
				return graphQLError("Resource not accessible by personal access token")
			}
			i.pull.draft, i.updated = false, c.s.now()
			return graphQLAnswer(object{"data": object{"markPullRequestReadyForReview": object{"pullRequest": object{"isDraft": false}}}})
		}
	}
	return graphQLError(fmt.Sprintf("Could not resolve to a node with the global id of '%s'", node))
}

func graphQLError(message string) (any, error) {
	return graphQLAnswer(object{"errors": []object{{"message": message}}})
}

// graphQLAnswer is an answer that, unlike REST's to a POST, has the status 200.
func graphQLAnswer(body object) (any, error) {
	data, err := json.Marshal(body)
	return raw{"application/json; charset=utf-8", data}, err
}
