package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dayclaude/dayclaude/internal/fault"
	"github.com/dayclaude/dayclaude/internal/sandboxd/api"
	"github.com/dayclaude/dayclaude/internal/secret"
)

// answering is a client of a server that always does the same.
func answering(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return New(Config{
		BaseURL: server.URL + "/", Preview: secret.New("preview"), Token: secret.New("token"),
		HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

// methods are all calls of a Client.
func methods(c *Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Health":     func(ctx context.Context) error { _, err := c.Health(ctx); return err },
		"CreateTask": func(ctx context.Context) error { _, err := c.CreateTask(ctx, api.Task{ID: "t"}); return err },
		"Task":       func(ctx context.Context) error { _, err := c.Task(ctx, "t"); return err },
		"Cancel":     func(ctx context.Context) error { _, err := c.Cancel(ctx, "t"); return err },
		"Events": func(ctx context.Context) error {
			return c.Events(ctx, "t", 0, func(api.Event) error { return nil })
		},
		"Changeset":  func(ctx context.Context) error { _, err := c.Changeset(ctx, "t", 1000); return err },
		"Transcript": func(ctx context.Context) error { return c.Transcript(ctx, "t", io.Discard, 1000) },
		"Tunnel":     func(ctx context.Context) error { _, err := c.Tunnel(ctx); return err },
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		is     error
		kind   fault.Kind
	}{
		"proxy: token stale":  {307, "", ErrUnauthorized, fault.Auth},
		"proxy: 401":          {401, "no", ErrUnauthorized, fault.Auth},
		"proxy: not started":  {400, `{"statusCode":400,"error":"Bad Request","message":"Is the Sandbox started?"}`, ErrNotStarted, fault.Sandbox},
		"proxy: nothing":      {502, "bad gateway", ErrNotListening, fault.Unavailable},
		"proxy: too many":     {429, "", nil, fault.Unavailable},
		"proxy: down":         {503, "", nil, fault.Unavailable},
		"sandboxd: claim":     {401, `{"error":"no claim","kind":"unauthorized"}`, ErrClaim, fault.Auth},
		"sandboxd: usage":     {400, `{"error":"no prompt","kind":"usage"}`, nil, fault.Sandbox},
		"sandboxd: not found": {404, `{"error":"no such task","kind":"not_found"}`, nil, fault.NotFound},
		"sandboxd: conflict":  {409, `{"error":"busy","kind":"conflict"}`, nil, fault.Conflict},
		"sandboxd: internal":  {500, `{"error":"disk full","kind":"internal"}`, nil, fault.Sandbox},
		"another success":     {204, "", errBroken, fault.Sandbox},
		"a way elsewhere":     {308, "", errBroken, fault.Sandbox},
		"endless":             {500, strings.Repeat("x", 1<<20), nil, fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer token" || r.Header.Get("X-Daytona-Preview-Token") != "preview" {
					t.Errorf("%s: header %v", r.URL, r.Header)
				}
				if test.status == 307 {
					w.Header().Set("Location", "/login")
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			for method, call := range methods(c) {
				err := call(t.Context())
				if err == nil || fault.KindOf(err) != test.kind || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%s: %s: %v", method, fault.KindOf(err), err)
				}
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"cut before the answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrCut},
		"cut in the answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}, ErrCut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for method, call := range methods(answering(t, test.handler)) {
				if err := call(t.Context()); method != "Tunnel" && !errors.Is(err, test.want) || fault.KindOf(err) != fault.Unavailable {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
	}
	gone := answering(t, nil)
	server := httptest.NewServer(nil)
	gone.cfg.BaseURL = server.URL
	server.Close()
	hangs := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
		<-r.Context().Done()
	})
	for method, call := range methods(gone) {
		if err := call(t.Context()); !errors.Is(err, ErrNotListening) || fault.KindOf(err) != fault.Unavailable || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", method, err)
		}
	}
	for method, call := range methods(hangs) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := call(ctx); fault.KindOf(err) != fault.Cancelled {
			t.Errorf("%s cancelled: %v", method, err)
		}
	}
}

func TestStatusIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 20_000)
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"id":"t","phase":"ended","failure":{"phase":"check","kind":"%[1]s","message":"%[1]s"},
			"check":{"tail":"%[1]s"},"claude":{"ending":"%[1]s","answer":"%[1]s%[1]s","message":"\ud800"}}`, long)
	})
	status, err := c.Task(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []struct {
		got  string
		most int
	}{
		{status.Failure.Kind, maxWord}, {status.Failure.Message, maxMessage}, {status.Check.Tail, maxTail},
		{string(status.Claude.Ending), maxWord}, {status.Claude.Answer, maxFinalWords},
	} {
		if len(text.got) > text.most || len(text.got) < text.most-1 || !strings.HasPrefix(long+long, text.got) {
			t.Errorf("%d bytes, at most %d", len(text.got), text.most)
		}
	}
	for name, answer := range map[string]string{
		"another task":    `{"id":"u","phase":"ended"}`,
		"unknown phase":   `{"id":"t","phase":"beyond"}`,
		"negative":        `{"id":"t","phase":"ended","claude":{"turns":-1}}`,
		"not a status":    `[]`,
		"not JSON":        `<html>`,
		"longer than any": `{"id":"` + strings.Repeat("x", maxAnswer) + `"}`,
	} {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		if status, err := c.Task(t.Context(), "t"); fault.KindOf(err) != fault.Sandbox {
			t.Errorf("%s: %+v, %v", name, status, err)
		}
	}
}
