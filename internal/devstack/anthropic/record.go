package anthropic

import (
	"context"
	"crypto/sha256"
	"net/http"
	"regexp"
	"slices"
)

// Bounds of what a server remembers.
const (
	maxRequests = 2000
	maxCache    = 20000
)

// Request is what a server remembers of a request. It holds no secret and no
// conversation.
type Request struct {
	Method     string
	Path       string      // with the query
	Header     http.Header // credentials replaced by "[redacted]"
	Authorized bool        // the credential was accepted
	Model      string
	Fields     []string // names at the top of the body, sorted
	Scenario   string   // that answered, "" if none did
	Step       int      // of the scenario, from 1
	Usage      Usage    // what the answer said it used; zero for errors
}

// Usage is what a call used, in tokens.
type Usage struct {
	InputTokens  int64 `json:"input_tokens"`
	CacheWrite   int64 `json:"cache_creation_input_tokens"`
	CacheRead    int64 `json:"cache_read_input_tokens"`
	OutputTokens int64 `json:"output_tokens"`
}

func (u Usage) input() int64 { return u.InputTokens + u.CacheWrite + u.CacheRead }

// Requests are the last two thousand requests, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// Broken says which expectations of scenarios were not met.
func (s *Server) Broken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.broken)
}

// recordKey is the context key of a request's *Request.
type recordKey struct{}

// record remembers a request from now on, and lets update find it.
func (s *Server) record(r *http.Request) *http.Request {
	header := r.Header.Clone()
	for _, name := range []string{"X-Api-Key", "Authorization", "Proxy-Authorization", "Cookie"} {
		if header.Get(name) != "" {
			header.Set(name, "[redacted]")
		}
	}
	entry := &Request{Method: r.Method, Path: r.URL.RequestURI(), Header: header}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests = append(s.requests, entry); len(s.requests) > maxRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	return r.WithContext(context.WithValue(r.Context(), recordKey{}, entry))
}

// update adds to what is remembered of a request that went through record.
func (s *Server) update(r *http.Request, change func(*Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(r.Context().Value(recordKey{}).(*Request))
}

var cacheControl = regexp.MustCompile(`,?"cache_control":\{[^{}]*\}`)

// usage counts what a request brings in, at four bytes a token. Like the
// service it caches up to the last block marked for it, and reads what an
// earlier request had cached.
func (s *Server) usage(q *request) Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cache) > maxCache {
		clear(s.cache)
	}
	var hash [32]byte
	var total, cached, marked int
	var prefixes [][32]byte
	for i, part := range q.raw {
		plain := cacheControl.ReplaceAll(part, nil)
		hash = sha256.Sum256(append(hash[:], plain...))
		prefixes = append(prefixes, hash)
		total += len(plain)
		if s.cache[hash] {
			cached = total
		}
		if len(plain) != len(part) {
			marked = total
			for _, prefix := range prefixes[:i+1] {
				s.cache[prefix] = true
			}
		}
	}
	cached = min(cached, marked)
	return Usage{InputTokens: tokens(total - marked), CacheWrite: tokens(marked - cached), CacheRead: tokens(cached)}
}

// tokens is a plausible number of tokens for a text of n bytes.
func tokens(n int) int64 { return int64(n+3) / 4 }
