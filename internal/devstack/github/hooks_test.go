package github

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/dayclaude/dayclaude/internal/secret"
)

// received is a delivery as a receiver sees it.
type received struct {
	header http.Header
	body   []byte
}

// receive makes a receiver, and a function that waits for its next delivery.
func receive(t *testing.T) (url string, next func() received) {
	t.Helper()
	arrived := make(chan received, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- received{r.Header, body}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() received {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		select {
		case r := <-arrived:
			return r
		case <-ctx.Done():
			t.Fatal("nothing was delivered")
			return received{}
		}
	}
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	all, nextOfAll := receive(t)
	comments, nextComment := receive(t)
	s.AddHook(Hook{URL: all, Secret: secret.New("s3cret"), Installation: 7})
	s.AddHook(Hook{URL: comments, Events: []string{"issue_comment"}})

	number, err := s.AddIssue("demo/shop", Issue{Title: "Ünicode", Author: "ann"})
	must(t, err)
	must(t, s.UpdateIssue("demo/shop", number, "wanda", func(i *Issue) { i.Labels = append(i.Labels, "claude") }))
	ask(t, s, "owner", "POST /repos/demo/shop/issues/42/comments", `{"body":"hi"}`)
	openPull(t, s, "shop", "topic", "x")

	var id string
	for _, want := range []struct{ event, action, sender string }{
		{"issues", "opened", "ann"}, {"issues", "labeled", "wanda"}, {"issue_comment", "created", "demo"}, {"pull_request", "opened", "demo"},
	} {
		d := nextOfAll()
		mac := hmac.New(sha256.New, []byte("s3cret"))
		mac.Write(d.body)
		if got := d.header.Get("X-Hub-Signature-256"); got != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
			t.Errorf("%v: signature %s", want, got)
		}
		parsed, err := gh.ParseWebHook(d.header.Get("X-GitHub-Event"), d.body)
		must(t, err)
		var common struct {
			Action       string
			Sender       struct{ Login string }
			Repository   struct{ Full_Name string }
			Installation struct{ ID int64 }
		}
		must(t, json.Unmarshal(d.body, &common))
		if d.header.Get("X-GitHub-Event") != want.event || common.Action != want.action || common.Sender.Login != want.sender ||
			common.Repository.Full_Name != "demo/shop" || common.Installation.ID != 7 || d.header.Get("X-GitHub-Delivery") == "" {
			t.Errorf("want %v: %v %s", want, d.header, d.body)
		}
		switch e := parsed.(type) {
		case *gh.IssuesEvent:
			if e.Issue.GetTitle() != "Ünicode" || want.action == "labeled" && e.Label.GetName() != "claude" {
				t.Errorf("%v: %s", want, d.body)
			}
		case *gh.IssueCommentEvent:
			if e.Comment.GetBody() != "hi" || e.Issue.GetNumber() != 42 {
				t.Errorf("%v: %s", want, d.body)
			}
			id = d.header.Get("X-GitHub-Delivery")
		case *gh.PullRequestEvent:
			if e.GetNumber() != 44 || e.PullRequest.GetHead().GetRef() != "topic" {
				t.Errorf("%v: %s", want, d.body)
			}
		}
	}
	d := nextComment()
	if d.header.Get("X-GitHub-Event") != "issue_comment" || d.header.Get("X-Hub-Signature-256") != "" || strings.Contains(string(d.body), `"installation"`) {
		t.Errorf("the hook for comments, without a secret: %v %s", d.header, d.body)
	}

	must(t, s.Redeliver(id))
	if d := nextOfAll(); d.header.Get("X-GitHub-Delivery") != id || d.header.Get("X-GitHub-Event") != "issue_comment" {
		t.Errorf("delivered again: %v", d.header)
	}
	if s.Redeliver("unknown") == nil {
		t.Error("an unknown delivery was delivered")
	}
	for _, d := range s.Deliveries() {
		if d.Status != http.StatusAccepted || d.Error != "" {
			t.Errorf("delivery: %+v", d)
		}
	}
}

// TestWebhookFailures: a receiver that is down or redirects is noted and left.
func TestWebhookFailures(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	t.Cleanup(elsewhere.Close)
	last, next := receive(t)
	for _, url := range []string{down.URL, elsewhere.URL, last} {
		s.AddHook(Hook{URL: url})
	}
	_, err := s.AddComment("demo/shop", 42, "ann", "hi")
	must(t, err)
	next()
	got := s.Deliveries()
	if len(got) < 2 || got[0].Error == "" || got[0].Status != 0 || got[1].Status != http.StatusFound {
		t.Errorf("deliveries: %+v", got)
	}
}
