package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// page reads a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// row returns the page's table row that begins with the cell, and fails the
// test if there is none.
func row(t *testing.T, page, cell string) string {
	t.Helper()
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| "+cell+" |") {
			return line
		}
	}
	t.Errorf("no row for %s", cell)
	return ""
}

func TestSettingsPage(t *testing.T) {
	text := page(t, "settings.md")
	for key, value := range defaults {
		line := row(t, text, "`"+key+"`")
		shown := "`" + fmt.Sprint(value) + "`"
		if value == "" {
			shown = "none"
		}
		variables := []string{"`DAYCLAUDE_" + strings.ToUpper(key) + "`"}
		for _, name := range familiar[key] {
			variables = append(variables, "`"+name+"`")
		}
		for _, cell := range []string{strings.Join(variables, ", "), shown} {
			if !strings.Contains(line, "| "+cell+" |") {
				t.Errorf("%s: no cell %q in %s", key, cell, line)
			}
		}
	}
	for _, s := range (&Settings{}).secrets() {
		cells := fmt.Sprintf("| `%s` | `%s` |", strings.Join(s.env, "`, `"), s.item)
		if !strings.Contains(text, cells) {
			t.Errorf("no row with the cells %s", cells)
		}
	}
	if _, err := load(t, example(t, text), nil, nil); err != nil {
		t.Errorf("the example: %v", err)
	}
}

func TestRepositorySettingsPage(t *testing.T) {
	text := page(t, "repository-settings.md")
	shown := example(t, text)
	r, err := ParseRepository([]byte(shown))
	if err != nil {
		t.Fatalf("the example: %v", err)
	}
	for _, key := range keys(reflect.TypeFor[Repository]()) {
		row(t, text, "`"+key+"`")
		if last := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(shown, last+":") {
			t.Errorf("the example has no %s", key)
		}
	}
	if r.Check == "" || r.Limits.MaxKB == 0 || r.Network.Mode == "" {
		t.Errorf("the example was read as %+v", r)
	}
	for _, prefix := range reserved {
		if !strings.Contains(row(t, text, "`env`"), "`"+prefix+"`") {
			t.Errorf("the reserved %s is not named", prefix)
		}
	}
	_, domains := r.Network.Allowed()
	for _, domain := range domains {
		if !strings.Contains(text, "`"+domain+"`") {
			t.Errorf("the registry %s is not named", domain)
		}
	}
}

// example returns the page's first block of YAML.
func example(t *testing.T, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, "```yaml\n")
	block, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the page has no example in YAML")
	}
	return block
}

// keys lists the keys of a struct of settings: of a group, group.key.
func keys(of reflect.Type) []string {
	var all []string
	for i := range of.NumField() {
		field := of.Field(i)
		key := field.Tag.Get("yaml")
		if field.Type.Kind() != reflect.Struct || field.Type == reflect.TypeFor[Network]() {
			all = append(all, key)
			continue
		}
		for _, sub := range keys(field.Type) {
			all = append(all, key+"."+sub)
		}
	}
	return all
}
