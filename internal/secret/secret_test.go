package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestStringNeverShows(t *testing.T) {
	const canary = "canary-7f3a"
	s := New(canary)
	type outer struct {
		Public String
		hidden String
	}
	o := outer{s, s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", s, "o", o)
	asJSON, err := json.Marshal(map[string]any{"s": s, "o": o})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{s, &s, o, &o, []String{s}, map[String]int{s: 1}} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s of %T shows the secret: %s", format, v, text)
			}
		}
	}
	if text := log.String() + string(asJSON); strings.Contains(text, canary) || !strings.Contains(text, mask) {
		t.Errorf("log or JSON: %s", text)
	}
	if s.Reveal() != canary || s.IsZero() || !New("").IsZero() || New("").Reveal() != "" || (String{}).String() != "" {
		t.Error("the value is lost, or nothing counts as something")
	}
}
