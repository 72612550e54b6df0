package testenv

import (
	"os"
	"testing"
)

// Golden compares got with a file of the test's testdata. With
// UPDATE_GOLDEN=1 in the environment it writes the file anew first.
func Golden(t testing.TB, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; UPDATE_GOLDEN=1 writes it anew:\n%s", path, got)
	}
}
