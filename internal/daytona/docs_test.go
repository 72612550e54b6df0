package daytona_test

import (
	"encoding/json"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/testenv"
)

var (
	operation = regexp.MustCompile(`\b(GET|POST|PUT|DELETE) (/[\w/{}-]+)`)
	parameter = regexp.MustCompile(`{\w+}`)
)

// Each exported name is documented, each method that sends something with the
// operations that it calls, and those are Daytona's.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, f)
	}
	pkg, err := doc.NewFromFiles(files, sources, "github.com/dayclaude/dayclaude/internal/daytona")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range pkg.Funcs {
		texts[f.Name] = f.Doc
	}
	for _, typ := range pkg.Types {
		texts[typ.Name] = typ.Doc
		for _, f := range typ.Funcs {
			texts[f.Name] = f.Doc
		}
		for _, m := range typ.Methods {
			texts[typ.Name+"."+m.Name] = m.Doc
		}
	}
	for name, text := range texts {
		if text == "" {
			t.Errorf("%s is not documented", name)
		}
	}
	calls := map[string]string{} // operation to one of the methods that say so
	for _, m := range methods() {
		found := operation.FindAllStringSubmatch(texts[m.name], -1)
		if len(found) == 0 {
			t.Errorf("%s does not say which operation it calls", m.name)
		}
		for _, f := range found {
			calls[f[1]+" "+parameter.ReplaceAllString(f[2], "{}")] = m.name
		}
	}
	published := operations(t)
	for call, name := range calls {
		if !published[call] {
			t.Errorf("%s calls %s, which Daytona does not have", name, call)
		}
	}
}

// operations are all of Daytona's, without the names of their parameters.
func operations(t *testing.T) map[string]bool {
	t.Helper()
	dir := os.Getenv("DAYCLAUDE_OPENAPI")
	if dir == "" {
		testenv.Missing(t, "DAYCLAUDE_OPENAPI names no folder with Daytona's api.json and toolbox.json")
	}
	all := map[string]bool{}
	for _, name := range []string{"api.json", "toolbox.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Paths map[string]map[string]json.RawMessage
		}
		if err := json.Unmarshal(data, &document); err != nil {
			t.Fatal(err)
		}
		for path, operations := range document.Paths {
			for verb := range operations {
				all[strings.ToUpper(verb)+" "+parameter.ReplaceAllString(path, "{}")] = true
			}
		}
	}
	return all
}
