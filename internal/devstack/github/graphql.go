package github

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// viewerQuery matches the one query that is known: who the token's bearer is.
var viewerQuery = regexp.MustCompile(`^(?:query(?:\s+\w+)?)?\s*\{\s*viewer\s*\{([\s,\w]+)\}\s*\}$`)

// graphQL answers what REST does not tell: the login of an App's installation,
// for which GET /user is forbidden. Errors come with the status 200.
func graphQL(c *call) (any, error) {
	var in struct{ Query string }
	switch {
	case c.r.Method != "POST":
		return nil, errNotFound
	case c.token == nil:
		return nil, refuse(401, "This endpoint requires you to be authenticated.")
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	query := viewerQuery.FindStringSubmatch(strings.TrimSpace(in.Query))
	if query == nil {
		return graphQLError("the embedded GitHub knows only the query { viewer { … } }")
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

func graphQLError(message string) (any, error) {
	return graphQLAnswer(object{"errors": []object{{"message": message}}})
}

// graphQLAnswer is an answer that, unlike REST's to a POST, has the status 200.
func graphQLAnswer(body object) (any, error) {
	data, err := json.Marshal(body)
	return raw{"application/json; charset=utf-8", data}, err
}
