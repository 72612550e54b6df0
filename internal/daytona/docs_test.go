package daytona_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// operation is one as a comment names it.
var operation = regexp.MustCompile(`\b(GET|POST|PUT|DELETE) (/[\w/{}-]+)`)

// comments are those of the package's exported names, a method's as
// "Client.Get".
func comments(t *testing.T) map[string]string {
	t.Helper()
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
	return texts
}

// Each exported name is documented, each method that sends something with the
// operations that it calls, and those are Daytona's.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	texts := comments(t)
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
			calls[f[1]+" "+parameters.ReplaceAllString(f[2], "{}")] = m.name
		}
	}
	published := map[string]bool{}
	for _, o := range documents(t).Operations() {
		published[parameters.ReplaceAllString(o.String(), "{}")] = true
	}
	for call, name := range calls {
		if !published[call] {
			t.Errorf("%s calls %s, which Daytona does not have", name, call)
		}
	}
}
