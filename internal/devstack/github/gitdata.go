package github

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
)

// gitDataRoutes are those of git's own objects.
func gitDataRoutes() []route {
	read := need{permissions: []string{"contents"}}
	write := need{permissions: []string{"contents"}, write: true, role: roleWrite}
	return []route{
		{"GET /repos/{owner}/{repo}/git/ref/{ref...}", read, getRef},
		{"GET /repos/{owner}/{repo}/git/matching-refs/{ref...}", read, listRefs},
		{"POST /repos/{owner}/{repo}/git/refs", write, createRef},
		{"PATCH /repos/{owner}/{repo}/git/refs/{ref...}", write, updateRef},
		{"DELETE /repos/{owner}/{repo}/git/refs/{ref...}", write, deleteRef},
		{"GET /repos/{owner}/{repo}/git/commits/{commit_sha}", read, getCommit},
		{"POST /repos/{owner}/{repo}/git/commits", write, createCommit},
		{"GET /repos/{owner}/{repo}/git/trees/{tree_sha...}", read, getTree},
		{"POST /repos/{owner}/{repo}/git/trees", write, createTree},
		{"GET /repos/{owner}/{repo}/git/blobs/{file_sha}", read, getBlob},
		{"POST /repos/{owner}/{repo}/git/blobs", write, createBlob},
	}
}

// notEmpty refuses what GitHub refuses in a repository without commits.
func (c *call) notEmpty() error {
	empty, err := c.repo.empty()
	if empty {
		return errEmptyRepo
	}
	return err
}

func (c *call) ref(ref ref) (any, error) {
	kind, _, err := c.repo.git.stat(ref.hash)
	return c.s.refShape(c.repo, ref, kind), err
}

func getRef(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	name := "refs/" + c.r.PathValue("ref")
	hash, err := c.repo.git.ref(name)
	if hash == "" && err == nil {
		err = errNotFound
	}
	if err != nil {
		return nil, err
	}
	return c.ref(ref{name, hash})
}

func listRefs(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	refs, err := c.repo.git.refs("refs/" + c.r.PathValue("ref"))
	shapes := []any{}
	for _, ref := range page(c, refs) {
		shape, err := c.ref(ref)
		if err != nil {
			return nil, err
		}
		shapes = append(shapes, shape)
	}
	return shapes, err
}

// pointable refuses what a reference cannot point to: what is not there, and
// for a branch what is no commit.
func (c *call) pointable(name, hash string) error {
	kind, _, err := c.repo.git.stat(hash)
	switch {
	case errors.Is(err, errNoObject):
		return refuse(422, "Object does not exist")
	case err == nil && strings.HasPrefix(name, "refs/heads/") && kind != kindCommit:
		return refuse(422, "Reference cannot be updated: a branch must point to a commit")
	}
	return err
}

func createRef(c *call) (any, error) {
	var in struct{ Ref, SHA string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	if !validRef(in.Ref) {
		return nil, refuse(422, "Reference name must start with 'refs/' and contain at least 3 components, and be a valid name.")
	}
	if err := c.pointable(in.Ref, in.SHA); err != nil {
		return nil, err
	}
	switch old, err := c.repo.git.ref(in.Ref); {
	case err != nil:
		return nil, err
	case old != "":
		return nil, refuse(422, "Reference already exists")
	}
	return c.move(ref{in.Ref, in.SHA}, "")
}

// move sets a reference that was at old. Whoever loses a race, or asks for a
// name that is above or below another's, is told so.
func (c *call) move(to ref, old string) (any, error) {
	if err := c.ruled(to, old); err != nil {
		return nil, err
	}
	var failed *gitError
	err := c.repo.git.setRef(c.ctx(), to.name, to.hash, old)
	if errors.As(err, &failed) {
		if now, err := c.repo.git.ref(to.name); err == nil && old == "" && now != "" {
			return nil, refuse(422, "Reference already exists")
		}
		return nil, refuse(422, "Reference update failed")
	}
	if err != nil {
		return nil, err
	}
	return c.ref(to)
}

// existing finds the reference that a PATCH or DELETE names.
func (c *call) existing() (ref, error) {
	if err := c.notEmpty(); err != nil {
		return ref{}, err
	}
	name := "refs/" + c.r.PathValue("ref")
	hash, err := c.repo.git.ref(name)
	if hash == "" && err == nil {
		err = refuse(422, "Reference does not exist")
	}
	return ref{name, hash}, err
}

func updateRef(c *call) (any, error) {
	var in struct {
		SHA   string
		Force bool
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	at, err := c.existing()
	if err != nil {
		return nil, err
	}
	if err := c.pointable(at.name, in.SHA); err != nil {
		return nil, err
	}
	if !in.Force && strings.HasPrefix(at.name, "refs/heads/") {
		from, err := c.repo.git.mergeBase(c.ctx(), at.hash, in.SHA)
		if err != nil {
			return nil, err
		}
		if from != at.hash {
			return nil, refuse(422, "Update is not a fast forward")
		}
	}
	return c.move(ref{at.name, in.SHA}, at.hash)
}

func deleteRef(c *call) (any, error) {
	at, err := c.existing()
	if err != nil {
		return nil, err
	}
	return nil, c.repo.git.setRef(c.ctx(), at.name, "", at.hash)
}

func getCommit(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	found, err := c.repo.git.commit(c.r.PathValue("commit_sha"))
	if errors.Is(err, errNoObject) {
		return nil, errNotFound
	}
	return c.s.commitShape(c.repo, found), err
}

// person is who a client says made a commit.
type person struct {
	Name, Email string
	Date        time.Time
}

// signature fills what the client left out.
func (p *person) signature(otherwise signature) signature {
	if p == nil {
		return otherwise
	}
	if p.Date.IsZero() {
		p.Date = otherwise.when
	}
	return signature{p.Name, p.Email, p.Date}
}

func createCommit(c *call) (any, error) {
	var in struct {
		Message           *string
		Tree              string
		Parents           []string
		Author, Committer *person
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	if in.Message == nil || strings.ContainsRune(*in.Message, 0) {
		return nil, refuse(422, "Invalid request.\n\n\"message\" wasn't supplied, or holds a NUL.")
	}
	if kind, _, err := c.repo.git.stat(in.Tree); errors.Is(err, errNoObject) || err == nil && kind != kindTree {
		return nil, refuse(422, "Tree SHA does not exist")
	} else if err != nil {
		return nil, err
	}
	for _, parent := range in.Parents {
		if kind, _, err := c.repo.git.stat(parent); errors.Is(err, errNoObject) || err == nil && kind != kindCommit {
			return nil, refuse(422, "Parent SHA does not exist or is not a commit object")
		} else if err != nil {
			return nil, err
		}
	}
	for _, p := range []*person{in.Author, in.Committer} {
		if p != nil && (p.Name == "" || p.Email == "") {
			return nil, refuse(422, "Invalid request.\n\n\"name\" and \"email\" weren't supplied.")
		}
	}
	c.s.mu.Lock()
	me := c.s.signature(c.s.user(c.token.Login))
	c.s.mu.Unlock()
	author := in.Author.signature(me)
	made, err := c.repo.git.writeCommit(commit{
		tree: in.Tree, parents: in.Parents, message: *in.Message,
		author: author, committer: in.Committer.signature(author),
	})
	if err != nil {
		return nil, err
	}
	if c.token.Kind == App && in.Author == nil && in.Committer == nil {
		c.s.mu.Lock()
		c.repo.signed[made.hash] = true
		c.s.mu.Unlock()
	}
	return c.s.commitShape(c.repo, made), nil
}

// commitOf finds the commit that a name means, or answers 404.
func (c *call) commitOf(name string) (commit, error) {
	hash, err := c.repo.git.resolve(name)
	if err != nil {
		return commit{}, orNotFound(err)
	}
	found, err := c.repo.git.commit(hash)
	return found, orNotFound(err)
}

// orNotFound is a 404 where an object is missing.
func orNotFound(err error) error {
	if errors.Is(err, errNoObject) {
		return errNotFound
	}
	return err
}

func getBlob(c *call) (any, error) {
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	hash := c.r.PathValue("file_sha")
	data, err := c.repo.git.read(hash, kindBlob)
	if err != nil {
		return nil, orNotFound(err)
	}
	if c.accepts("raw") {
		return raw{"application/vnd.github.raw; charset=utf-8", data}, nil
	}
	return object{
		"sha": hash, "node_id": nodeID("Blob", hash), "size": len(data), "url": c.s.apiURL(c.repo, "/git/blobs/"+hash),
		"encoding": "base64", "content": wrapBase64(data),
	}, nil
}

// wrapBase64 breaks lines after 60 characters, as GitHub does.
func wrapBase64(data []byte) string {
	const width = 60
	var b strings.Builder
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(data)), width) {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}

func createBlob(c *call) (any, error) {
	var in struct {
		Content  *string
		Encoding string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := c.notEmpty(); err != nil {
		return nil, err
	}
	if in.Content == nil {
		return nil, refuse(422, "Invalid request.\n\n\"content\" wasn't supplied.")
	}
	data := []byte(*in.Content)
	switch in.Encoding {
	case "", "utf-8":
	case "base64":
		var err error
		if data, err = base64.StdEncoding.DecodeString(*in.Content); err != nil {
			return nil, refuse(422, "content is not valid Base64")
		}
	default:
		return nil, refuse(422, "encoding must be utf-8 or base64")
	}
	hash, err := c.repo.git.write(kindBlob, data)
	return object{"sha": hash, "url": c.s.apiURL(c.repo, "/git/blobs/"+hash)}, err
}
