package github

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// need is what a route asks of the token and its bearer.
type need struct {
	permissions []string // any one of them; none: no repository is named
	write       bool
	role        role
}

// String is the need as X-Accepted-GitHub-Permissions spells it.
func (n need) String() string {
	access := "read"
	if n.write {
		access = "write"
	}
	sets := make([]string, len(n.permissions))
	for i, p := range n.permissions {
		sets[i] = p + "=" + access
	}
	return strings.Join(sets, "; ")
}

// route is one operation of the API.
type route struct {
	pattern string // method and path, with the parameters' names as in the OpenAPI document
	need    need
	do      func(*call) (any, error)
}

func allRoutes() []route {
	return slices.Concat(generalRoutes(), gitDataRoutes(), contentRoutes(), issueRoutes(), pullRoutes())
}

// match holds a request against the pattern and sets the parameters. (The
// patterns of issues' comments are such that http.ServeMux refuses them.)
func (rt route) match(r *http.Request) bool {
	method, pattern, _ := strings.Cut(rt.pattern, " ")
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/v3/")
	if r.Method != method || !ok {
		return false
	}
	values := map[string]string{}
	for want := range strings.SplitSeq(pattern[1:], "/") {
		var part string
		name, parameter := strings.CutPrefix(want, "{")
		name = strings.TrimSuffix(name, "}")
		name, all := strings.CutSuffix(name, "...")
		if all {
			part, rest = rest, ""
		} else {
			part, rest, _ = strings.Cut(rest, "/")
		}
		value, err := url.PathUnescape(part)
		if err != nil || value == "" || !parameter && value != name {
			return false
		}
		if parameter {
			values[name] = value
		}
	}
	if rest != "" {
		return false
	}
	for name, value := range values {
		r.SetPathValue(name, value)
	}
	r.Pattern = rt.pattern
	return true
}

// serveAPI answers a request by the first route that matches.
func (s *Server) serveAPI(a *answer, r *http.Request) {
	s.byID(r)
	for _, rt := range s.routes {
		if rt.match(r) {
			s.serveRoute(a, r, rt)
			return
		}
	}
	s.serveRoute(a, r, route{do: func(*call) (any, error) { return nil, errNotFound }})
}

func (s *Server) serveRoute(a *answer, r *http.Request, rt route) {
	r.Body = http.MaxBytesReader(a, r.Body, maxBody)
	c := &call{s: s, r: r, w: a}
	a.Header().Set("Date", s.opts.Now().UTC().Format(http.TimeFormat))
	a.Header().Set("X-GitHub-Media-Type", "github.v3; format=json")
	a.Header().Set("X-GitHub-Request-Id", s.requestID())
	body, err := c.answer(rt)
	status := http.StatusOK
	switch {
	case err == nil && r.Method == http.MethodPost && rt.pattern != "":
		status = http.StatusCreated
	case err == nil && body == nil:
		status = http.StatusNoContent
	case err != nil:
		status, body = c.refusal(err)
	}
	switch body := body.(type) {
	case nil:
		a.WriteHeader(status)
	case raw:
		a.Header().Set("Content-Type", body.mediaType)
		a.WriteHeader(status)
		_, err = a.Write(body.data)
	default:
		a.Header().Set("Content-Type", "application/json; charset=utf-8")
		a.WriteHeader(status)
		err = json.NewEncoder(a).Encode(body)
	}
	if err != nil {
		s.opts.Log.Debug("request refused, or its answer cut off", "path", r.URL.Path, "error", err)
	}
}
