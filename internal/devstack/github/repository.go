package github

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Repository is what AddRepository makes.
type Repository struct {
	Owner, Name   string
	Description   string
	Private       bool
	DefaultBranch string // default "main"
	// Files of the first commit, with executable bits and symbolic links;
	// nil leaves the repository empty, without a commit.
	Files fs.FS
	// Collaborators are logins with what they may do: "read", "triage",
	// "write", "maintain" or "admin". The owner may do everything.
	Collaborators map[string]string
	SizeKB        int // as GitHub tells it; default: measured once, as GitHub's figure lags too; 0 if empty
	Archived      bool
	NoIssues      bool // issues are disabled
	NoDrafts      bool // the owner's plan knows no draft pull requests
	NoActions     bool // the tokens of workflows may not open pull requests
	Rulesets      []Ruleset

	// What the owner, an organisation, holds against who asks:
	SAML            bool           // single sign-on is enforced
	AllowList       []netip.Prefix // addresses that tokens may be used from; nil: any
	NoClassicTokens bool
}

// repo is a repository. It is replaced when the Repository changes: a request
// keeps the one that it began with.
type repo struct {
	Repository
	id      int64
	owner   *user
	git     gitDir
	created time.Time
	*tracker
}

// tracker is what a repository has beside its files; Server.mu guards it.
type tracker struct {
	number      int            // the last one given out
	issues      map[int]*issue // pull requests too
	signed      map[string]bool
	transferred map[int]place // issues that are elsewhere now
}

func (r *repo) fullName() string { return r.Owner + "/" + r.Name }

// role is what a user may do in the repository.
func (r *repo) role(login string) role {
	if strings.EqualFold(login, r.Owner) {
		return roleAdmin
	}
	for name, granted := range r.Collaborators {
		if strings.EqualFold(name, login) {
			return role(slices.Index(roleNames, granted))
		}
	}
	if r.Private {
		return roleNone
	}
	return roleRead
}

// empty reports whether the repository has no commit.
func (r *repo) empty() (bool, error) {
	refs, err := r.git.refs("refs/")
	return len(refs) == 0, err
}

// AddRepository makes a repository.
func (s *Server) AddRepository(r Repository) error {
	if r.DefaultBranch == "" {
		r.DefaultBranch = "main"
	}
	for login, granted := range r.Collaborators {
		if !slices.Contains(roleNames[1:], granted) {
			return fmt.Errorf("collaborator %s: %q is not a role", login, granted)
		}
	}
	if !validRef("refs/heads/"+r.DefaultBranch) || r.Owner == "" || r.Name == "" {
		return fmt.Errorf("repository %q/%q with default branch %q: invalid name", r.Owner, r.Name, r.DefaultBranch)
	}
	r.Collaborators = maps.Clone(r.Collaborators)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(r.Owner + "/" + r.Name)
	if old := s.repos[key]; old != nil && !old.renamed(key) {
		return fmt.Errorf("repository %s is there already", key)
	}
	made := &repo{
		Repository: r, id: s.nextID(), owner: s.user(r.Owner), created: s.now(),
		tracker: &tracker{issues: map[int]*issue{}, signed: map[string]bool{}, transferred: map[int]place{}},
	}
	for login := range r.Collaborators {
		s.user(login)
	}
	ctx := context.Background() // each run of git is bounded by itself
	var err error
	if made.git, err = initGit(ctx, s.repoDir(strconv.FormatInt(made.id, 10)), r.DefaultBranch); err != nil {
		return err
	}
	if r.Files != nil {
		if _, err := s.commitFS(ctx, made, r.DefaultBranch, "Initial commit", r.Files); err != nil {
			return err
		}
	}
	if made.SizeKB == 0 && r.Files != nil {
		if made.SizeKB, err = made.git.sizeKB(); err != nil {
			return err
		}
	}
	s.repos[key] = made
	return nil
}

// repo finds a repository by owner/name; s.mu is held.
func (s *Server) repo(fullName string) (*repo, error) {
	if r := s.repos[strings.ToLower(fullName)]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("there is no repository %s", fullName)
}

// Commit puts a commit by the owner on a branch that leaves exactly the given
// files, and returns its hash. A branch that is not there yet starts at the
// default branch's head.
func (s *Server) Commit(ctx context.Context, repo, branch, message string, files fs.FS) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return "", err
	}
	return s.commitFS(ctx, r, branch, message, files)
}

func (s *Server) commitFS(ctx context.Context, r *repo, branch, message string, files fs.FS) (string, error) {
	tree, err := r.git.importFS(files)
	if err != nil {
		return "", err
	}
	name := "refs/heads/" + branch
	old, err := r.git.ref(name)
	if err != nil {
		return "", err
	}
	by := s.signature(r.owner)
	c := commit{tree: tree, author: by, committer: by, message: message}
	parent := old
	if parent == "" {
		if parent, err = r.git.ref("refs/heads/" + r.DefaultBranch); err != nil {
			return "", err
		}
	}
	if parent != "" {
		c.parents = []string{parent}
	}
	if c, err = r.git.writeCommit(c); err != nil {
		return "", err
	}
	return c.hash, r.git.setRef(ctx, name, c.hash, old)
}

// signature is the account as the author of a commit made now.
func (s *Server) signature(u *user) signature {
	sig := signature{name: u.Name, email: u.Email, when: s.now()}
	if sig.name == "" {
		sig.name = u.Login
	}
	if sig.email == "" {
		sig.email = fmt.Sprintf("%d+%s@users.noreply.github.com", u.id, u.Login)
	}
	return sig
}

// GitDir is the bare repository, for tests that look with git itself. Do not
// pack it: the server reads loose objects only.
func (s *Server) GitDir(repo string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return "", err
	}
	return string(r.git), nil
}

// Branches returns the branches with their commits.
func (s *Server) Branches(repo string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.repo(repo)
	if err != nil {
		return nil, err
	}
	refs, err := r.git.refs("refs/heads/")
	branches := map[string]string{}
	for _, ref := range refs {
		branches[strings.TrimPrefix(ref.name, "refs/heads/")] = ref.hash
	}
	return branches, err
}

// File returns a file's content and mode on a branch, tag or commit;
// fs.ErrNotExist if there is none.
func (s *Server) File(repo, rev, path string) (content []byte, mode string, err error) {
	s.mu.Lock()
	r, err := s.repo(repo)
	s.mu.Unlock()
	if err != nil {
		return nil, "", err
	}
	hash, err := r.git.resolve(rev)
	if err != nil {
		return nil, "", fmt.Errorf("%s in %s: %w", rev, repo, errors.Join(fs.ErrNotExist, err))
	}
	c, err := r.git.commit(hash)
	if err != nil {
		return nil, "", err
	}
	entry, err := r.git.lookup(c.tree, path)
	if err != nil || entry.kind() != kindBlob {
		return nil, "", fmt.Errorf("%s in %s at %s: %w", path, repo, rev, errors.Join(fs.ErrNotExist, err))
	}
	content, err = r.git.read(entry.hash, kindBlob)
	return content, entry.mode, err
}
