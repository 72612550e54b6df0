package github

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// stamp is a time as the API spells it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// optionalStamp is null for the zero time.
func optionalStamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

// nodeID is an opaque id for GraphQL.
func nodeID(kind string, id any) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s:%v", kind, id))
}

// escapePath escapes what must be in a URL's path and keeps the slashes.
func escapePath(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// apiURL is a URL below the repository's in the API; path begins with a slash.
func (s *Server) apiURL(r *repo, path string) string {
	return s.url + "/api/v3/repos/" + r.fullName() + path
}

// webURL is a URL below the repository's for people.
func (s *Server) webURL(r *repo, path string) string {
	return s.url + "/" + r.fullName() + path
}

func (s *Server) userShape(u *user) object {
	api := s.url + "/api/v3/users/" + url.PathEscape(u.Login)
	return object{
		"login": u.Login, "id": u.id, "node_id": nodeID("User", u.id),
		"avatar_url": fmt.Sprintf("%s/avatars/u/%d", s.url, u.id), "gravatar_id": "",
		"url": api, "html_url": s.url + "/" + url.PathEscape(u.Login),
		"followers_url": api + "/followers", "following_url": api + "/following{/other_user}",
		"gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}",
		"subscriptions_url": api + "/subscriptions", "organizations_url": api + "/orgs",
		"repos_url": api + "/repos", "events_url": api + "/events{/privacy}",
		"received_events_url": api + "/received_events",
		"type":                u.kind(), "site_admin": false, "user_view_type": "public",
	}
}

// accountShape is a user with the fields of a profile.
func (s *Server) accountShape(u *user) object {
	shape := s.userShape(u)
	for _, field := range []string{"company", "blog", "location", "hireable", "bio", "twitter_username", "name", "email"} {
		shape[field] = nil
	}
	if u.Name != "" {
		shape["name"] = u.Name
	}
	if u.Email != "" {
		shape["email"] = u.Email
	}
	for _, field := range []string{"public_repos", "public_gists", "followers", "following"} {
		shape[field] = 0
	}
	shape["created_at"], shape["updated_at"] = stamp(time.Unix(0, 0)), stamp(time.Unix(0, 0))
	return shape
}

// repoTemplates are the fields of a repository that hold a URL below its own.
var repoTemplates = map[string]string{
	"archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
	"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}",
	"comments_url": "/comments{/number}", "commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}",
	"contents_url": "/contents/{+path}", "contributors_url": "/contributors", "deployments_url": "/deployments",
	"downloads_url": "/downloads", "events_url": "/events", "forks_url": "/forks", "git_commits_url": "/git/commits{/sha}",
	"git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}", "hooks_url": "/hooks",
	"issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}",
	"languages_url": "/languages", "merges_url": "/merges", "milestones_url": "/milestones{/number}",
	"notifications_url": "/notifications{?since,all,participating}", "pulls_url": "/pulls{/number}",
	"releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
	"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
	"trees_url": "/git/trees{/sha}",
}

// repoShape is the repository as the token's bearer sees it; s.mu is held.
func (s *Server) repoShape(r *repo, t *Token) object {
	host := strings.TrimPrefix(s.url, "http://")
	shape := object{
		"id": r.id, "node_id": nodeID("Repository", r.id), "name": r.Name, "full_name": r.fullName(),
		"owner": s.userShape(r.owner), "private": r.Private, "visibility": "public", "description": nil,
		"html_url": s.webURL(r, ""), "url": s.apiURL(r, ""), "clone_url": s.webURL(r, ".git"),
		"git_url": "git://" + host + "/" + r.fullName() + ".git", "svn_url": s.webURL(r, ""),
		"ssh_url": "ssh://git@" + host + "/" + r.fullName() + ".git",
		"fork":    false, "mirror_url": nil, "homepage": nil, "language": nil, "license": nil, "topics": []string{},
		"size": r.SizeKB, "default_branch": r.DefaultBranch, "is_template": false,
		"has_issues": !r.NoIssues, "has_projects": false, "has_wiki": false, "has_pages": false, "has_downloads": true,
		"has_discussions": false, "archived": r.Archived, "disabled": false, "allow_forking": true,
		"web_commit_signoff_required": false,
		"pushed_at":                   stamp(r.created), "created_at": stamp(r.created), "updated_at": stamp(r.created),
	}
	if r.Private {
		shape["visibility"] = "private"
	}
	if r.Description != "" {
		shape["description"] = r.Description
	}
	for field, path := range repoTemplates {
		shape[field] = s.apiURL(r, path)
	}
	for _, field := range []string{"forks", "stargazers", "watchers"} {
		shape[field+"_count"], shape[field] = 0, 0
	}
	delete(shape, "stargazers")
	open := 0
	for _, i := range r.issues {
		if !i.Closed {
			open++
		}
	}
	shape["open_issues"], shape["open_issues_count"] = open, open
	if t != nil {
		role := t.role(r)
		if t.Kind == App {
			role = roleNone // GitHub speaks of users' roles only, whatever the App may do
		}
		shape["permissions"] = object{
			"admin": role >= roleAdmin, "maintain": role >= roleMaintain, "push": role >= roleWrite,
			"triage": role >= roleTriage, "pull": role >= roleRead,
		}
	}
	return shape
}

// fullRepoShape has what only GET on one repository shows; s.mu is held.
func (s *Server) fullRepoShape(r *repo, t *Token) object {
	shape := s.repoShape(r, t)
	shape["subscribers_count"], shape["network_count"] = 0, 0
	if r.owner.Organization {
		shape["organization"] = s.userShape(r.owner)
	}
	return shape
}

// commitShape is a commit of the Git Data API.
func (s *Server) commitShape(r *repo, c commit) object {
	return object{
		"sha": c.hash, "node_id": nodeID("Commit", c.hash), "message": c.message,
		"url": s.apiURL(r, "/git/commits/"+c.hash), "html_url": s.webURL(r, "/commit/"+c.hash),
		"author": signatureShape(c.author), "committer": signatureShape(c.committer),
		"tree":    object{"sha": c.tree, "url": s.apiURL(r, "/git/trees/"+c.tree)},
		"parents": s.parentShapes(r, c, "/git/commits/"), "verification": s.verification(r, c),
	}
}

func (s *Server) parentShapes(r *repo, c commit, api string) []object {
	parents := []object{}
	for _, p := range c.parents {
		parents = append(parents, object{"sha": p, "url": s.apiURL(r, api+p), "html_url": s.webURL(r, "/commit/"+p)})
	}
	return parents
}

// verification says of a commit that an App made without naming an author,
// which GitHub signs, that it is verified.
func (s *Server) verification(r *repo, c commit) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := "unsigned"
	if r.signed[c.hash] {
		reason = "valid"
	}
	return object{"verified": r.signed[c.hash], "reason": reason, "signature": nil, "payload": nil, "verified_at": nil}
}

func signatureShape(s signature) object {
	return object{"name": s.name, "email": s.email, "date": stamp(s.when)}
}

// repoCommitShape is a commit of the commits API, which knows accounts.
func (s *Server) repoCommitShape(r *repo, c commit) object {
	return object{
		"sha": c.hash, "node_id": nodeID("Commit", c.hash),
		"url": s.apiURL(r, "/commits/"+c.hash), "html_url": s.webURL(r, "/commit/"+c.hash),
		"comments_url": s.apiURL(r, "/commits/"+c.hash+"/comments"),
		"commit": object{
			"url": s.apiURL(r, "/git/commits/"+c.hash), "message": c.message, "comment_count": 0,
			"author": signatureShape(c.author), "committer": signatureShape(c.committer),
			"tree":         object{"sha": c.tree, "url": s.apiURL(r, "/git/trees/"+c.tree)},
			"verification": s.verification(r, c),
		},
		"author": nil, "committer": nil, "parents": s.parentShapes(r, c, "/commits/"),
	}
}

// refShape is a reference to an object of a kind.
func (s *Server) refShape(r *repo, at ref, kind string) object {
	return object{
		"ref": at.name, "node_id": nodeID("Ref", fmt.Sprint(r.id, at.name)), "url": s.apiURL(r, "/git/"+escapePath(at.name)),
		"object": object{"sha": at.hash, "type": kind, "url": s.apiURL(r, "/git/"+kind+"s/"+at.hash)},
	}
}
