package cmd

import "testing"

func TestOnLoopback(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://127.0.0.1:8080/api/v3/": true, "http://127.1.2.3/": true, "http://[::1]:80": true, "http://localhost:3000": true,
		"https://api.github.com/": false, "http://127.0.0.1.example.com/": false, "http://localhost.example.com/": false,
		"http://0.0.0.0/": false, "http://10.0.0.1/": false, "": false, "://": false,
	} {
		if got := onLoopback(url); got != want {
			t.Errorf("onLoopback(%q) = %t, want %t", url, got, want)
		}
	}
}
